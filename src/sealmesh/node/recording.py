"""Writes what goes over each stream to files, for the demo and for tests that search it for plaintext."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from sealmesh.errors import ConfigError
from sealmesh.transport.record import Recorder

#: A switch for the demo and for tests: every byte of every stream goes under this folder, as a relay would see it.
RECORD_VARIABLE: Final = "SEALMESH_RECORD_STREAMS"


def recorder_to(folder: Path) -> Recorder:
    """Return a recorder that appends to `NUMBER-sent.bin` and `NUMBER-received.bin` in a folder, made private.

    Raises:
        ConfigError: The folder cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror})") from error

    def record(number: int, direction: Literal["sent", "received"], data: bytes) -> None:
        with (folder / f"{number:06d}-{direction}.bin").open("ab") as file:
            file.write(data)

    return record

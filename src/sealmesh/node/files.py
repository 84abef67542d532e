"""Private files: only their owner reads them, and a crash leaves the old content or the new, never a half of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, Final

from sealmesh.errors import ConfigError
from sealmesh.limits import MIB

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
STATE_FILE_MAX: Final = 16 * MIB  # 10,000 peers need about 1 MiB; more is not one of ours


def make_private_folder(path: Path) -> None:
    """Make a folder (and its parents) that only its owner enters; refuse one that others can write to.

    Others who can write to the folder can swap every file in it, whatever the files' own permissions are.

    Raises:
        ConfigError: It cannot be made, is no folder, belongs to somebody else, or others can write to it.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"the folder {path} cannot be made ({error.strerror}); choose another with --home") from error
    if found.st_uid != os.geteuid():
        raise ConfigError(f"the folder {path} belongs to another user; choose another with --home")
    if found.st_mode & 0o022:
        raise ConfigError(f"others can write to {path}, and so replace the keys in it; run: chmod 700 {path}")


def write_private(path: Path, content: bytes) -> None:
    """Replace a file's content in one step, and return once it is on the disk. Mode 0600.

    Raises:
        ConfigError: The disk is full, read-only, or the folder is gone.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor has no path
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})") from error


def _sync_folder(path: Path) -> None:
    """Make a rename last over a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path, *, most: int = STATE_FILE_MAX) -> bytes | None:
    """Read a file that must be ours alone; None if there is none.

    Raises:
        ConfigError: Others can read it, it is not ours, no plain file, or larger than `most` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    try:
        return _read_checked(path, descriptor, most)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)


def _read_checked(path: Path, descriptor: int, most: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):  # before it is made a stream, which a folder cannot be
        raise ConfigError(f"{path} is no plain file; move it away")
    with open(descriptor, "rb", closefd=False) as stream:
        if found.st_uid != os.geteuid():
            raise ConfigError(f"{path} belongs to another user; run as that user, or choose another --home")
        if found.st_mode & 0o077:
            raise ConfigError(
                f"others can read {path}; if you are sure that nobody did, run: chmod 600 {path} (else delete it)"
            )
        content = stream.read(most + 1)
    if len(content) > most:
        raise ConfigError(f"{path} is larger than {most} bytes; it is not one of sealmesh's files")
    return content


def write_json(path: Path, value: object) -> None:
    """Write a JSON document as `write_private` does.

    Raises:
        ConfigError: It cannot be written.
    """
    write_private(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path, *, loss: str) -> dict[str, Any] | None:
    """Read a JSON object as `read_private` does; None if there is none.

    Args:
        path: The file.
        loss: What deleting the file would lose, for the message about a damaged one.

    Raises:
        ConfigError: As `read_private`, or the file is damaged.
    """
    content = read_private(path)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise damaged(path, loss)
    return value


def damaged(path: Path, loss: str) -> ConfigError:
    """The error for a file of ours that does not read as one."""
    return ConfigError(f"{path} is damaged; restore it, or delete it ({loss})")

"""Saves the evidence of each new verdict as a file that a stranger can check (`--save-evidence`, `sealmesh verify`)."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import re
import stat
import tempfile
from collections import deque
from pathlib import Path
from typing import Final, Protocol

from sealmesh.attestation.verifier import HostVerdict
from sealmesh.errors import ConfigError
from sealmesh.node.files import FOLDER_MODE, write_private

_log = logging.getLogger("sealmesh.node")

SUFFIX: Final = ".sealmesh"
#: Files kept in a folder; the oldest goes first. Of 3 to 6 KiB each: about 50 MB, ten hosts for two months.
FILES_MAX: Final = 10_000
_NAME: Final = re.compile(r"[0-9a-f]{64}-(\d{8}T\d{6}\.\d{3}Z)\.sealmesh")


class Verdicts(Protocol):
    """Whose verdicts are saved: `sealmesh.client.verify.HostVerifier`."""

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        """The live verdict on a host."""

    def export(self, endpoint_id: bytes) -> bytes | None:
        """The evidence for it as a file."""


def evidence_folder(path: Path) -> Path:
    """The folder for evidence, made if there is none; its files are private, whatever the folder is.

    Raises:
        ConfigError: It cannot be made or is no folder, nothing can be written to it, or others can write to it, and so
            swap the files in it.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"--save-evidence: {path} cannot be made ({error.strerror})") from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"--save-evidence: others can write to {path}; choose another folder, or chmod 700 it")
    try:
        # Tried, not asked: a read-only disk and a full one look well until then.
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
    except OSError as error:
        raise ConfigError(f"--save-evidence: nothing can be written to {path} ({error.strerror})") from error
    return path


def evidence_name(endpoint_id: bytes, verified_at: float) -> str:
    """`<endpoint id>-<time>.sealmesh`: sorted by host, then by time; the same for the same verdict."""
    moment = datetime.datetime.fromtimestamp(verified_at, datetime.UTC)
    return f"{endpoint_id.hex()}-{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z{SUFFIX}"


def saved_files(folder: Path) -> list[Path]:
    """The files that some run has saved in a folder, oldest first; whatever else lies there is not ours."""
    found = [(match[1], path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


class EvidenceSaver:
    """Writes a file for each new verdict; a disk that does not take it stops nothing else.

    Args:
        folder: Where to; None saves nothing.
        verifier: Whose verdicts.
        maximum: Files that are kept; the oldest goes first.

    Raises:
        ConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path | None, verifier: Verdicts, *, maximum: int = FILES_MAX) -> None:
        self._folder = None if folder is None else evidence_folder(folder)
        self._files = deque(saved_files(self._folder) if self._folder is not None else ())
        self._maximum = maximum
        self._verifier = verifier
        self._saved: dict[bytes, float] = {}
        self._waiting: dict[bytes, None] = {}  # hosts with news, oldest first; one entry each, so it cannot grow
        self._news = asyncio.Event()

    def note_change(self, endpoint_id: bytes) -> None:
        """Something changed about a host: save its evidence soon, if there is a new verdict."""
        if self._folder is not None:
            self._waiting[endpoint_id] = None
            self._news.set()

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                endpoint_id = next(iter(self._waiting))
                del self._waiting[endpoint_id]
                await self._save(endpoint_id)

    async def _save(self, endpoint_id: bytes) -> None:
        verdict = self._verifier.verdict(endpoint_id)
        if self._folder is None or verdict is None:
            self._saved.pop(endpoint_id, None)
            return
        if self._saved.get(endpoint_id) == verdict.verified_at:
            return
        proof = self._verifier.export(endpoint_id)
        if proof is None:
            return
        path = self._folder / evidence_name(endpoint_id, verdict.verified_at)
        try:
            await asyncio.to_thread(self._write, path, proof)  # waits for the disk
        except ConfigError as error:
            _log.error("evidence was not saved: %s", error)
            return
        self._saved[endpoint_id] = verdict.verified_at

    def _write(self, path: Path, proof: bytes) -> None:
        write_private(path, proof)
        self._files.append(path)
        while len(self._files) > self._maximum:
            with contextlib.suppress(OSError):
                self._files.popleft().unlink(missing_ok=True)

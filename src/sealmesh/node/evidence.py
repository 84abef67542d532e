"""Saves the evidence of each new verdict as a file that a stranger can check (`--save-evidence`, `sealmesh verify`)."""

from __future__ import annotations

import asyncio
import datetime
import logging
import stat
from pathlib import Path
from typing import Final, Protocol

from sealmesh.attestation.verifier import HostVerdict
from sealmesh.errors import ConfigError
from sealmesh.node.files import FOLDER_MODE, write_private

_log = logging.getLogger("sealmesh.node")

SUFFIX: Final = ".sealmesh"


class Verdicts(Protocol):
    """Whose verdicts are saved: `sealmesh.client.verify.HostVerifier`."""

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        """The live verdict on a host."""

    def export(self, endpoint_id: bytes) -> bytes | None:
        """The evidence for it as a file."""


def evidence_folder(path: Path) -> Path:
    """The folder for evidence, made if there is none; its files are private, whatever the folder is.

    Raises:
        ConfigError: It cannot be made or is no folder, or others can write to it, and so swap the files in it.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"--save-evidence: {path} cannot be made ({error.strerror})") from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"--save-evidence: others can write to {path}; choose another folder, or chmod 700 it")
    return path


def evidence_name(endpoint_id: bytes, verified_at: float) -> str:
    """`<endpoint id>-<time>.sealmesh`: sorted by host, then by time; the same for the same verdict."""
    moment = datetime.datetime.fromtimestamp(verified_at, datetime.UTC)
    return f"{endpoint_id.hex()}-{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z{SUFFIX}"


class EvidenceSaver:
    """Writes a file for each new verdict; a disk that does not take it stops nothing else.

    Args:
        folder: Where to; None saves nothing.
        verifier: Whose verdicts.

    Raises:
        ConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path | None, verifier: Verdicts) -> None:
        self._folder = None if folder is None else evidence_folder(folder)
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
            await asyncio.to_thread(write_private, path, proof)  # waits for the disk
        except ConfigError as error:
            _log.error("evidence was not saved: %s", error)
            return
        self._saved[endpoint_id] = verdict.verified_at

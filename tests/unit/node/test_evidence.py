"""Saved evidence: one private file for each new verdict, and a disk that takes none stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
from pathlib import Path

import pytest

from kit.attested import NOW, ProvenHost, judge
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.errors import ConfigError
from sealmesh.node.evidence import EvidenceSaver, evidence_folder, evidence_name

HOST = ProvenHost()
OTHER = ProvenHost("other")


class Verdicts:
    """What is known of hosts; says when a proof was taken."""

    def __init__(self) -> None:
        self.verdicts: dict[bytes, HostVerdict] = {}
        self.proofs: dict[bytes, bytes] = {}

    def know(self, host: ProvenHost, now: float = NOW) -> None:
        self.verdicts[host.endpoint_id] = judge(host, now=now)
        self.proofs[host.endpoint_id] = f"{host.name} at {now}".encode()

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        return self.verdicts.get(endpoint_id)

    def export(self, endpoint_id: bytes) -> bytes | None:
        return self.proofs.get(endpoint_id)


@contextlib.asynccontextmanager
async def saving(folder: Path | None, verdicts: Verdicts):
    saver = EvidenceSaver(folder, verdicts)
    task = asyncio.create_task(saver.run())
    try:
        yield saver
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(folder: Path, count: int) -> list[Path]:
    async with asyncio.timeout(5):
        while len(found := sorted(folder.glob("*.sealmesh"))) < count:
            await asyncio.sleep(0)
    return found


async def test_each_new_verdict_is_a_private_file(tmp_path: Path) -> None:
    folder, verdicts = tmp_path / "a" / "evidence", Verdicts()
    async with saving(folder, verdicts) as saver:
        verdicts.know(HOST)
        saver.note_change(HOST.endpoint_id)
        first = await until(folder, 1)
        verdicts.proofs[HOST.endpoint_id] = b"later"
        saver.note_change(HOST.endpoint_id)  # the same verdict with new keys: what was saved stands
        verdicts.know(OTHER)
        saver.note_change(OTHER.endpoint_id)
        await until(folder, 2)
        verdicts.know(HOST, NOW + 300)
        saver.note_change(HOST.endpoint_id)
        files = await until(folder, 3)
    assert first[0].name == f"{HOST.endpoint_id.hex()}-20270115T080000.000Z.sealmesh"
    assert first[0].read_bytes() == f"host at {NOW}".encode()
    assert {path.name for path in files} == {
        evidence_name(HOST.endpoint_id, NOW),
        evidence_name(HOST.endpoint_id, NOW + 300),
        evidence_name(OTHER.endpoint_id, NOW),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 3


async def test_a_host_without_a_verdict_or_a_proof_is_not_saved(tmp_path: Path) -> None:
    verdicts = Verdicts()
    verdicts.know(HOST)
    verdicts.know(OTHER)
    del verdicts.proofs[OTHER.endpoint_id]
    async with saving(tmp_path, verdicts) as saver:
        saver.note_change(bytes(32))
        saver.note_change(OTHER.endpoint_id)
        saver.note_change(HOST.endpoint_id)
        assert len(await until(tmp_path, 1)) == 1


async def test_a_disk_that_takes_no_file_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, verdicts = tmp_path / "evidence", Verdicts()
    verdicts.know(HOST)
    verdicts.know(OTHER)
    async with saving(folder, verdicts) as saver:
        blocked = folder / evidence_name(HOST.endpoint_id, NOW)
        blocked.mkdir()
        with caplog.at_level(logging.ERROR):
            saver.note_change(HOST.endpoint_id)
            saver.note_change(OTHER.endpoint_id)
            await until(folder, 2)
        assert "was not saved" in caplog.text
        blocked.rmdir()
        saver.note_change(HOST.endpoint_id)
        await until(folder, 2)
    assert blocked.is_file()


async def test_without_a_folder_nothing_is_saved(tmp_path: Path) -> None:
    verdicts = Verdicts()
    verdicts.know(HOST)
    async with saving(None, verdicts) as saver:
        saver.note_change(HOST.endpoint_id)
        await asyncio.sleep(0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="others can write"):
        evidence_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        evidence_folder(tmp_path / "file")


async def test_the_oldest_files_go_and_nothing_else(tmp_path: Path) -> None:
    folder, verdicts = tmp_path / "evidence", Verdicts()
    folder.mkdir(mode=0o700)
    (folder / "notes.sealmesh").write_text("mine")
    old = folder / evidence_name(OTHER.endpoint_id, NOW - 900)
    old.write_bytes(b"of an earlier run")
    saver = EvidenceSaver(folder, verdicts, maximum=2)
    task = asyncio.create_task(saver.run())
    try:
        for step in range(3):
            verdicts.know(HOST, NOW + step)
            saver.note_change(HOST.endpoint_id)
            async with asyncio.timeout(5):
                while not (folder / evidence_name(HOST.endpoint_id, NOW + step)).exists():
                    await asyncio.sleep(0)
            async with asyncio.timeout(5):
                while len(list(folder.iterdir())) > 3:
                    await asyncio.sleep(0)
    finally:
        task.cancel()
    names = {path.name for path in folder.iterdir()}
    assert names == {"notes.sealmesh", *(evidence_name(HOST.endpoint_id, NOW + step) for step in (1, 2))}


def test_a_folder_that_takes_nothing_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # The world, not our code: root may write anywhere, so a folder's mode shows nothing here.
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(ConfigError, match=r"nothing can be written to .* \(No space left on device\)"):
        evidence_folder(tmp_path / "evidence")

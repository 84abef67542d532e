"""Checks of the machine: what each finds is told, and what cannot be seen is not guessed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sealmesh.backend.models import PackagedModel
from sealmesh.doctor.checks import (
    Check,
    Clocks,
    Verdict,
    check_clock_plausible,
    check_disk_space,
    check_model_file,
    check_tpm_access,
    guarded,
    read_clocks,
)
from sealmesh.errors import ConfigError

DAY = 86_400.0
RIGHT = Clocks(
    wall=1_800_000_000.0,
    since_boot=DAY,
    booted_at=1_800_000_000.0 - DAY,
    installed_at=1_799_000_000.0,
    synchronised=True,
)


def peers(*refused: str) -> dict[str, object]:
    return {"peers": [{"connected": True, "refused": list(refused)}]}


def test_a_clock_that_is_kept_right_is_ok() -> None:
    assert check_clock_plausible(RIGHT).verdict is Verdict.OK


def test_a_clock_before_the_installation_is_wrong() -> None:
    found = check_clock_plausible(replace(RIGHT, wall=RIGHT.installed_at - DAY))
    assert found.verdict is Verdict.PROBLEM
    assert "installed" in found.found


def test_a_clock_that_was_set_since_the_start_is_told() -> None:
    assert RIGHT.booted_at is not None
    found = check_clock_plausible(replace(RIGHT, booted_at=RIGHT.booted_at - 3600))
    assert found.verdict is Verdict.WARNING
    assert "moved by 3600 s" in found.found


@pytest.mark.parametrize(("synchronised", "verdict"), [(False, Verdict.WARNING), (None, Verdict.OK)])
def test_whether_it_is_kept_right_is_told(synchronised: bool | None, verdict: Verdict) -> None:
    assert check_clock_plausible(replace(RIGHT, synchronised=synchronised)).verdict is verdict


def test_peers_are_compared_with() -> None:
    refused = peers("freshness: the host statement was issued ahead of this clock")
    assert check_clock_plausible(RIGHT, refused).verdict is Verdict.PROBLEM
    assert "1 connected peers do not disagree" in check_clock_plausible(RIGHT, peers()).found


def test_odd_statuses_are_no_tracebacks() -> None:
    for odd in ({}, {"peers": None}, {"peers": [1, {"refused": 3}]}):
        assert check_clock_plausible(RIGHT, odd).verdict is Verdict.OK


def test_the_clocks_of_this_machine_can_be_read() -> None:
    clocks = read_clocks()
    assert clocks.wall > clocks.installed_at


def device(root: Path, name: str, mode: int) -> Path:
    (root / "dev").mkdir(exist_ok=True)
    path = root / "dev" / name
    path.touch()
    path.chmod(mode)
    return path


def test_no_tpm_is_a_warning(tmp_path: Path) -> None:
    assert "no TPM is seen" in check_tpm_access(tmp_path).found


def test_an_old_tpm_is_told(tmp_path: Path) -> None:
    device(tmp_path, "tpm0", 0o600)
    assert "TPM 1.2" in check_tpm_access(tmp_path).found


def test_a_usable_tpm_is_ok(tmp_path: Path) -> None:
    device(tmp_path, "tpmrm0", 0o600)
    assert check_tpm_access(tmp_path).verdict is Verdict.OK


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every device")
def test_a_tpm_of_a_group_says_how_to_join(tmp_path: Path) -> None:
    device(tmp_path, "tpmrm0", 0o060)
    found = check_tpm_access(tmp_path)
    assert found.verdict is Verdict.WARNING
    assert "usermod" in found.advice or "tss" in found.advice


def test_room_on_the_disk(tmp_path: Path) -> None:
    folders = {"home": tmp_path / "not" / "yet"}
    assert check_disk_space(folders).found.startswith("home: ")
    low = check_disk_space(folders, lambda _: 1_000_000)
    assert low.verdict is Verdict.PROBLEM
    assert check_disk_space(folders, lambda _: 10**12).verdict is Verdict.OK


CONTENT = b"GGUF and more"
MODEL = PackagedModel(
    package="p",
    version="1",
    wheel_sha256="",
    member="folder/m.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=13,
)


def model(reference: str | None, cache: Path) -> Check:
    return check_model_file(reference, cache, {"known": MODEL})


def test_a_known_model(tmp_path: Path) -> None:
    assert "not fetched yet" in model("known", tmp_path).found
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    assert MODEL.sha256 in model("known", tmp_path).found
    assert model("known", tmp_path).verdict is Verdict.OK
    (tmp_path / "m.gguf").write_bytes(CONTENT + b"x")
    assert model("known", tmp_path).verdict is Verdict.PROBLEM


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    assert model(str(path), tmp_path).verdict is Verdict.PROBLEM
    path.write_bytes(b"no")
    assert "no GGUF" in model(str(path), tmp_path).found
    path.write_bytes(CONTENT)
    assert MODEL.sha256 in model(str(path), tmp_path).found


@pytest.mark.parametrize("reference", [None, "hf:owner/repo/file.gguf"])
def test_what_is_not_looked_for(reference: str | None, tmp_path: Path) -> None:
    assert model(reference, tmp_path).verdict is Verdict.OK


@pytest.mark.parametrize("error", [OSError(13, "no"), ConfigError("no")])
def test_a_check_that_fails_does_not_end_the_others(error: Exception) -> None:
    def look() -> Check:
        raise error

    assert guarded("x", look).verdict is Verdict.UNKNOWN

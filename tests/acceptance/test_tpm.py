"""A host with an emulated TPM, by real processes: it says what it has, keeps its keys in it, and proves itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.conftest import Mesh, wait_until_usable

from kit.swtpm import SoftwareTpm

pytestmark = [pytest.mark.process, pytest.mark.swtpm]


def sealmesh(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sealmesh", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SEALMESH_TPM": "none", **environment},
    )


def test_a_host_finds_its_chip_says_so_and_its_home_is_useless_elsewhere(
    mesh: Mesh, two_tpms: list[SoftwareTpm]
) -> None:
    mine, thiefs = two_tpms
    host = mesh.host("--backend", "echo:", "--tpm", str(mine.path))
    status = host.status()
    assert (status["attester"], status["keys_at_rest"]) == ("an emulated TPM 2.0 (no hardware)", "tpm")
    shown = sealmesh("status", "--home", host.home).stdout
    assert "an emulated TPM 2.0" in shown
    assert "sealed to this machine's TPM" in shown
    # A ticket needs the issuer's key, which only the chip gives out.
    ticket = json.loads(sealmesh("ticket", "--json", "--home", host.home).stdout)["ticket"]
    client = mesh.client(ticket)
    wait_until_usable(client, "echo")
    (peer,) = client.status()["peers"]
    assert peer["tier"] == "self-asserted"  # its maker is not on this asker's list
    copy = mesh.root / "copy"
    shutil.copytree(host.home, copy, ignore=shutil.ignore_patterns("run"))
    for tpm in (str(thiefs.path), "none"):
        stolen = sealmesh("serve", "--backend", "echo:", "--home", copy, "--port", "0", "--tpm", tpm, "--headless")
        assert stolen.returncode == 2, stolen.stderr
        assert "endpoint.key is sealed to a TPM" in stolen.stderr
    assert mine.loaded() == thiefs.loaded() == ()


def test_a_chip_that_was_named_and_is_not_there_stops_the_start(tmp_path: Path) -> None:
    for arguments, words in (
        (("--tpm", str(tmp_path / "none")), "there is no TPM at"),
        (("--attester", "tpm"), "--attester tpm needs a TPM"),
    ):
        ended = sealmesh("serve", "--backend", "echo:", "--home", tmp_path / "home", *arguments)
        assert ended.returncode == 2
        assert words in ended.stderr


def test_a_host_without_a_chip_says_that_it_has_a_software_key(mesh: Mesh) -> None:
    host = mesh.host("--backend", "echo:")
    assert host.status()["attester"] == "a software key: self-asserted"
    assert host.status()["keys_at_rest"] == "file"

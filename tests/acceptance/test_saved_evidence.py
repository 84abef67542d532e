"""`--save-evidence` and `sealmesh verify`, by real processes: what a client saved, a stranger judges."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.acceptance.attested import wait_for_evidence
from tests.acceptance.conftest import Mesh

from sealmesh.attestation.proof import SavedProof

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("saved-evidence")]


@pytest.fixture(scope="module")
def proofs(shared_mesh: Mesh) -> list[Path]:
    """One saved file for each of two hosts."""
    first = shared_mesh.host("--backend", "echo:")
    second = shared_mesh.host("--backend", "echo:", ticket=first.ticket)
    folder = shared_mesh.root / "evidence"
    client = shared_mesh.client(first.ticket, "--save-evidence", str(folder))
    return [wait_for_evidence(client, folder, host) for host in (first, second)]


def verify(*arguments: str | Path) -> tuple[int, list[dict], str]:
    """A stranger: another process, without a home, keys or mesh."""
    done = subprocess.run(
        [sys.executable, "-m", "sealmesh", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SEALMESH_HOME": "/nonexistent"},
    )
    objects = [json.loads(line) for line in done.stdout.splitlines()] if "--json" in arguments else []
    return done.returncode, objects, done.stdout + done.stderr


def failed(verdict: dict) -> list[str]:
    return [one["id"] for one in verdict["factors"] if one["status"] == "fail"]


def test_a_saved_proof_is_self_asserted_to_a_stranger(proofs: list[Path], tmp_path: Path) -> None:
    assert stat.S_IMODE(proofs[0].stat().st_mode) == 0o600
    code, verdicts, said = verify(*proofs, "--json")
    assert code == 1
    assert [(one["verified"], one["tier"]) for one in verdicts] == [(False, "self-asserted")] * 2
    assert verdicts[0]["claims"]["endpoint_id"] == proofs[0].name.partition("-")[0]
    assert "hardware-rooted" in said
    policy = tmp_path / "policy.toml"
    policy.write_text('minimum = "self-asserted"')
    code, verdicts, _ = verify(*proofs, "--json", "--policy", policy)
    assert code == 0
    assert all(one["verified"] for one in verdicts)


def test_damaged_and_swapped_proofs_are_refused_by_their_factor(proofs: list[Path], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('minimum = "none"')
    data = proofs[0].read_bytes()
    mine, others = (SavedProof.parse_untrusted(path.read_bytes()) for path in proofs)
    tampered = bytearray(data)
    tampered[data.index(mine.epoch.part) + 100] ^= 1
    cases = {
        "trailing": (data + b"\x00", "binding"),
        "cut": (data[:-1], "binding"),
        "other-binding": (replace(mine, envelope=others.envelope).encode(), "binding"),
        "other-host": (replace(mine, endpoint_id=others.endpoint_id).encode(), "endpoint_id"),
        "other-nonce": (replace(mine, nonce=others.nonce).encode(), "own_nonce"),
        "tampered": (bytes(tampered), "epoch_statement"),
        "tomorrow": (replace(mine, saved_at=mine.saved_at + 86_400).encode(), "freshness"),
    }
    files = []
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
        files.append(tmp_path / name)
    code, verdicts, said = verify(*files, "--json", "--policy", policy)
    assert code == 1
    for (name, (_, factor)), verdict in zip(cases.items(), verdicts, strict=True):
        assert not verdict["verified"], name
        assert verdict["tier"] == verdict["tier_if_bound"] == "none", name
        assert failed(verdict) == [factor], name
        assert f"{factor}: " in said


def test_what_cannot_be_read_ends_with_two(proofs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"not a proof")
    for arguments in (
        [tmp_path / "nothing"],
        [tmp_path / "other"],
        [proofs[0], "--nonce", "00"],
        [proofs[0], "--kind", "unheard-of"],
        [proofs[0], "--policy", tmp_path / "nothing"],
        [],
    ):
        code, _, said = verify(*arguments)
        assert code == 2, arguments
        assert "Traceback" not in said


def test_it_explains_itself(proofs: list[Path]) -> None:
    code, _, said = verify(proofs[0], "--explain")
    assert code == 1
    assert "a software key answered; its owner can read prompts" in said
    assert "is the word of whoever saved the file" in said

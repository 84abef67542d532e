"""A type checker refuses to seal to anything but a verified host (ATTESTATION.md; STYLE.md, habit 5)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SNIPPET = """
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.gossip.record import KeysPart
from sealmesh.sealed.exchange import ClientExchange
from sealmesh.sealed.suites import Suite


def seal(host: {kind}) -> ClientExchange:
    return ClientExchange(host, suite=Suite.XWING, now=0.0, random=bytes)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the type checker says of sealing to each kind of thing, in one run of it."""
    folder = tmp_path_factory.mktemp("typed")
    kinds = {"verified": "VerifiedHost", "verdict": "HostVerdict", "keys": "KeysPart", "id": "bytes"}
    for name, kind in kinds.items():
        (folder / f"seal_to_{name}.py").write_text(SNIPPET.format(kind=kind))
    root = Path(__file__).parents[2]
    config = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", str(folder / "cache"), "--strict"]
    files = map(str, sorted(folder.glob("*.py")))
    # In a process of its own: mypy raises the recursion limit of the one that it runs in.
    command = [sys.executable, "-m", "mypy", *config, "--follow-imports=silent", *files]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    said = run.stdout
    assert "checked 4 source files" in said, said + run.stderr
    return {name: "\n".join(line for line in said.splitlines() if f"seal_to_{name}" in line) for name in kinds}


def test_a_verified_host_can_be_sealed_to(answers: dict[str, str]) -> None:
    assert answers["verified"] == ""


@pytest.mark.parametrize("name", ["verdict", "keys", "id"])
def test_nothing_else_can(answers: dict[str, str], name: str) -> None:
    assert "[arg-type]" in answers[name]
    assert "VerifiedHost" in answers[name]

"""Nodes with and without hardening, and what the doctor finds on this machine, asked once for all tests of a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealmesh.cli.processes import NodeProcess

HARDENED = pytest.mark.parametrize("hardened", [True, False], ids=["hardened", "without"])


@dataclass(frozen=True)
class Examined:
    """One real run of `sealmesh doctor --json`."""

    code: int
    document: dict[str, Any]

    def attack(self, name: str, attacker: str = "same user") -> dict[str, Any]:
        """What came of an attack."""
        return next(one for one in self.document["attacks"] if (one["id"], one["attacker"]) == (name, attacker))


@pytest.fixture(scope="session")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """The doctor's own process, its victims and its attackers: all real."""
    home = tmp_path_factory.mktemp("doctor")
    done = subprocess.run(
        [sys.executable, "-m", "sealmesh", "doctor", "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout, done.stderr
    return Examined(done.returncode, json.loads(done.stdout))


@contextmanager
def serving(home: Path, environment: dict[str, str], *, hardened: bool) -> Iterator[tuple[NodeProcess, str]]:
    switches = () if hardened else ("--no-hardening",)
    arguments = ("--backend", "echo:", "--headless", *switches)
    with NodeProcess("serve", home=home, arguments=arguments, environment=environment) as node:
        yield node, node.wait_for("ready")["api_url"]

"""A15 on a real `sealmesh serve`: its environment, its memory, its key pages."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

import pytest

from sealmesh.cli.processes import NodeProcess
from sealmesh.doctor.outcome import Outcome, Result
from sealmesh.doctor.trial import Victim, attack, attack_folder, unprivileged

from .conftest import HARDENED, serving

pytestmark = pytest.mark.process


class OrdinaryNode(NodeProcess):
    """A node of an ordinary user, also where root runs the tests."""

    def command_line(self, command: str) -> list[str]:
        return unprivileged(super().command_line(command))


@HARDENED
@pytest.mark.debuggers
@pytest.mark.skipif(sys.platform != "linux", reason="these attacks are written for Linux")
def test_another_program_of_the_user_gets_no_key_of_the_api(hardened: bool) -> None:
    key = f"key-{secrets.token_hex(16)}"
    switches = () if hardened else ("--no-hardening",)
    with attack_folder() as folder:
        environment = {"SEALMESH_API_KEY": key, "HOME": str(folder)}
        arguments = ("--backend", "echo:", "--headless", *switches)
        with OrdinaryNode("serve", home=folder / "home", arguments=arguments, environment=environment) as node:
            node.wait_for("ready")
            found = attack_node(node, key, folder)
    wanted = Result.REFUSED if hardened else Result.WORKED
    assert {name: outcome.result for name, outcome in found.items()} == {"proc_environ": wanted, "gcore": wanted}, found


def attack_node(node: NodeProcess, marker: str, folder: Path) -> dict[str, Outcome]:
    ready = {"pid": node.pid, "address": 0, "descriptor": 0}
    victim = Victim(process=None, marker=marker, ready=ready, folder=folder, words=folder)  # type: ignore[arg-type]
    return attack(victim, ["proc_environ", "gcore"], as_root=False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the flags of memory")
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the memory of a hardened node")
def test_the_keys_of_a_hardened_node_are_kept_out_of_swap_and_cores(tmp_path: Path) -> None:
    with serving(tmp_path / "home", {}, hardened=True) as (node, _):
        maps = Path(f"/proc/{node.pid}/smaps").read_text()
    secret = "/secretmem" in maps  # pages that the kernel does not map for itself: in no swap and no core
    flags = re.findall(r"(?m)^VmFlags: (.*)$", maps)
    keys = [found.split() for found in flags if {"dd", "wf"} <= set(found.split())]
    assert keys or secret, "no page for keys"
    assert all("lo" in found for found in keys), "not locked: may be swapped out"

"""Members over time by real processes: revoked by command, everywhere and with the reason on both sides."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node, mesh_in_temporary_folder

from kit.marker import MARKER
from sealmesh.cli.processes import NodeProcess
from sealmesh.errors import ConfigError

pytestmark = pytest.mark.process
WITHIN_S = 30.0


def command(home: Path, *words: str) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "sealmesh", *words, "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said(process: NodeProcess, *words: str) -> None:
    """Wait until one line of the log has all these words."""
    while not all(word in process.wait_for("log", timeout_s=WITHIN_S)["message"] for word in words):
        pass


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WITHIN_S


def refused_at_the_start(mesh: Mesh, ticket: str, reason: str) -> None:
    """A newcomer with this ticket is told the reason, and ends."""
    late = NodeProcess(
        "client", home=mesh.next_home("client"), arguments=["--join-file", str(mesh.ticket_file(ticket))]
    )
    with late, pytest.raises(ConfigError, match=reason):
        late.wait_for("ready", timeout_s=WITHIN_S)


def sees(node: Node, other: Node) -> bool:
    return any(peer["endpoint_id"] == other.endpoint_id and peer["connected"] for peer in node.status()["peers"])


def ask(node: Node) -> int:
    body = {"model": "echo", "messages": [{"role": "user", "content": f"hello {MARKER}"}]}
    return httpx.post(f"{node.api_url}/v1/chat/completions", json=body, timeout=20).status_code


def test_a_revoked_member_is_cut_off_everywhere_and_told_why() -> None:
    with mesh_in_temporary_folder() as mesh:
        first = mesh.host("--backend", "echo:")
        second = mesh.host("--backend", "echo:", ticket=first.ticket)
        ticket = command(first.home, "ticket", "--role", "client", "--expires", "24h")
        client = mesh.client(ticket["ticket"])
        other = mesh.client(first.ticket)
        assert ask(client) == ask(other) == 200
        until(lambda: sees(client, first) and sees(client, second))
        members = {one["endpoint_id"]: one for one in command(first.home, "mesh", "members")}
        assert members[client.endpoint_id]["serial"] == ticket["serial"]
        assert members[client.endpoint_id]["roles"] == ["client"]

        done = command(first.home, "mesh", "revoke", client.endpoint_id[:12])
        assert done["members_out"] == [client.endpoint_id]
        assert done["serials"] == [ticket["serial"]]
        for host in (first, second):  # it dials again at once, and is refused with the reason
            said(host.process, client.endpoint_id[:12], "revoked_")
        said(client.process, "not admitted any more", "revoked_")
        refused = client.process.wait_for("refused", timeout_s=WITHIN_S)
        assert "revoked_" in refused["message"]
        until(lambda: ask(client) != 200)
        assert ask(other) == 200
        assert second.status()["mesh"]["revoked"] == first.status()["mesh"]["revoked"] == 2
        assert command(second.home, "mesh", "show")["revocations"]["serials"] == [ticket["serial"]]

        # The ticket admits nobody any more, and a newcomer is told so.
        refused_at_the_start(mesh, ticket["ticket"], "revoked_serial")
        said(first.process, "revoked_serial")


def test_what_is_revoked_without_a_node_holds_when_it_starts() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{found.getsockname()[1]}"
    with mesh_in_temporary_folder() as mesh:
        first = mesh.host("--backend", "echo:", "--bind", bind)
        ticket = command(first.home, "ticket", "--role", "client")
        assert first.process.stop() == 0
        command(first.home, "mesh", "revoke", ticket["serial"])
        again = mesh.restart(first, "serve", "--backend", "echo:", "--bind", bind)
        assert again.status()["mesh"]["revoked"] == 1
        refused_at_the_start(mesh, ticket["ticket"], "revoked_serial")


def test_a_node_finds_back_without_whoever_invited_it() -> None:
    with mesh_in_temporary_folder() as mesh:
        inviter = mesh.host("--backend", "echo:")
        second = mesh.host("--backend", "echo:", ticket=inviter.ticket)
        client = mesh.client(inviter.ticket)
        until(lambda: second.endpoint_id in kept(client))
        inviter.process.kill()
        client.process.kill()
        again = mesh.restart(client, "client")
        until(lambda: sees(again, second))
        until(lambda: ask(again) == 200)


def kept(node: Node) -> set[str]:
    """Whom a node would call after a restart."""
    path = node.home / "peers.json"
    return set(json.loads(path.read_text())) if path.exists() else set()

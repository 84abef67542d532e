"""Nodes that start where they are not wanted, or again where they were killed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sealmesh.cli.processes import NodeProcess
from sealmesh.errors import ConfigError
from sealmesh.node.home import Home
from sealmesh.node.join import new_ticket
from sealmesh.transport.base import EndpointAddress

#: QUIC alone takes about 30 s to give up a connection to a process that is no more.
RECOVERED_WITHIN_S = 15.0


@contextlib.contextmanager
def _host(home: Path, port: int) -> Iterator[tuple[NodeProcess, dict[str, str]]]:
    with NodeProcess("serve", home=home, arguments=["--backend", "echo:", "--bind", f"127.0.0.1:{port}"]) as process:
        yield process, process.wait_for("ready")


def _ticket_file(root: Path, ticket: str) -> str:
    path = root / "ticket"
    path.touch(mode=0o600)
    path.write_text(ticket)
    return str(path)


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ask(api_url: str) -> int:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{api_url}/v1/chat/completions", json=body, timeout=20).status_code


def test_a_client_finds_back_to_a_host_that_was_killed_and_started_again(tmp_path: Path) -> None:
    port = _free_udp_port()
    with _host(tmp_path / "host", port) as (first, ready):
        arguments = ["--join-file", _ticket_file(tmp_path, ready["ticket"])]
        with NodeProcess("client", home=tmp_path / "client", arguments=arguments) as client:
            api_url = client.wait_for("ready")["api_url"]
            assert _ask(api_url) == 200
            first.kill()
            with _host(tmp_path / "host", port):
                began = time.monotonic()
                while _ask(api_url) != 200:
                    assert time.monotonic() - began < RECOVERED_WITHIN_S


def test_a_refusal_at_the_start_is_shown_on_both_sides_and_ends_the_node(tmp_path: Path) -> None:
    """A ticket to another mesh at the same address: waiting would never end."""
    with _host(tmp_path / "host", 0) as (host, _), _host(tmp_path / "other", 0):
        run, issuer = Home(tmp_path / "host").require_run_state(), Home(tmp_path / "other").issuer_key()
        assert issuer is not None
        inviter = EndpointAddress(endpoint_id=run.endpoint_id, addresses=run.addresses)
        ticket = new_ticket(issuer, inviter, mesh_name="other", now=time.time(), random=secrets.token_bytes)
        arguments = ["--join-file", _ticket_file(tmp_path, ticket)]
        with NodeProcess("client", home=tmp_path / "client", arguments=arguments) as client:
            with pytest.raises(ConfigError, match="wrong_mesh"):
                client.wait_for("ready", timeout_s=20)
            assert client.stop() == 1
        while "wrong_mesh" not in host.wait_for("log", timeout_s=5)["message"]:
            pass

"""Nodes that start where they are not wanted, or again where they were killed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kit.marker import MARKER
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.processes import NodeProcess
from sealmesh.errors import ConfigError
from sealmesh.node.home import Home
from sealmesh.node.join import new_ticket
from sealmesh.transport.base import EndpointAddress

#: QUIC alone takes about 30 s to give up a connection to a process that is no more.
RECOVERED_WITHIN_S = 60.0  # that it recovers; how soon is held by tests/unit/node/test_pulse.py, on virtual time


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
    body = {"model": "echo", "messages": [{"role": "user", "content": f"hello {MARKER}"}]}
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
        assert not (tmp_path / "client/mesh.json").exists(), "the right ticket would be refused as one to another mesh"
        while "wrong_mesh" not in host.wait_for("log", timeout_s=5)["message"]:
            pass


def test_ports_that_are_taken_are_told_before_any_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flag in ("--port", "--console-port"):
            arguments = ["--backend", "echo:", flag, port]
            with NodeProcess("serve", home=tmp_path / "home", arguments=arguments) as process:
                with pytest.raises(ConfigError, match=f"port {port}: Address already in use") as failure:
                    process.wait_for("backend_starting", timeout_s=20)
                assert "Errno" not in str(failure.value)
                assert process.stop() == 2


def test_a_taken_quic_port_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        arguments = ["--backend", "echo:", "--bind", f"127.0.0.1:{taken.getsockname()[1]}"]
        with NodeProcess("serve", home=tmp_path / "home", arguments=arguments) as process:
            with pytest.raises(ConfigError, match="--bind"):
                process.wait_for("ready", timeout_s=20)
            assert process.stop() == 2


def test_a_nodes_own_commands_pass_its_own_lock(tmp_path: Path) -> None:
    """`sealmesh chat` on a node with API keys shows the local token, and a stranger's key stays outside."""
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text("a-key-of-twenty-letters")
    with NodeProcess(
        "serve", home=tmp_path / "h", arguments=["--backend", "echo:", "--api-key-file", str(keys)]
    ) as host:
        api_url = host.wait_for("ready")["api_url"]
        assert [each["id"] for each in NodeApi.find(tmp_path / "h").models()] == ["echo"]
        assert httpx.get(f"{api_url}/v1/models", timeout=10).status_code == 401
        assert (
            httpx.get(f"{api_url}/v1/models", headers={"authorization": "Bearer other"}, timeout=10).status_code == 401
        )


def test_a_node_outlives_who_read_its_log(tmp_path: Path) -> None:
    """And ends in order afterwards: a closed pipe must not eat the clean-up."""
    command = [sys.executable, "-m", "sealmesh", "serve", "--backend", "echo:", "--home", str(tmp_path / "home")]
    ports = ["--port", "0", "--console-port", "0", "--bind", "127.0.0.1:0"]
    with subprocess.Popen([*command, *ports], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        while Home(tmp_path / "home").run_state() is None:
            assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 0
    assert not (tmp_path / "home/run/node.json").exists()

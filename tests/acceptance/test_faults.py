"""What goes wrong in the middle: a host that is killed, a node that is asked to stop, an app that leaves."""

from __future__ import annotations

import json
import os
import signal
import time

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node, wait_until_usable

from kit.marker import MARKER

pytestmark = pytest.mark.process

SLOW = "echo:?tokens=10000&rate=50"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": f"hello {MARKER}"}], "stream": True}


def events(response: httpx.Response) -> list[str]:
    return [line[6:] for line in response.iter_lines() if line.startswith("data: ")]


def test_kill_9_in_mid_stream_is_an_error_within_six_seconds_and_the_next_request_goes_elsewhere(mesh: Mesh) -> None:
    first = mesh.host("--backend", SLOW)
    second = mesh.host("--backend", SLOW, ticket=first.ticket)
    client = mesh.client(first.ticket)
    wait_until_hosts(client, 2)
    hosts = {host.endpoint_id: host for host in (first, second)}

    with httpx.stream("POST", f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=30) as response:
        lines = (line[6:] for line in response.iter_lines() if line.startswith("data: "))
        assert "choices" in json.loads(next(lines))
        victim = response.headers["x-sealmesh-host"]
        hosts[victim].process.kill()
        killed_at = time.monotonic()
        rest = list(lines)
        took = time.monotonic() - killed_at
    assert took < 6
    assert json.loads(rest[-1])["error"]["code"] == "host_lost"
    assert "[DONE]" not in rest

    short = {**CHAT, "stream": True}
    with httpx.stream("POST", f"{client.api_url}/v1/chat/completions", json=short, timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["x-sealmesh-host"] == next(host for host in hosts if host != victim)
        assert "choices" in json.loads(next(line for line in response.iter_lines() if line.startswith("data: "))[6:])
    assert client.status()["exchanges"]["failed_by_reason"]["host_lost"] == 1


def test_a_plain_answer_that_is_cut_is_a_clean_502(mesh: Mesh) -> None:
    host = mesh.host("--backend", "echo:?tokens=100&rate=20")
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")
    with httpx.Client(timeout=30) as http:
        import threading

        answer: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answer.append(
                http.post(f"{client.api_url}/v1/chat/completions", json={**CHAT, "stream": False})
            )
        )
        asking.start()
        wait_until_open(client)
        host.process.kill()
        asking.join(20)
    assert answer[0].status_code == 502
    assert answer[0].json()["error"]["code"] == "host_lost"
    assert answer[0].headers["x-should-retry"] == "false"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_host_finishes_what_runs_and_exits_0(mesh: Mesh, sign: signal.Signals) -> None:
    host = mesh.host("--backend", "echo:?tokens=60&rate=30")
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")
    with httpx.stream("POST", f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=30) as response:
        lines = (line[6:] for line in response.iter_lines() if line.startswith("data: "))
        next(lines)
        os.kill(host.process.pid, sign)
        rest = list(lines)
    assert rest[-1] == "[DONE]"
    assert host.process.stop() == 0
    again = httpx.post(f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=30)
    assert again.status_code in (502, 503, 404)
    assert again.json()["error"]["code"] in ("no_host", "host_lost", "model_not_found")


def test_a_stopped_client_ends_running_answers_within_ten_seconds(mesh: Mesh) -> None:
    host = mesh.host("--backend", SLOW)
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")
    with httpx.stream("POST", f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=30) as response:
        lines = (line[6:] for line in response.iter_lines() if line.startswith("data: "))
        next(lines)
        asked_at = time.monotonic()
        os.kill(client.process.pid, signal.SIGTERM)
        rest = list(lines)
    assert time.monotonic() - asked_at < 12
    assert "error" in json.loads(rest[-1])
    assert client.process.stop() == 0


def test_an_app_that_leaves_stops_the_host(mesh: Mesh) -> None:
    host = mesh.host("--backend", SLOW)
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")
    with httpx.stream("POST", f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=30) as response:
        next(response.iter_lines())
    wait_for_status(client, lambda status: status["exchanges"]["open"] == 0)
    assert client.status()["exchanges"]["failed_by_reason"] == {"app_left": 1}
    wait_for_status(host, lambda status: status["exchanges"]["open"] == 0)


def wait_for_status(node: Node, holds, *, timeout_s: float = 15.0) -> dict:
    """Follow the node's event stream until its status holds."""
    with httpx.stream("GET", f"{node.console_url}/api/events", timeout=timeout_s) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                status = json.loads(line[6:])
                if holds(status):
                    return status
    raise AssertionError("the event stream ended")


def wait_until_hosts(node: Node, count: int) -> None:
    wait_for_status(
        node,
        lambda status: (
            any(m["hosts"] >= count and m["usable"] for m in status["models"])
            and sum(peer["tier"] != "none" for peer in status["peers"]) >= count
        ),
    )


def wait_until_open(node: Node) -> None:
    wait_for_status(node, lambda status: status["exchanges"]["open"] >= 1)

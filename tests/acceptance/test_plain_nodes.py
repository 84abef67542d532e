"""Sealed with plain nodes, both ways, in real processes: refused unless allowed by name, and said everywhere."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node, wait_for_status, wait_until_usable

from kit.marker import MARKER, allow

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("plain-nodes")]

QUESTION = f"an unsealed question {MARKER}"
BODY = {"model": "echo", "messages": [{"role": "user", "content": QUESTION}]}


def ask(node: Node, **more: object) -> httpx.Response:
    return httpx.post(f"{node.api_url}/v1/chat/completions", json={**BODY, **more}, timeout=30)


def refused_for(node: Node, host: Node, words: str) -> None:
    """Wait until a node shows that it does not use a host, and why."""

    def shown(status: dict) -> bool:
        peers = [peer for peer in status["peers"] if peer["endpoint_id"] == host.endpoint_id]
        return any(words in reason for peer in peers for reason in peer["refused"])

    wait_for_status(node, shown, f"no host was refused for {words!r}", timeout_s=60.0)


def test_plain_and_sealed_nodes_in_one_mesh(mesh: Mesh) -> None:
    plain = mesh.host("--plain", "--backend", "echo:")
    strict = mesh.client(plain.ticket)
    willing = mesh.client(plain.ticket, "--allow-plain-hosts", record=True)
    allow(mesh.recordings[willing.endpoint_id])  # what is not sealed can be read on its way: that is shown below
    demanding = mesh.client(plain.ticket, "--allow-plain-hosts", "--require-attested-hosts=self-asserted")

    # A node that does not allow it refuses, and says why; so does one that allows it but demands evidence.
    for node, reason in ((strict, "--allow-plain-hosts was not given"), (demanding, "demands self-asserted")):
        refused = ask(node)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "no_attested_host"
        assert reason in refused.json()["error"]["refused"][plain.endpoint_id]

    # One that does gets its answers, and is told with each of them.
    wait_until_usable(willing, "echo")
    answer = ask(willing)
    assert answer.status_code == 200
    assert QUESTION in answer.text
    assert (answer.headers["x-sealmesh-sealed"], answer.headers["x-sealmesh-tier"]) == ("no", "none")
    assert answer.headers["x-sealmesh-host"] == plain.endpoint_id
    streamed = ask(willing, stream=True)
    assert streamed.headers["x-sealmesh-sealed"] == "no"
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert QUESTION.encode() in mesh.recorded(willing)  # what --plain means
    assert mesh.sealed_streams(willing) == 0
    status = willing.status()
    assert [(route["sealed"], route["requests"]) for route in status["asked"]["routes"]] == [("no", 2)]
    (peer,) = [peer for peer in status["peers"] if peer["endpoint_id"] == plain.endpoint_id]
    assert (peer["plain"], peer["sealed_suites"]) == (True, [])
    (model,) = httpx.get(f"{willing.api_url}/v1/models").json()["data"]
    assert model["sealmesh"]["plain"] is True

    # The other way: a sealed host joins, a plain node's own client side seals to it.
    sealed = mesh.host("--backend", "echo:?name=sealed-echo", ticket=plain.ticket)
    wait_until_usable(plain, "sealed-echo")
    assert ask(plain, model="sealed-echo").headers["x-sealmesh-sealed"] == "xwing"
    assert ask(plain).headers["x-sealmesh-sealed"] == "local"
    wait_until_usable(willing, "sealed-echo")
    assert ask(willing, model="sealed-echo").headers["x-sealmesh-sealed"] == "xwing"

    # Also who allows no plain hosts remembers it, for the day when it does.
    wait_until_usable(strict, "sealed-echo")
    assert set(json.loads((strict.home / "keyed.json").read_text())) == {sealed.endpoint_id}

    # It is killed, and comes back under the same identity without a key: never anything to it in the clear.
    sealed.process.kill()
    again = mesh.restart(sealed, "serve", "--plain", "--backend", "echo:?name=sealed-echo")
    assert again.endpoint_id == sealed.endpoint_id
    refused_for(willing, again, "had a key before")
    assert ask(willing, model="sealed-echo").status_code == 403
    willing.process.kill()
    willing = mesh.restart(willing, "client", "--allow-plain-hosts")
    refused_for(willing, again, "had a key before")
    assert ask(willing, model="sealed-echo").status_code == 403
    assert ask(willing).headers["x-sealmesh-sealed"] == "no"

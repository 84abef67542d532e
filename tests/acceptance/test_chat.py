"""The main job: the official `openai` package against a client node, over the sealed path, on the real model."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from tests.acceptance.conftest import Mesh, Node

import kit.sdk
from kit.marker import MARKER
from sealmesh.cli import demo

MODEL = "smollm2-135m"
PROMPT = f"{demo.PROMPT} {MARKER}"
pytestmark = [pytest.mark.model, pytest.mark.process, pytest.mark.xdist_group("model-mesh")]


@pytest.fixture(scope="module")
def nodes(shared_mesh: Mesh) -> Iterator[tuple[Node, Node]]:
    # One thread: with as many as cores, the engine stands still while its neighbours compute.
    host = shared_mesh.host("--model", MODEL, "--threads", "1")
    client = shared_mesh.client(host.ticket, record=True)
    return host, client


def sdk(node: Node) -> openai.OpenAI:
    return kit.sdk.sdk(node.api_url)


def plain(node: Node, prompt: str) -> dict:
    answer = sdk(node).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=40, seed=7
    )
    return answer.model_dump()


def streamed(node: Node, prompt: str) -> tuple[str, list[dict]]:
    chunks = sdk(node).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        temperature=0,
        max_tokens=40,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    seen = [chunk.model_dump() for chunk in chunks]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in seen if chunk["choices"]), seen


def test_a_plain_answer_equals_the_hosts_own(nodes: tuple[Node, Node]) -> None:
    host, client = nodes
    direct, sealed = plain(host, PROMPT), plain(client, PROMPT)
    assert direct["choices"][0]["message"]["content"]
    assert sealed["choices"] == direct["choices"]
    assert sealed["usage"]["completion_tokens"] == direct["usage"]["completion_tokens"]
    assert sealed["model"] == direct["model"] == MODEL


def test_a_streamed_answer_equals_the_hosts_own(nodes: tuple[Node, Node]) -> None:
    host, client = nodes
    direct_text, direct_chunks = streamed(host, PROMPT)
    sealed_text, sealed_chunks = streamed(client, PROMPT)
    assert direct_text
    assert sealed_text == direct_text
    assert [chunk["choices"] for chunk in sealed_chunks] == [chunk["choices"] for chunk in direct_chunks]
    assert sealed_chunks[-1]["usage"]["completion_tokens"] == direct_chunks[-1]["usage"]["completion_tokens"] > 0


def test_the_answer_says_how_it_was_sealed_and_by_whom(nodes: tuple[Node, Node]) -> None:
    host, client = nodes
    body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4}
    sealed = httpx.post(f"{client.api_url}/v1/chat/completions", json=body, timeout=60)
    local = httpx.post(f"{host.api_url}/v1/chat/completions", json=body, timeout=60)
    assert sealed.headers["x-sealmesh-sealed"] == "xwing"
    assert sealed.headers["x-sealmesh-host"] == host.endpoint_id
    assert sealed.headers["x-sealmesh-tier"] == "self-asserted"
    assert len(bytes.fromhex(sealed.headers["x-sealmesh-evidence"])) == 32
    assert len(bytes.fromhex(sealed.headers["x-sealmesh-exchange"])) == 16
    assert local.headers["x-sealmesh-sealed"] == "local"


def test_no_text_of_prompt_or_answer_is_on_the_wire(nodes: tuple[Node, Node], shared_mesh: Mesh) -> None:
    _, client = nodes
    text, _ = streamed(client, PROMPT)
    recorded, exchanges = shared_mesh.recorded(client), shared_mesh.recorded_exchanges(client)
    said = f"{PROMPT} {text}".split(" ")
    words = {word.strip(".,?") for word in said if len(word.strip(".,?")) >= 5}
    phrases = {" ".join(three) for three in zip(said, said[1:], said[2:], strict=False)}
    assert len(words) >= 5
    assert len(phrases) >= 5
    assert shared_mesh.sealed_streams(client) >= 1
    assert len(exchanges) > 1000
    # Single words only where nothing else may stand: records of hosts are made of words too.
    assert [word for word in words if word.encode() in exchanges] == []
    assert [phrase for phrase in phrases if phrase.encode() in recorded] == []
    assert b"/v1/chat/completions" not in recorded


def test_models_are_listed_with_their_context(nodes: tuple[Node, Node]) -> None:
    _, client = nodes
    listed = httpx.get(f"{client.api_url}/v1/models", timeout=10).json()["data"]
    assert [entry["id"] for entry in listed] == [MODEL]
    assert sdk(client).models.retrieve(MODEL).id == MODEL


def test_tokens_are_counted_in_the_status(nodes: tuple[Node, Node]) -> None:
    host, client = nodes
    before = client.status()["tokens"]["completion"]
    served = host.status()["tokens"]["served_completion"]
    used = plain(client, PROMPT)["usage"]["completion_tokens"]
    assert client.status()["tokens"]["completion"] == before + used
    assert host.status()["tokens"]["served_completion"] == served + used

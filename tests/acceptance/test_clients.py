"""The packages that apps are written with, each in an environment of its own, against one mesh with the real model.

Each program in `clients/` does what it can and prints what it was answered; here that is compared with what the host
itself says. Tools are called by an engine of our own: what a small model calls is chance.
"""

from __future__ import annotations

import json

import pytest
from tests.acceptance.client_mesh import EMBEDDER, ENGINE, MODEL, NATIVE, PROMPT, ClientMesh

from kit.engine import ARGUMENTS

PYTHON = ("openai", "langchain", "litellm", "llm")
ALL = [*PYTHON, pytest.param("node", marks=pytest.mark.node)]
pytestmark = [pytest.mark.model, pytest.mark.process, pytest.mark.clients, pytest.mark.xdist_group("clients")]
every = pytest.mark.parametrize("name", ALL)


@pytest.fixture(scope="module")
def own(client_mesh: ClientMesh) -> str:
    """What the host says when it is asked by itself."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 16}
    answer = client_mesh.http.post(f"{client_mesh.host.api_url}/v1/chat/completions", json=asked).raise_for_status()
    text = answer.json()["choices"][0]["message"]["content"]
    assert len(text.split()) > 4
    return text


@every
@pytest.mark.parametrize("step", ["chat", "stream", "responses", "responses_streamed"])
def test_the_answer_is_the_hosts_own(client_mesh: ClientMesh, own: str, name: str, step: str) -> None:
    seen = client_mesh.seen(name)[step]
    assert seen["text"] == own
    assert seen.get("tokens", 16) == 16
    assert seen.get("pieces", 99) > 5
    assert (seen.get("first"), seen.get("last")) in ((None, None), ("response.created", "response.incomplete"))


@every
def test_tools_are_called_and_answered(client_mesh: ClientMesh, name: str) -> None:
    seen = client_mesh.seen(name)
    for step in {"tools", "tools_streamed", "responses_tools"} & set(seen):
        if name == "llm":
            assert seen[step] == {"called": True, "after": "sunny"}
            continue
        assert seen[step]["name"] == "get_weather"
        assert json.loads(seen[step]["arguments"]) == json.loads(ARGUMENTS)
    assert seen["tools"]["after"] == "sunny"
    assert "tools_streamed" in seen


@pytest.mark.parametrize("name", ["openai", pytest.param("node", marks=pytest.mark.node)])
def test_the_model_itself_calls_a_tool_streamed_or_not(client_mesh: ClientMesh, name: str) -> None:
    calls = client_mesh.seen(name)["tools_of_the_model"]
    assert len(calls) == 2
    for called, arguments in calls:
        assert called == "get_weather"
        assert isinstance(json.loads(arguments)["city"], str)


@pytest.mark.parametrize("name", [each for each in ALL if each != "llm"])
def test_embeddings_are_the_models(client_mesh: ClientMesh, name: str) -> None:
    one, two, again = client_mesh.seen(name)["embeddings"]
    assert len(one) == len(two) == 576
    assert one == again
    assert sum(a * b for a, b in zip(one, two, strict=True)) < 0.99  # unit vectors of different words


def test_llm_lists_the_models(client_mesh: ClientMesh) -> None:
    assert client_mesh.seen("llm")["models"] == sorted([EMBEDDER, ENGINE, MODEL, NATIVE])


@every
def test_errors_are_the_packages_own_kind_with_our_code(client_mesh: ClientMesh, name: str) -> None:
    errors = client_mesh.seen(name)["errors"]
    if name == "llm":
        assert errors["unknown model"]["exit"] == 1
        assert "404 - No host in this mesh offers this model" in errors["unknown model"]["words"]
        assert "Traceback" not in errors["unknown model"]["words"]
        return
    code = {} if name == "litellm" else {"code": "model_not_found"}  # litellm keeps the words, not the code
    assert errors["unknown model"] == {"class": "NotFoundError", "status": 404, **code}
    code = {} if name == "litellm" else {"code": "engine_says_no"}
    assert errors["engine"] == {"class": "RateLimitError", "status": 429, **code}
    if "wrong type" in errors:
        assert errors["wrong type"] == {"class": "BadRequestError", "status": 400, "code": "invalid_request"}


def test_all_of_it_went_sealed(client_mesh: ClientMesh) -> None:
    for name in PYTHON:
        client_mesh.seen(name)
    assert client_mesh.mesh.sealed_streams(client_mesh.client) >= 30
    recorded = client_mesh.mesh.recorded(client_mesh.client)
    for word in (PROMPT, "hello", "get_weather", "/v1/chat", "/v1/responses"):
        assert word.encode() not in recorded
    status = client_mesh.client.status()["exchanges"]
    assert status["open"] == 0
    assert not {"host_lost", "transport", "internal_error"} & set(status["failed_by_reason"])

"""Commands ask the node over real HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from kit.fake_node import STATUS, FakeNode, Reply, error, events, model
from sealmesh.cli.node_api import NodeApi
from sealmesh.errors import BackendError, ConfigError, RemoteProtocolError, RequestError, TransportError


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as running:
        yield running


@pytest.fixture
def api(node: FakeNode) -> NodeApi:
    return NodeApi(node.state)


def test_status_and_models(node: FakeNode, api: NodeApi) -> None:
    node.models(model("a"), model("b", usable=False), {"id": 3})
    assert api.status() == STATUS
    assert [entry["id"] for entry in api.models()] == ["a", "b"]
    assert node.keys == ["Bearer local"] * 2


def test_an_api_key_goes_along(node: FakeNode) -> None:
    NodeApi(node.state, api_key="my-key").status()
    assert node.keys == ["Bearer my-key"]


def test_a_headless_node_has_no_status(node: FakeNode) -> None:
    state = dataclasses.replace(node.state, console_url=None)
    with pytest.raises(ConfigError, match="--headless"):
        NodeApi(state).status()


@pytest.mark.parametrize("body", [b"", b"[]", b"no", b"[" * 100_000])
def test_an_answer_that_is_none(node: FakeNode, api: NodeApi, body: bytes) -> None:
    node.gets["/api/status"] = Reply(body)
    with pytest.raises(RemoteProtocolError):
        api.status()


def test_a_node_that_is_gone() -> None:
    with FakeNode() as node:
        state = node.state
    with pytest.raises(TransportError, match="does not answer"):
        NodeApi(state).status()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, RequestError), (403, RequestError), (404, RequestError), (502, BackendError)]
)
def test_error_objects_keep_their_code_and_words(node: FakeNode, api: NodeApi, status: int, kind: type) -> None:
    node.answers.append(Reply(error(status, "some_code", "The words.\x1b[2J"), status))
    with pytest.raises(kind) as refused:
        api.chat({"model": "m"})
    assert (refused.value.status, refused.value.code) == (status, "some_code")
    assert refused.value.message == "The words.\\x1b[2J"


def test_an_error_without_an_object(node: FakeNode, api: NodeApi) -> None:
    node.answers.append(Reply(b"<html>", 500))
    with pytest.raises(BackendError, match="answered 500 without saying why"):
        api.chat({"model": "m"})


def test_a_streamed_answer(node: FakeNode, api: NodeApi) -> None:
    node.answers.append(Reply(b": ping\n\n" + events("a", "", "b\n"), headers={"x-sealmesh-tier": "pinned"}))
    with api.chat({"model": "m", "messages": []}) as answer:
        assert "".join(answer.pieces()) == "ab\n"
        assert answer.complete
        assert answer.headers["x-sealmesh-tier"] == "pinned"
    assert node.asked == [{"model": "m", "messages": [], "stream": True}]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (events("a", end=False), TransportError),
        (events("a", end=False) + b"data: " + error(502, "host_lost", "lost") + b"\n\ndata: [DONE]\n\n", BackendError),
        (events("a", end=False) + b"data: nonsense\n\n", RemoteProtocolError),
    ],
)
def test_an_answer_without_its_proper_end_is_an_error(
    node: FakeNode, api: NodeApi, body: bytes, kind: type[Exception]
) -> None:
    node.answers.append(Reply(body))
    seen: list[str] = []
    with api.chat({"model": "m"}) as answer, pytest.raises(kind):
        seen.extend(answer.pieces())
    assert seen == ["a"]  # shown as it came, and then said not to be the whole
    assert not answer.complete


def test_leaving_an_answer_tells_the_node(node: FakeNode, api: NodeApi) -> None:
    node.answers.append(Reply(events("a", end=False), hold=True))
    with api.chat({"model": "m"}) as answer:
        assert next(answer.pieces()) == "a"
    assert node.left.wait(10)

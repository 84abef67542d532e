"""The official `openai` package and the Responses API, over the sealed path, on engines that speak only chat."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from tests.acceptance.conftest import Mesh, Node, mesh_in_temporary_folder

import kit.sdk
from kit.marker import MARKER

MODEL = "smollm2-135m"
ORDER = [
    "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    "response.output_text.delta", "response.output_text.done", "response.content_part.done",
    "response.output_item.done", "response.completed",
]  # fmt: skip
SAID = f"to be or {MARKER}"
HELLO = f"Say hello. {MARKER}"
pytestmark = pytest.mark.process


def sdk(node: Node) -> openai.OpenAI:
    return kit.sdk.sdk(node.api_url)


@pytest.fixture(scope="module")
def echo() -> Iterator[Node]:
    with mesh_in_temporary_folder() as mesh:
        yield mesh.client(mesh.host("--backend", "echo:").ticket)


@pytest.fixture(scope="module")
def cut() -> Iterator[Node]:
    with mesh_in_temporary_folder() as mesh:
        yield mesh.client(mesh.host("--backend", "echo:?cut=1&rate=20&name=cut").ticket)


def test_a_plain_response(echo: Node) -> None:
    response = sdk(echo).responses.create(
        model="echo",
        input=[{"role": "user", "content": SAID}],
        instructions="Say it.",
        metadata={"a": "b"},
    )
    assert (response.status, response.output_text, response.model) == ("completed", SAID, "echo")
    assert (response.instructions, response.metadata) == ("Say it.", {"a": "b"})
    assert response.usage is not None
    assert response.usage.output_tokens == 4


def test_a_streamed_response(echo: Node) -> None:
    events = list(sdk(echo).responses.create(model="echo", input=SAID, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert list(dict.fromkeys(event.type for event in events)) == ORDER
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == SAID
    assert last.response.usage is not None


def test_the_packages_own_stream_helper(echo: Node) -> None:
    with sdk(echo).responses.stream(model="echo", input=SAID) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == SAID


def test_an_answer_of_a_cut_length_is_incomplete(echo: Node) -> None:
    response = sdk(echo).responses.create(model="echo", input=SAID, max_output_tokens=2)
    assert (response.status, response.output_text) == ("incomplete", "to be ")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_what_cannot_be_translated_is_a_400_that_names_the_field(echo: Node) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk(echo).responses.create(model="echo", input="x", truncation="auto")
    assert refused.value.param == "truncation"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_by_the_last_answer_s_id(echo: Node, stream: bool) -> None:
    client = sdk(echo)
    first = client.responses.create(model="echo", input="one two")
    if stream:
        events = list(client.responses.create(model="echo", input="3", previous_response_id=first.id, stream=True))
        assert list(dict.fromkeys(event.type for event in events)) == ORDER
        last = events[-1]
        assert last.type == "response.completed"
        second = last.response
    else:
        second = client.responses.create(model="echo", input="3", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("3", first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens  # the host was sent all of it
    assert client.responses.retrieve(second.id).output_text == "3"
    client.responses.delete(second.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="echo", input="x", previous_response_id=second.id)
    assert refused.value.code == "previous_response_not_found"


def test_an_engine_that_breaks_off_never_completes(cut: Node) -> None:
    events = list(sdk(cut).responses.create(model="cut", input=SAID, stream=True))
    assert events[-1].type == "response.failed"
    assert all(event.type != "response.completed" for event in events)
    with pytest.raises(openai.InternalServerError) as failed:
        sdk(cut).responses.create(model="cut", input=SAID)
    assert failed.value.status_code == 502


@pytest.mark.model
@pytest.mark.xdist_group("model-mesh")
def test_the_real_model_says_the_same_as_in_chat(shared_mesh: Mesh) -> None:
    host = shared_mesh.host("--model", MODEL, "--threads", "1")
    client = sdk(shared_mesh.client(host.ticket))
    asked = [{"role": "user", "content": HELLO}]
    chat = client.chat.completions.create(model=MODEL, messages=asked, temperature=0, max_tokens=12)
    response = client.responses.create(model=MODEL, input=asked, temperature=0, max_output_tokens=12)
    events = list(client.responses.create(model=MODEL, input=HELLO, temperature=0, max_output_tokens=12, stream=True))
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.output_tokens == chat.usage.completion_tokens
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == response.output_text
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta") == response.output_text
    )

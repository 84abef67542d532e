from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseStreamEvent
from pydantic import TypeAdapter

from sealmesh import limits
from sealmesh.backend.answers import SSE_HEADERS, WholeAnswer
from sealmesh.backend.base import BackendAnswer, BackendRequest, Usage
from sealmesh.backend.responses import Answered, response_from_chat_untrusted
from sealmesh.backend.responses_events import TEXT_MAX, ChatEvents
from sealmesh.backend.responses_request import chat_from_responses_untrusted
from sealmesh.backend.translated import TranslatedAnswer, ask_as_chat
from sealmesh.errors import BackendError
from sealmesh.wire.operations import Operation

COUNTS = {
    "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
}  # fmt: skip
USAGE = {
    "input_tokens": 5, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0}, "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 7,
}  # fmt: skip
DONE = b"data: [DONE]\n\n"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c", "choices": choices, **more}).encode() + b"\n\n"


def tool(index: int, identifier: str = "", name: str = "", arguments: str = "") -> dict[str, Any]:
    function = {key: text for key, text in (("name", name), ("arguments", arguments)) if text}
    return {"tool_calls": [{"index": index, **({"id": identifier} if identifier else {}), "function": function}]}


HELLO = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"})]
END = [chunk({}, "stop"), chunk(usage=COUNTS), DONE]


class Engine(BackendAnswer):
    """Says pieces, then ends, or raises."""

    def __init__(self, pieces: Iterable[bytes], error: BackendError | None = None) -> None:
        self.status = 200
        self.headers = SSE_HEADERS
        self.pieces = [piece for piece in pieces if piece]
        self.error = error
        self.closed = False

    async def read(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        if self.error is not None:
            raise self.error
        return b""

    @property
    def usage(self) -> Usage | None:
        return None if self.pieces else Usage(prompt_tokens=5, completion_tokens=2)

    async def close(self) -> None:
        self.closed = True


def answered(**body: Any) -> Answered:
    request = json.dumps({"input": "x", **body}).encode()
    echo = chat_from_responses_untrusted(request, model="m", stream=True).echo
    return Answered(identifier="ab", created=7, model="m", echo=echo)


async def raw(pieces: Iterable[bytes], error: BackendError | None = None) -> bytes:
    out = b""
    async with TranslatedAnswer(Engine(pieces, error), answered(), stream=True) as answer:
        while data := await answer.read():
            assert len(data) <= limits.BACKEND_CHUNK
            out += data
    return out


def parse(data: bytes) -> list[dict[str, Any]]:
    """The events; each must be one that the official package knows, numbered in order."""
    found = []
    for number, event in enumerate(data.decode().split("\n\n")[:-1]):
        name, _, text = event.partition("\n")
        fields = json.loads(text.removeprefix("data: "))
        assert name == f"event: {fields['type']}"
        assert fields["sequence_number"] == number
        assert EVENT.validate_python(fields).type == fields["type"]
        found.append(fields)
    return found


async def said(pieces: Iterable[bytes], error: BackendError | None = None) -> list[dict[str, Any]]:
    return parse(await raw(pieces, error))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


async def test_a_text_has_the_documented_events_in_order() -> None:
    events = await said(HELLO + END)
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo"]
    assert {(event["item_id"], event["output_index"], event["content_index"]) for event in events[3:8]} == {
        ("msg_ab_0", 0, 0)
    }
    part = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"id": "msg_ab_0", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert events[2]["item"] == {**item, "status": "in_progress", "content": []}
    assert (events[6]["text"], events[7]["part"], events[8]["item"]) == ("Hello", part, item)
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    whole = events[-1]["response"]
    assert (whole["id"], whole["created_at"], whole["model"], whole["status"]) == ("resp_ab", 7, "m", "completed")
    assert (whole["output"], whole["usage"], whole["error"]) == ([item], USAGE, None)


async def test_how_the_engine_cuts_its_bytes_does_not_matter() -> None:
    stream = b"".join(HELLO + END)
    once = await raw([stream])
    assert await raw([stream[at : at + 1] for at in range(len(stream))]) == once
    assert await raw([stream.replace(b"\n", b"\r\n")]) == once
    assert await raw([b": comment\n\nevent: x\nid: 3\n\n" + stream]) == once


async def test_words_then_calls() -> None:
    pieces = [
        *HELLO, chunk(tool(0, "c1", "look")), chunk(tool(0, arguments='{"a"')), chunk(tool(0, arguments=":1}")),
        chunk(tool(1, "c2", "feel", "{}")), chunk({}, "tool_calls"), DONE,
    ]  # fmt: skip
    events = await said(pieces)
    assert kinds(events)[6:] == [
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    call = {
        "id": "fc_ab_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "look",
        "arguments": '{"a":1}',
    }  # fmt: skip
    assert events[9]["item"] == {**call, "status": "in_progress", "arguments": ""}
    assert (events[9]["output_index"], events[12]["arguments"], events[13]["item"]) == (1, '{"a":1}', call)
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert output[1] == call
    assert events[-1]["response"]["usage"] is None


async def test_a_cut_by_the_number_of_tokens_is_incomplete() -> None:
    events = await said([*HELLO, chunk({}, "length"), DONE])
    assert kinds(events)[-2:] == ["output_item.done", "incomplete"]
    whole = events[-1]["response"]
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert whole["output"][0]["status"] == events[-2]["item"]["status"] == "incomplete"


async def test_reasoning_and_a_refusal_have_their_own_parts() -> None:
    pieces = [chunk({"reasoning_content": "hm"}), chunk({"content": "A"}), chunk({"refusal": "no"}), *END]
    events = await said(pieces)
    assert kinds(events)[2:] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done",
        "output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    output = events[-1]["response"]["output"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert output[1]["content"] == [
        {"type": "output_text", "text": "A", "annotations": []},
        {"type": "refusal", "refusal": "no"},
    ]


async def test_an_empty_answer_has_an_empty_message() -> None:
    events = await said([chunk({"role": "assistant"}), *END])
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip


CUT = BackendError(502, "engine_cut", "The engine was cut.")


@pytest.mark.parametrize(
    "pieces", [HELLO, [*HELLO, chunk({}, "stop")], [*HELLO, *END], [*HELLO, chunk(tool(0, "c", "f"))]]
)
async def test_a_cut_after_the_first_event_ends_as_failed(pieces: list[bytes]) -> None:
    events = await said(pieces, CUT)
    assert kinds(events).count("failed") == 1
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "The engine was cut."}
    assert events[-1]["response"]["status"] == "failed"


@pytest.mark.parametrize(
    "pieces",
    [
        HELLO,
        [*HELLO, DONE],
        [*HELLO, chunk({}, "stop")],
        [*HELLO, chunk({}, "abort"), DONE],
        [*HELLO, *END, b"data: x"],
        [*HELLO, *END, chunk({"content": "more"})],
        [*HELLO, b'data: {"error":{"message":"secret"}}\n\n', *END],
        [*HELLO, b"data: {\n\n", *END],
        [*HELLO, b'data: "x"\n\n', *END],
        [*HELLO, b'data: {"choices":[1]}\n\n', *END],
        [*HELLO, b'data: {"choices":[{"index":1,"delta":{}}]}\n\n', *END],
        [*HELLO, chunk({"content": 1}), *END],
        [*HELLO, chunk({"tool_calls": [{"index": 0}]}), *END],
        [*HELLO, chunk({"tool_calls": ["x"]}), *END],
        [*HELLO, chunk(tool(0, "a", "f")), chunk(tool(1, "b", "g")), chunk(tool(0, arguments="x")), *END],
        [*HELLO, b"data: " + b"x" * (limits.SSE_EVENT_MAX + 1)],
        [*HELLO, b"data: " + b" " * limits.SSE_EVENT_MAX, chunk({"content": "x"})[6:], *END],
        [*HELLO, *(chunk({"content": "y" * (TEXT_MAX // 2)}) for _ in range(3)), *END],
        [*HELLO, *(chunk(tool(index, "c", "f")) for index in range(200)), *END],
    ],
)
async def test_what_is_not_whole_is_never_called_complete(pieces: list[bytes]) -> None:
    out = await raw(pieces)
    events = parse(out)
    assert kinds(events)[-1] == "failed"
    assert not {"completed", "incomplete"} & set(kinds(events))
    assert b"secret" not in out
    assert all(len(event) <= limits.SSE_EVENT_MAX for event in out.split(b"\n\n"))


@pytest.mark.parametrize("pieces", [[], [DONE], [b"garbage"], [b"data: nope\n\n"], [b'data: {"error":"x"}\n\n']])
async def test_a_failure_before_the_first_event_is_raised(pieces: list[bytes]) -> None:
    with pytest.raises(BackendError) as failed:
        await raw(pieces)
    assert failed.value.status == 502


async def test_the_longest_answer_is_an_event_that_a_client_takes() -> None:
    piece = "\x01" * (TEXT_MAX // 4)  # six bytes each
    out = await raw([*(chunk({"content": piece}) for _ in range(4)), *END])
    assert kinds(parse(out))[-1] == "completed"
    assert all(len(event) <= limits.SSE_EVENT_MAX for event in out.split(b"\n\n"))


async def test_leaving_stops_the_engine_and_a_failure_does_too() -> None:
    engine = Engine(HELLO + END)
    async with TranslatedAnswer(engine, answered(), stream=True) as answer:
        await answer.read()
    assert engine.closed
    engine = Engine([*HELLO, b"data: nope\n\n"])
    answer = TranslatedAnswer(engine, answered(), stream=True)
    while await answer.read():
        pass
    assert engine.closed


async def test_token_counts_for_the_trailer_are_the_engines() -> None:
    answer = TranslatedAnswer(Engine(HELLO + END), answered(), stream=True)
    while await answer.read():
        pass
    assert answer.usage == Usage(prompt_tokens=5, completion_tokens=2)


GOOD = b"".join([*HELLO, chunk(tool(0, "c", "f", "{}")), *END])


@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
@example([b"data: [DONE]\n\n"], False)
@example([b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"], True)
async def test_any_bytes_of_an_engine_fail_and_never_complete(pieces: list[bytes], begun: bool) -> None:
    try:
        out = await raw([*(HELLO if begun else []), *pieces])
    except BackendError:
        assert not begun
    else:
        assert kinds(parse(out))[-1] == "failed"
        assert b"response.completed" not in out


@given(st.integers(0, len(GOOD) - 1))
async def test_a_stream_cut_at_any_byte_is_never_complete(at: int) -> None:
    try:
        out = await raw([GOOD[:at]])
    except BackendError:
        return
    # Without only the last line break or two the last word is not whole either.
    assert b"response.completed" not in out
    assert kinds(parse(out))[-1] == "failed"


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
async def test_a_stream_with_any_byte_changed_ends_properly(at: int, byte: int) -> None:
    try:
        out = await raw([GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]])
    except BackendError:
        return
    assert kinds(parse(out))[-1] in ("completed", "failed", "incomplete")


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_how_bytes_are_cut_does_not_change_events(pieces: list[bytes]) -> None:
    whole, cut = ChatEvents(), ChatEvents()
    assert whole.feed_untrusted(b"".join(pieces)) == [event for piece in pieces for event in cut.feed_untrusted(piece)]
    assert whole.between == cut.between


# --- plain -----------------------------------------------------------------------------------------------------------


def plain(message: dict[str, Any], finish: str = "stop", **more: Any) -> Response:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": COUNTS, **more}
    return Response.model_validate_json(response_from_chat_untrusted(json.dumps(body).encode(), answered()))


def test_a_whole_answer() -> None:
    response = plain({"role": "assistant", "content": "Hello"})
    assert (response.id, response.object, response.status, response.model) == ("resp_ab", "response", "completed", "m")
    assert response.output_text == "Hello"
    assert response.output[0].id == "msg_ab_0"
    assert response.usage is not None
    assert response.usage.model_dump(exclude_none=True) == USAGE


def test_a_whole_answer_with_calls() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    response = plain({"content": None, "tool_calls": [call]}, "tool_calls")
    assert response.output == [
        ResponseFunctionToolCall(
            id="fc_ab_0", call_id="c1", name="look", arguments="{}", type="function_call", status="completed"
        )
    ]


def test_a_whole_answer_that_was_cut_says_so() -> None:
    response = plain({"content": "Hel"}, "length")
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_whole_and_streamed_give_the_same_items() -> None:
    message = {"reasoning_content": "hm", "content": "A", "refusal": "no"}
    made = plain(message)
    events = await said([chunk(message), *END])
    assert made.output == Response.model_validate(events[-1]["response"]).output


@given(st.binary(max_size=60))
@example(b'{"choices":[]}')
@example(b'{"choices":[{"message":{"content":"x"}}]}')
@example(b'{"choices":[{"message":{"content":1},"finish_reason":"stop"}]}')
@example(b'{"choices":[{"message":{"tool_calls":[{}]},"finish_reason":"stop"}]}')
@example(b'{"error":{"message":"x"}}')
def test_any_bytes_as_a_whole_answer_are_an_error(body: bytes) -> None:
    with pytest.raises(BackendError):
        response_from_chat_untrusted(body, answered())


# --- asking ----------------------------------------------------------------------------------------------------------


def request_for(body: dict[str, Any], *, stream: bool) -> BackendRequest:
    data = json.dumps(body).encode()
    return BackendRequest(operation=Operation.RESPONSES, model="m", body=data, stream=stream, cache_key=b"k" * 32)


async def test_the_engine_is_asked_in_chat_with_all_that_belongs_to_the_request() -> None:
    seen: list[BackendRequest] = []

    async def ask(request: BackendRequest) -> BackendAnswer:
        seen.append(request)
        return Engine(HELLO + END)

    answer = await ask_as_chat(ask, request_for({"input": "x" * 300_000}, stream=True))
    assert answer.headers == SSE_HEADERS
    assert (seen[0].operation, seen[0].stream, seen[0].cache_key) == (Operation.CHAT_COMPLETIONS, True, b"k" * 32)
    assert json.loads(seen[0].body)["messages"] == [{"role": "user", "content": "x" * 300_000}]


async def test_a_request_that_cannot_be_translated_reaches_no_engine() -> None:
    async def ask(_: BackendRequest) -> BackendAnswer:
        raise AssertionError

    answer = await ask_as_chat(ask, request_for({"input": "x", "store": True}, stream=True))
    error = json.loads(await answer.read())["error"]
    assert (answer.status, error["param"]) == (400, "store")


async def test_an_engines_error_is_passed_on_as_it_is() -> None:
    refusal = WholeAnswer(400, b'{"error":{}}')

    async def ask(_: BackendRequest) -> BackendAnswer:
        return refusal

    assert await ask_as_chat(ask, request_for({"input": "x"}, stream=False)) is refusal


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_answers_in_the_wrong_form_is_refused(stream: bool) -> None:
    engine = Engine([])
    engine.headers = SSE_HEADERS if not stream else (("content-type", "application/json"),)

    async def ask(_: BackendRequest) -> BackendAnswer:
        return engine

    with pytest.raises(BackendError):
        await ask_as_chat(ask, request_for({"input": "x"}, stream=stream))
    assert engine.closed

"""An answer against an engine that misbehaves, without a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from sealmesh.backend.base import BackendRequest
from sealmesh.backend.llama_answer import LlamaAnswer
from sealmesh.backend.llama_request import EngineRequest
from sealmesh.errors import BackendError
from sealmesh.wire.operations import Operation

PROGRESS = b'{"choices":[{"delta":{}}],"prompt_progress":{"total":9,"processed":1}}'
WORD = b'{"choices":[{"index":0,"delta":{"content":"w"}}]}'
LAST = (
    b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"timings":{"cache_n":1,"prompt_n":2,"predicted_n":3}}'
)
TOO_LONG = b'{"error":{"code":400,"message":"exceeds the available context size","type":"exceed_context_size_error"}}'


def answer_to(
    *,
    stream: bool = True,
    operation: Operation = Operation.CHAT_COMPLETIONS,
    prompts: int = 1,
    choices: int = 1,
    with_usage: bool = False,
) -> LlamaAnswer:
    asked = EngineRequest(bodies=(b"{}",) * choices, prompts=prompts, with_usage=with_usage)
    return LlamaAnswer(BackendRequest(operation=operation, model="m", body=b"{}", stream=stream), asked)


def engine(
    events: Sequence[bytes], then: BaseException | None = None
) -> Callable[[bytes, Callable[[bytes], bool]], None]:
    def call(_: bytes, on_event: Callable[[bytes], bool]) -> None:
        for event in events:
            if on_event(event):
                return
        if then is not None:
            raise then

    return call


async def run(answer: LlamaAnswer, events: Sequence[bytes], then: BaseException | None = None) -> bytes:
    await asyncio.to_thread(answer.run, engine(events, then))
    await answer.bridge.opened()
    if answer.refusal is not None:
        return await answer.refusal.read()
    out = b""
    while data := await answer.read():
        out += data
    return out


async def test_events_are_framed_as_the_engines_server_does() -> None:
    answer = answer_to()
    out = await run(answer, [PROGRESS, WORD, LAST])
    assert out == b"data: " + WORD + b"\n\ndata: " + LAST + b"\n\ndata: [DONE]\n\n"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens) == (3, 3, 1)


async def test_a_model_that_writes_the_marks_as_text_fools_nobody() -> None:
    text = json.dumps('"prompt_progress": "timings": {"error":').encode()
    event = b'{"choices":[{"index":0,"delta":{"content":' + text + b"}}]}"
    out = await run(answer_to(), [event, LAST])
    assert event in out
    with pytest.raises(BackendError, match="middle"):
        await run(answer_to(), [event])


async def test_an_engine_that_just_stops_is_an_error() -> None:
    with pytest.raises(BackendError) as failed:
        await run(answer_to(), [PROGRESS, WORD])
    assert failed.value.code == "engine_cut"
    with pytest.raises(BackendError, match="middle"):
        await run(answer_to(prompts=2), [WORD, LAST])


async def test_an_error_before_the_answer_is_an_answer() -> None:
    answer = answer_to()
    error = json.loads(await run(answer, [TOO_LONG]))["error"]
    assert answer.refusal is not None
    assert (answer.refusal.status, error["code"]) == (400, "context_length_exceeded")


async def test_an_error_in_the_middle_is_a_failure() -> None:
    with pytest.raises(BackendError, match="middle"):
        await run(answer_to(), [WORD, TOO_LONG])
    with pytest.raises(BackendError, match="middle"):
        await run(answer_to(stream=False), [PROGRESS, TOO_LONG])


async def test_what_the_engine_throws_about_a_request_is_a_refusal() -> None:
    answer = answer_to()
    out = await run(answer, [], RuntimeError("image input is not supported"))
    assert answer.refusal is not None
    assert answer.refusal.status == 400
    assert b"image input" in out


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failing_callback_fails_the_answer_and_stops_the_engine(stream: bool) -> None:
    """The library swallows exceptions of callbacks: without care the answer would hang, or end as if it were whole."""
    answer = answer_to(stream=stream)
    seen: list[bool] = []

    def call(_: bytes, on_event: Callable[[bytes], bool]) -> None:
        seen.append(on_event(b'not JSON, but "timings": in it'))

    await asyncio.to_thread(answer.run, call)
    assert seen == [True]
    with pytest.raises(BackendError) as failed:
        await answer.read()
    assert failed.value.code == "engine_error"


async def test_no_text_of_an_unexpected_error_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_to()
    with pytest.raises(BackendError) as failed:
        await run(answer, [], KeyError("SECRET words of a prompt"))
    assert "SECRET" not in str(failed.value)
    assert "SECRET" not in caplog.text
    assert "KeyError" in caplog.text


async def test_closing_stops_at_the_next_event_and_before_the_first() -> None:
    answer = answer_to()
    count = 0

    def call(_: bytes, on_event: Callable[[bytes], bool]) -> None:
        nonlocal count
        while not on_event(PROGRESS):
            count += 1
            if count == 10:
                asyncio.run_coroutine_threadsafe(answer.close(), loop).result()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(answer.run, call)
    assert count == 10

    never = answer_to()
    await never.close()
    await never.close()
    await asyncio.to_thread(never.run, engine([], AssertionError("was called")))
    with pytest.raises(BackendError, match="stopped"):
        await never.read()

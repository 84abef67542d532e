"""Runs of the engine become choices, counts stand where OpenAI has them, and logprobs have the right shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from sealmesh.backend.base import BackendRequest
from sealmesh.backend.llama_answer import LlamaAnswer
from sealmesh.backend.llama_events import EventShaper
from sealmesh.backend.llama_request import EngineRequest
from sealmesh.errors import BackendError
from sealmesh.wire.operations import Operation

TIMINGS = {"cache_n": 1, "prompt_n": 2, "predicted_n": 2}
USAGE = {
    "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
}  # fmt: skip


def event(run: int, choice: dict[str, Any] | None, **more: Any) -> bytes:
    base = {"id": f"id{run}", "created": run, "model": "m", "object": "x"}
    return json.dumps({"choices": [choice] if choice else [], **base, **more}, separators=(",", ":")).encode()


def chat_run(run: int) -> list[bytes]:
    return [
        event(run, {"index": 0, "delta": {"content": f"w{run}"}}),
        event(run, {"index": 0, "delta": {}, "finish_reason": "stop"}),
        event(run, None, usage=USAGE, timings=TIMINGS),
    ]


def text_run(run: int) -> list[bytes]:
    token = {"token": f"w{run}", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -1.0}]}
    return [
        event(run, {"index": 0, "text": f"w{run}", "logprobs": {"content": [token]}, "finish_reason": None}),
        event(run, {"index": 0, "text": f"w{run}", "logprobs": {"content": [token]}, "finish_reason": None}),
        event(run, {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}, usage=USAGE, timings=TIMINGS),
    ]


RUNS = {Operation.CHAT_COMPLETIONS: chat_run, Operation.COMPLETIONS: text_run}


def engine(
    runs: Callable[[int], list[bytes]], *, fail_at: int = -1
) -> Callable[[bytes, Callable[[bytes], bool]], None]:
    def call(body: bytes, on_event: Callable[[bytes], bool]) -> None:
        run = int(body)
        for said in runs(run)[: 1 if run == fail_at else None]:
            if on_event(said):
                return

    return call


async def answered(
    operation: Operation, *, choices: int = 1, stream: bool = True, with_usage: bool = True, fail_at: int = -1
) -> tuple[list[Any], LlamaAnswer]:
    bodies = tuple(str(run).encode() for run in range(choices))
    asked = EngineRequest(bodies=bodies, prompts=1, with_usage=with_usage or not stream)
    answer = LlamaAnswer(BackendRequest(operation=operation, model="m", body=b"{}", stream=stream), asked)
    await asyncio.to_thread(answer.run, engine(RUNS[operation], fail_at=fail_at))
    data = b""
    while piece := await answer.read():
        data += piece
    if not stream:
        return [json.loads(data)], answer
    *events, done = data.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    return [json.loads(one.removeprefix(b"data: ")) for one in events], answer


async def test_runs_become_choices_of_one_answer() -> None:
    events, answer = await answered(Operation.CHAT_COMPLETIONS, choices=3)
    assert [one["choices"][0]["index"] for one in events[:-1]] == [0, 0, 1, 1, 2, 2]
    assert {(one["id"], one["created"]) for one in events} == {("id0", 0)}
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == USAGE | {"completion_tokens": 6, "total_tokens": 9}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens) == (3, 6, 1)


@pytest.mark.parametrize("operation", list(RUNS))
async def test_a_whole_answer_has_all_choices_and_the_counts_once(operation: Operation) -> None:
    (whole,), _ = await answered(operation, choices=2, stream=False)
    texts = [one.get("text", one.get("message", {}).get("content")) for one in whole["choices"]]
    assert texts == (["w0", "w1"] if operation is Operation.CHAT_COMPLETIONS else ["w0w0", "w1w1"])
    assert [one["index"] for one in whole["choices"]] == [0, 1]
    assert whole["usage"] == USAGE | {"completion_tokens": 4, "total_tokens": 7}


async def test_one_chat_answer_is_not_looked_into() -> None:
    shaper = EventShaper(Operation.CHAT_COMPLETIONS, with_usage=True)
    assert not any(shaper.changes(said) for said in chat_run(0))
    assert shaper.closing() is None  # the engine has said them


@pytest.mark.parametrize("with_usage", [True, False])
async def test_the_counts_of_completions_are_an_event_of_their_own(with_usage: bool) -> None:
    events, _ = await answered(Operation.COMPLETIONS, with_usage=with_usage)
    assert ["usage" in one for one in events] == [False, False, False] + [True] * with_usage
    if with_usage:
        assert (events[-1]["usage"], events[-1]["choices"]) == (USAGE, [])


async def test_log_probabilities_of_completions_have_their_own_shape() -> None:
    events, _ = await answered(Operation.COMPLETIONS)
    said = {"tokens": ["w0"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -1.0}]}
    logprobs = [one["choices"][0]["logprobs"] for one in events[:3]]
    assert logprobs == [{**said, "text_offset": [0]}, {**said, "text_offset": [2]}, None]
    (whole,), _ = await answered(Operation.COMPLETIONS, stream=False)
    assert whole["choices"][0]["logprobs"] == {name: said[name] * 2 for name in said} | {"text_offset": [0, 2]}


async def test_a_choice_that_breaks_off_fails_the_whole_answer() -> None:
    with pytest.raises(BackendError, match="middle"):
        await answered(Operation.CHAT_COMPLETIONS, choices=3, fail_at=1)

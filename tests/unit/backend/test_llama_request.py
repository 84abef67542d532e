from __future__ import annotations

import json
from typing import Any

import pytest

from sealmesh.backend.base import BackendRequest, Usage
from sealmesh.backend.llama_request import Collector, build_request, usage_from_timings
from sealmesh.errors import RequestError
from sealmesh.wire.operations import Operation


def build(
    body: Any, *, operation: Operation = Operation.CHAT_COMPLETIONS, stream: bool = True
) -> tuple[dict[str, Any], int]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = BackendRequest(operation=operation, model="m", body=data, stream=stream)
    made = build_request(request, slot=3, reuse=False, context=128)
    return json.loads(made.bodies[0]), made.prompts


def test_fields_that_may_pass_pass() -> None:
    made, prompts = build({"model": "x", "messages": [], "temperature": 0, "seed": 4, "stop": None, "tools": []})
    assert made == {
        "model": "m", "messages": [], "temperature": 0, "seed": 4, "tools": [],
        "id_slot": 3, "cache_prompt": False, "n_cache_reuse": 0, "stream": True, "return_progress": True,
    }  # fmt: skip
    assert prompts == 1


def test_a_whole_answer_is_run_with_events_so_that_it_can_be_stopped() -> None:
    made, _ = build({"messages": [], "stream": False}, stream=False)
    assert made["stream"] is True
    assert made["stream_options"] == {"include_usage": True}


def test_embeddings_have_no_slot() -> None:
    made, _ = build({"input": "x", "id_slot": 1}, operation=Operation.EMBEDDINGS)
    assert made == {"model": "m", "input": "x"}


@pytest.mark.parametrize(
    ("prompt", "prompts"), [("x", 1), ([1, 2, 3], 1), (["x", "y"], 2), ([[1], [2], [3]], 3), ([], 1)]
)
def test_prompts_are_counted(prompt: Any, prompts: int) -> None:
    assert build({"prompt": prompt}, operation=Operation.COMPLETIONS)[1] == prompts


@pytest.mark.parametrize("n", [0, 17, "1", True, -1, 2.0])
def test_choices_that_cannot_be_made_are_refused(n: Any) -> None:
    with pytest.raises(RequestError, match="1 to 16") as refused:
        build({"n": n})
    assert (refused.value.status, refused.value.param) == (400, "n")


def test_each_choice_is_a_request_with_a_seed_of_its_own() -> None:
    data = json.dumps({"messages": [], "n": 3, "seed": (1 << 32) - 2}).encode()
    request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="m", body=data, stream=True)
    bodies = [json.loads(body) for body in build_request(request, slot=1, reuse=False, context=128).bodies]
    assert [body["seed"] for body in bodies] == [(1 << 32) - 2, 0, 1]  # never the one that means a random seed
    assert [body["cache_prompt"] for body in bodies] == [False, True, True]  # the slot's state is this prompt's own
    assert all("n" not in body and body["id_slot"] == 1 for body in bodies)


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "input_audio"}, {}]
)
def test_a_model_of_text_refuses_other_parts_by_their_place(part: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "y"}, part]}]
    with pytest.raises(RequestError, match="text only") as refused:
        build({"messages": messages})
    assert (refused.value.status, refused.value.code) == (400, "unsupported_content")
    assert refused.value.param == "messages[1].content[1]"


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b"[" * 20_000, b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="not a JSON object"):
        build(body)


def test_far_more_than_the_context_never_reaches_the_tokenizer() -> None:
    with pytest.raises(RequestError) as refused:
        build({"messages": [{"role": "user", "content": "x" * 400_000}]})
    assert refused.value.code == "context_length_exceeded"


def test_usage_is_in_the_timings() -> None:
    usage = usage_from_timings({"cache_n": 5, "prompt_n": 2, "predicted_n": 9})
    assert usage == Usage(prompt_tokens=7, completion_tokens=9, cached_tokens=5)


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "id": "i", "model": "m", "created": 1}


def test_tool_calls_are_put_together() -> None:
    collector = Collector(Operation.CHAT_COMPLETIONS)
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "get", "arguments": ""}}
    for delta in (
        {"role": "assistant", "content": None},
        {"reasoning_content": "hm"},
        {"reasoning_content": "m"},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{**call, "index": 1, "id": "c2"}]},
    ):
        collector.add(chunk(delta))
    collector.add(chunk({}, "tool_calls"))
    choice = json.loads(collector.whole())["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == (None, "hmm")
    assert [(item["id"], item["function"]["arguments"]) for item in calls] == [("c1", '{"a":1}'), ("c2", "")]


def test_an_answer_without_words_is_an_empty_text() -> None:
    collector = Collector(Operation.CHAT_COMPLETIONS)
    collector.add(chunk({"role": "assistant", "content": None}))
    collector.add(chunk({}, "length"))
    assert json.loads(collector.whole())["choices"][0]["message"] == {"role": "assistant", "content": ""}


def test_several_prompts_add_up() -> None:
    collector = Collector(Operation.COMPLETIONS)
    counts = {
        "prompt_tokens": 2,
        "completion_tokens": 1,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    for index in (1, 0):
        part = {"index": index, "text": f"t{index}", "finish_reason": "stop", "logprobs": {"content": [{"token": "t"}]}}
        collector.add({"choices": [part], "usage": counts})
    whole = json.loads(collector.whole())
    assert [choice["text"] for choice in whole["choices"]] == ["t0", "t1"]
    assert whole["choices"][0]["logprobs"] == {"content": [{"token": "t"}]}
    assert whole["usage"] == {
        "prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6, "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip

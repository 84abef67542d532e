from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from sealmesh import limits
from sealmesh.backend.base import BackendRequest, Usage
from sealmesh.backend.echo import EchoBackend, EchoOptions
from sealmesh.errors import BackendError, ConfigError
from sealmesh.wire.operations import Operation

CHAT = {"messages": [{"role": "user", "content": "first"}, {"role": "user", "content": "Hello big  world\n"}]}


async def say(
    reference: str, operation: Operation, body: dict[str, Any], *, stream: bool
) -> tuple[int, bytes, Usage | None]:
    backend = EchoBackend(EchoOptions.parse(reference))
    await backend.start()
    data = json.dumps({**body, "stream": stream}).encode()
    request = BackendRequest(operation=operation, model="echo", body=data, stream=stream)
    out = b""
    async with await backend.ask(request) as answer:
        while piece := await answer.read():
            assert len(piece) <= limits.BACKEND_CHUNK
            out += piece
    return answer.status, out, answer.usage


def events(data: bytes) -> list[Any]:
    assert data.endswith(b"data: [DONE]\n\n")
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]
    return [json.loads(line) for line in lines[:-1]]


async def test_a_chat_is_said_back_word_by_word() -> None:
    status, data, usage = await say("echo:", Operation.CHAT_COMPLETIONS, CHAT, stream=True)
    chunks = [ChatCompletionChunk.model_validate(event) for event in events(data)]
    assert status == 200
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hello ", "big  ", "world\n", None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert usage is not None
    assert usage.completion_tokens == 3


async def test_a_whole_chat_says_the_same() -> None:
    _, data, usage = await say("echo:", Operation.CHAT_COMPLETIONS, CHAT, stream=False)
    answer = ChatCompletion.model_validate_json(data)
    assert answer.choices[0].message.content == "Hello big  world\n"
    assert answer.usage is not None
    assert usage is not None
    assert answer.usage.completion_tokens == usage.completion_tokens == 3


async def test_usage_comes_in_the_stream_only_when_asked_for() -> None:
    _, without, _ = await say("echo:", Operation.CHAT_COMPLETIONS, CHAT, stream=True)
    body = {**CHAT, "stream_options": {"include_usage": True}}
    _, data, _ = await say("echo:", Operation.CHAT_COMPLETIONS, body, stream=True)
    last = ChatCompletionChunk.model_validate(events(data)[-1])
    assert b'"usage"' not in without
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


@pytest.mark.parametrize(
    "content", ["", " ", "a", " a b ", "zwei\u00a0Wörter \U0001f600", [{"type": "text", "text": "p"}]]
)
async def test_every_text_comes_back_whole(content: Any) -> None:
    body = {"messages": [{"role": "user", "content": content}]}
    _, streamed, _ = await say("echo:", Operation.CHAT_COMPLETIONS, body, stream=True)
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events(streamed))
    assert said == (content if isinstance(content, str) else "p")


async def test_completions_responses_and_embeddings_have_their_shapes() -> None:
    _, data, _ = await say("echo:", Operation.COMPLETIONS, {"prompt": "to be"}, stream=False)
    assert Completion.model_validate_json(data).choices[0].text == "to be"
    _, data, _ = await say("echo:", Operation.COMPLETIONS, {"prompt": "to be"}, stream=True)
    assert "".join(event["choices"][0]["text"] for event in events(data)) == "to be"
    _, data, _ = await say("echo:", Operation.RESPONSES, {"input": "to be"}, stream=False)
    assert Response.model_validate_json(data).output_text == "to be"
    _, data, _ = await say("echo:", Operation.RESPONSES, {"input": [{"role": "user", "content": "to be"}]}, stream=True)
    assert data.count(b"event: response.output_text.delta\n") == 2
    assert b"event: response.completed\n" in data
    _, data, _ = await say("echo:", Operation.EMBEDDINGS, {"input": ["a", "b", "a"]}, stream=False)
    vectors = [item.embedding for item in CreateEmbeddingResponse.model_validate_json(data).data]
    assert vectors[0] == vectors[2] != vectors[1]


async def test_max_tokens_cuts_with_the_right_reason() -> None:
    _, data, usage = await say("echo:", Operation.CHAT_COMPLETIONS, {**CHAT, "max_tokens": 2}, stream=False)
    choice = ChatCompletion.model_validate_json(data).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello big  ", "length")
    assert usage is not None
    assert usage.completion_tokens == 2


async def test_synthetic_tokens_of_a_size() -> None:
    reference = "echo:?tokens=3000&size=40"
    _, data, usage = await say(reference, Operation.CHAT_COMPLETIONS, {"messages": []}, stream=True)
    said = [event["choices"][0]["delta"].get("content", "") for event in events(data)]
    assert [len(text) for text in said[1:-1]] == [40] * 3000
    assert usage is not None
    assert usage.completion_tokens == 3000


async def test_a_rate_and_a_delay_are_kept() -> None:
    clock = asyncio.get_running_loop()
    before = clock.time()
    await say("echo:?tokens=5&rate=100&delay=0.05", Operation.CHAT_COMPLETIONS, {"messages": []}, stream=True)
    assert clock.time() - before >= 0.05 + 5 / 100 - 0.001


async def test_a_large_message_is_answered_with_its_digest() -> None:
    text = "word " * 600_000
    body = {"messages": [{"role": "user", "content": text}]}
    _, data, _ = await say("echo:?sha256=1", Operation.CHAT_COMPLETIONS, body, stream=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    content = ChatCompletion.model_validate_json(data).choices[0].message.content
    assert content == f"sha256={digest} bytes={len(text)}"


async def test_it_can_be_told_to_fail() -> None:
    status, data, _ = await say("echo:?status=503", Operation.CHAT_COMPLETIONS, CHAT, stream=True)
    assert (status, json.loads(data)["error"]["code"]) == (503, "echo_status")
    with pytest.raises(BackendError, match="without an end"):
        await say("echo:?cut=1", Operation.CHAT_COMPLETIONS, CHAT, stream=True)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"messages": 3}', b'{"max_tokens": "x"}'])
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="echo", body=body, stream=False)
    answer = await EchoBackend().ask(request)
    assert answer.status == 400


@pytest.mark.parametrize(
    "reference", ["echo:tokens=1", "echo:?tokns=1", "echo:?tokens=x", "echo:?rate=-1", "echo:?rate=nan", "http:"]
)
def test_options_that_cannot_be_used_are_refused(reference: str) -> None:
    with pytest.raises(ConfigError):
        EchoOptions.parse(reference)

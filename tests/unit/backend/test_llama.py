from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from sealmesh.backend.base import BackendAnswer, BackendRequest, Usage
from sealmesh.backend.llama import LlamaBackend, LlamaOptions
from sealmesh.backend.models import ModelFile
from sealmesh.errors import BackendError, ConfigError
from sealmesh.wire.operations import Operation

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

CONTEXT = 1024
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(model_file: ModelFile) -> AsyncIterator[LlamaBackend]:
    backend = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=CONTEXT, parallel=2))
    await backend.start()
    yield backend
    await backend.close()


def request_for(
    body: dict[str, Any], *, stream: bool, operation: Operation = Operation.CHAT_COMPLETIONS
) -> BackendRequest:
    data = json.dumps({"model": "x", **body, "stream": stream}).encode()
    return BackendRequest(operation=operation, model="smollm2-135m", body=data, stream=stream)


async def read_all(answer: BackendAnswer) -> bytes:
    out = b""
    async with answer:
        while data := await answer.read():
            out += data
    return out


async def say(
    backend: LlamaBackend,
    body: dict[str, Any],
    *,
    stream: bool = False,
    operation: Operation = Operation.CHAT_COMPLETIONS,
) -> tuple[int, bytes, Usage | None]:
    answer = await backend.ask(request_for(body, stream=stream, operation=operation))
    data = await read_all(answer)
    return answer.status, data, answer.usage


def without_ids(data: bytes) -> Any:
    fields = json.loads(data)
    return {name: value for name, value in fields.items() if name not in ("id", "created", "timings")}


def own_server_says(
    backend: LlamaBackend, body: dict[str, Any], operation: str = "handle_chat_completions"
) -> list[bytes]:
    events: list[bytes] = []
    data = json.dumps({**body, "cache_prompt": False, "id_slot": 0}).encode()
    getattr(backend._server, operation)(data, lambda event: bool(events.append(event)))
    return events


async def test_a_stream_is_what_the_engine_says(backend: LlamaBackend) -> None:
    body = {"messages": HELLO, "max_tokens": 6, "temperature": 0, "stream_options": {"include_usage": True}}
    _, data, usage = await say(backend, body, stream=True)
    ours = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    theirs = await asyncio.to_thread(own_server_says, backend, {**body, "stream": True})
    assert ours[-1] == b"[DONE]"
    assert [without_ids(event) for event in ours[:-1]] == [without_ids(event) for event in theirs]
    assert usage is not None
    assert usage.completion_tokens == 6
    assert usage.prompt_tokens == json.loads(ours[-2])["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("operation", "method", "body"),
    [
        (
            Operation.CHAT_COMPLETIONS,
            "handle_chat_completions",
            {"messages": HELLO, "logprobs": True, "top_logprobs": 2},
        ),
        (Operation.COMPLETIONS, "handle_completions", {"prompt": ["One two", "A b c"]}),
        (Operation.COMPLETIONS, "handle_completions", {"prompt": "Once"}),
    ],
)
async def test_a_whole_answer_is_what_the_engine_says(
    backend: LlamaBackend, operation: Operation, method: str, body: dict[str, Any]
) -> None:
    body = {**body, "max_tokens": 4, "temperature": 0}
    status, data, usage = await say(backend, body, operation=operation)
    (theirs,) = await asyncio.to_thread(own_server_says, backend, body, method)
    assert status == 200
    ours, expected = without_ids(data), without_ids(theirs)
    if isinstance(body.get("prompt"), list):  # the engine names the counts of one prompt only
        assert ours.pop("usage")["completion_tokens"] == 8
        expected.pop("usage")
    assert ours == expected
    assert json.loads(data)["model"] == "smollm2-135m"
    assert usage is not None
    assert usage.completion_tokens == json.loads(data)["usage"]["completion_tokens"]


async def test_it_says_the_same_again_at_temperature_zero(backend: LlamaBackend) -> None:
    body = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
    assert without_ids((await say(backend, body))[1]) == without_ids((await say(backend, body))[1])


async def test_the_context_that_is_named_is_what_one_request_gets(model_file: ModelFile) -> None:
    """The library divides what it is given by the number of slots."""
    context = 512
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=context, parallel=2))
    await other.start()
    try:
        (model,) = other.models()
        assert (model.name, model.context_length, len(model.digest)) == ("smollm2-135m", context, 32)
        fits = {"prompt": [5] * (context - 8), "max_tokens": 2, "temperature": 0}
        status, _, usage = await say(other, fits, operation=Operation.COMPLETIONS)
        assert (status, usage and usage.prompt_tokens) == (200, context - 8)
        for stream in (True, False):
            status, data, _ = await say(
                other, {"prompt": [5] * context}, operation=Operation.COMPLETIONS, stream=stream
            )
            assert (status, json.loads(data)["error"]["code"]) == (400, "context_length_exceeded")
    finally:
        await other.close()


async def test_the_context_that_is_named_is_no_more_than_the_model_can(model_file: ModelFile) -> None:
    """SmolLM2 was trained with 8,192 tokens: the engine caps what is set."""
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=10_000, parallel=1))
    await other.start()
    await other.close()
    assert other.models()[0].context_length == 8192


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "x"},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/"}}]}
            ]
        },
        {"messages": HELLO, "max_tokens": "seven"},
        {"messages": HELLO, "n": 20},
        {"messages": HELLO, "tools": 3},
    ],
)
async def test_what_cannot_be_answered_is_a_400_in_openais_form(backend: LlamaBackend, body: dict[str, Any]) -> None:
    status, data, _ = await say(backend, body)
    assert status == 400
    assert set(json.loads(data)["error"]) == {"message", "type", "param", "code"}


async def test_choices_are_made_one_after_the_other(backend: LlamaBackend) -> None:
    body = {"messages": HELLO, "max_tokens": 4, "temperature": 2, "seed": 5}
    status, data, usage = await say(backend, {**body, "n": 3})
    assert status == 200
    ours = [choice["message"]["content"] for choice in json.loads(data)["choices"]]
    alone = [json.loads((await say(backend, {**body, "seed": 5 + i}))[1]) for i in range(3)]
    assert ours == [one["choices"][0]["message"]["content"] for one in alone]
    assert usage is not None
    assert (usage.completion_tokens, usage.prompt_tokens) == (12, alone[0]["usage"]["prompt_tokens"])
    _, data, _ = await say(backend, {**body, "n": 2}, stream=True)
    events = [json.loads(line[6:]) for line in data.split(b"\n\n") if line.startswith(b"data: {")]
    assert {choice["index"] for event in events for choice in event["choices"]} == {0, 1}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_though_the_template_knows_none(backend: LlamaBackend, stream: bool) -> None:
    city = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": city}}
    body = {"messages": HELLO, "tools": [tool], "tool_choice": "required", "max_tokens": 60, "temperature": 0, "n": 2}
    status, data, _ = await say(backend, body, stream=stream)
    assert status == 200
    if not stream:
        for choice in ChatCompletion.model_validate_json(data).choices:
            assert choice.finish_reason == "tool_calls"
            (call,) = choice.message.tool_calls or ()
            assert call.type == "function"
            assert (call.function.name, set(json.loads(call.function.arguments))) == ("get_weather", {"city"})
        return
    chunks = [ChatCompletionChunk.model_validate_json(line[6:]) for line in data.split(b"\n\n") if line[6:7] == b"{"]
    pieces = ["", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        for part in choice.delta.tool_calls or ():
            assert part.function is not None
            pieces[choice.index] += part.function.arguments or ""
    assert [set(json.loads(piece)) for piece in pieces] == [{"city"}, {"city"}]


async def test_completions_have_log_probabilities_in_their_own_shape(backend: LlamaBackend) -> None:
    body = {"prompt": ["One two", "A b c"], "logprobs": 2, "max_tokens": 2, "temperature": 0}
    _, data, _ = await say(backend, body, operation=Operation.COMPLETIONS)
    for choice in Completion.model_validate_json(data).choices:
        assert choice.logprobs is not None
        assert "".join(choice.logprobs.tokens or []) == choice.text
        assert [len(top) for top in choice.logprobs.top_logprobs or []] == [2, 2]
        assert choice.logprobs.text_offset == [0, len((choice.logprobs.tokens or [""])[0])]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_chosen_tokens_alone_have_log_probabilities_where_no_others_are_asked_for(
    backend: LlamaBackend, stream: bool
) -> None:
    common = {"max_tokens": 2, "temperature": 0}
    for wanted in ({}, {"top_logprobs": 0}):
        body = {**common, "messages": HELLO, "logprobs": True, **wanted}
        _, data, _ = await say(backend, body, stream=stream)
        said = (
            [json.loads(line[6:]) for line in data.split(b"\n\n") if line[6:7] == b"{"]
            if stream
            else [json.loads(data)]
        )
        found = [one["choices"][0].get("logprobs") for one in said if one["choices"]]
        tokens = [token for each in found if each for token in each["content"]]
        assert len(tokens) == 2
        assert all(token["top_logprobs"] == [] and token["logprob"] <= 0 for token in tokens)
    _, data, _ = await say(backend, {**common, "prompt": "Once", "logprobs": 0}, operation=Operation.COMPLETIONS)
    (choice,) = Completion.model_validate_json(data).choices
    assert choice.logprobs is not None
    assert (len(choice.logprobs.tokens or []), choice.logprobs.top_logprobs) == (2, [{}, {}])


async def test_responses_say_the_same_as_chat(backend: LlamaBackend) -> None:
    body = {"temperature": 0, "max_tokens": 12, "messages": [{"role": "system", "content": "Be brief."}, *HELLO]}
    _, data, usage = await say(backend, body)
    words = json.loads(data)["choices"][0]["message"]["content"]
    asked = {"temperature": 0, "max_output_tokens": 12, "instructions": "Be brief.", "input": HELLO}
    status, whole, counts = await say(backend, asked, operation=Operation.RESPONSES)
    response = Response.model_validate_json(whole)
    assert (status, response.output_text, response.model) == (200, words, "smollm2-135m")
    assert usage is not None
    assert counts is not None
    assert (counts.prompt_tokens, counts.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    _, stream, _ = await say(backend, asked, operation=Operation.RESPONSES, stream=True)
    *_, last = (line for line in stream.decode().split("\n\n") if line)
    assert Response.model_validate(json.loads(last.partition("data: ")[2])["response"]).output_text == words


async def test_an_answer_is_held_to_a_schema(backend: LlamaBackend) -> None:
    schema = {"type": "object", "properties": {"kind": {"enum": ["bird", "fish"]}}, "required": ["kind"]}
    schema["additionalProperties"] = False
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    body = {"messages": HELLO, "response_format": wanted, "max_tokens": 40, "temperature": 0}
    _, data, _ = await say(backend, body)
    assert json.loads(json.loads(data)["choices"][0]["message"]["content"])["kind"] in ("bird", "fish")
    body = {"messages": HELLO, "response_format": {"type": "json_object"}, "max_tokens": 200, "temperature": 0}
    _, data, _ = await say(backend, body)
    assert json.loads(data)["choices"][0]["message"]["content"].lstrip().startswith("{")


async def test_an_answer_stops_where_it_is_told_and_is_the_same_for_a_seed(backend: LlamaBackend) -> None:
    body = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
    words = json.loads((await say(backend, body))[1])["choices"][0]["message"]["content"]
    mark = words.split()[1]
    _, data, _ = await say(backend, {**body, "stop": [mark]})
    choice = json.loads(data)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (words[: words.index(mark)], "stop")
    seeded = {**body, "temperature": 1.5, "seed": 7}
    one, other = [json.loads((await say(backend, seeded))[1])["choices"] for _ in range(2)]
    assert one == other


@pytest.mark.parametrize(
    ("operation", "extra", "param"),
    [
        (Operation.COMPLETIONS, {"prompt": "x", "suffix": "y"}, "suffix"),
        (Operation.COMPLETIONS, {"prompt": "x", "echo": True}, "echo"),
        (Operation.CHAT_COMPLETIONS, {"messages": HELLO, "store": True}, "store"),
    ],
)
async def test_what_would_be_dropped_is_refused_by_name(
    backend: LlamaBackend, operation: Operation, extra: dict[str, Any], param: str
) -> None:
    status, data, _ = await say(backend, extra, operation=operation)
    error = json.loads(data)["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_parameter", param)


async def test_what_this_model_does_not_do_is_said(backend: LlamaBackend) -> None:
    status, data, _ = await say(backend, {"input": "x"}, operation=Operation.EMBEDDINGS)
    assert (status, json.loads(data)["error"]["code"]) == (501, "unsupported_operation")


def listening() -> set[str]:
    """Return the inodes of this process's listening TCP sockets, and the paths of bound socket files."""
    found: set[str] = set()
    own = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}  # noqa: PTH115 - no path
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.add(f"{table}:{fields[1]}")
    for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and f"socket:[{fields[6]}]" in own:
            found.add(fields[7])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_nothing_can_connect_to_the_model(model_file: ModelFile) -> None:
    """The library always opens a listener: here it is a socket file that is gone before the model is used."""
    before = listening()
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=256, parallel=1))
    await other.start()
    try:
        opened = listening() - before
        assert not [name for name in opened if name.startswith("tcp")]
        assert len(opened) == 1
        (path,) = opened
        assert not Path(path).exists()
        assert not Path(path).parent.exists()
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(path)
    finally:
        await other.close()


async def slots_free(backend: LlamaBackend) -> None:
    """Wait until the engine has left every slot."""
    leases = [await backend._slots.acquire(b"") for _ in range(backend.parallel)]
    for lease in leases:
        backend._slots.release(lease.index)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("tokens", [8, CONTEXT - 64])
async def test_leaving_early_stops_the_model_soon(backend: LlamaBackend, stream: bool, tokens: int) -> None:
    """In generation and in prefill, with events and without.

    Measured in this process's CPU time, which other load on the machine does not change much: one batch takes 1 s of it
    (half a second by the clock on two slow cores), the whole prefill or answer 6 s and more.
    """
    body = {"prompt": [9] * tokens, "max_tokens": CONTEXT - tokens - 8, "temperature": 0, "ignore_eos": True}
    began = time.process_time()
    async with await backend.ask(request_for(body, stream=stream, operation=Operation.COMPLETIONS)):
        pass
    await slots_free(backend)
    assert time.process_time() - began < 3.5


async def test_as_many_answers_at_once_as_promised(backend: LlamaBackend) -> None:
    long = {"messages": HELLO, "max_tokens": 900, "temperature": 0, "ignore_eos": True}
    first = await backend.ask(request_for(long, stream=True))
    second = await asyncio.wait_for(backend.ask(request_for(long, stream=True)), 5)
    third = asyncio.create_task(backend.ask(request_for({"messages": HELLO, "max_tokens": 2}, stream=True)))
    for answer in (first, second, first, second):
        assert b"content" in await answer.read()
    assert not third.done()
    await first.close()
    assert (await read_all(await asyncio.wait_for(third, 5))).endswith(b"data: [DONE]\n\n")
    assert b"content" in await second.read()
    await second.close()


async def test_a_reader_who_goes_while_waiting_leaves_the_slot_free(backend: LlamaBackend) -> None:
    body = {"prompt": [9] * (CONTEXT - 100), "max_tokens": 50}
    asking = asyncio.create_task(backend.ask(request_for(body, stream=True, operation=Operation.COMPLETIONS)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    status, _, _ = await asyncio.wait_for(say(backend, {"messages": HELLO, "max_tokens": 1}), 5)
    assert status == 200


async def test_closing_ends_what_runs_and_a_closed_model_answers_nothing(model_file: ModelFile) -> None:
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=512, parallel=1))
    await other.start()
    answer = await other.ask(request_for({"messages": HELLO, "ignore_eos": True}, stream=True))
    await asyncio.wait_for(other.close(), 5)
    with pytest.raises(BackendError, match="stopped"):
        await read_all(answer)
    with pytest.raises(BackendError, match="not loaded"):
        await other.ask(request_for({"messages": HELLO}, stream=True))
    await other.close()


_EXITING = 0x4  # PF_EXITING, include/linux/sched.h


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.asyncio(loop_scope="function")  # a loop of its own, whose executor is its own
async def test_closing_frees_the_model(model_file: ModelFile) -> None:
    def threads() -> int:
        """Without those that have ended already, which the kernel shows for a moment longer."""
        flags = []
        for one in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                flags.append(int((one / "stat").read_text().rpartition(")")[2].split()[6]))
        return sum(not each & _EXITING for each in flags)

    # asyncio's own executor has one thread, and has it now: a second one would come whenever the first is not idle yet.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    await asyncio.to_thread(threads)
    before = threads()
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=256, parallel=1))
    await other.start()
    await say(other, {"messages": HELLO, "max_tokens": 1})
    assert threads() > before
    await other.close()
    assert threads() <= before


async def test_finding_a_model_can_be_broken_off() -> None:
    asked, closing = threading.Event(), threading.Event()

    def find() -> ModelFile:
        asked.set()
        assert closing.wait(5)
        raise BackendError(503, "backend_stopped", "stopped")

    other = LlamaBackend(find, on_close=closing.set)
    starting = asyncio.create_task(other.start())
    await asyncio.to_thread(asked.wait, 5)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, 5)


async def test_embeddings(model_file: ModelFile) -> None:
    other = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=256, parallel=1, embeddings=True))
    await other.start()
    try:
        status, data, usage = await say(other, {"input": ["one", "two", "one"]}, operation=Operation.EMBEDDINGS)
        vectors = [item["embedding"] for item in json.loads(data)["data"]]
        assert (status, len(vectors), len(vectors[0])) == (200, 3, 576)
        assert vectors[0] == pytest.approx(vectors[2])
        coded = {"input": ["one"], "encoding_format": "base64"}
        _, data, _ = await say(other, coded, operation=Operation.EMBEDDINGS)
        packed = base64.b64decode(json.loads(data)["data"][0]["embedding"])
        assert list(struct.unpack("<576f", packed)) == pytest.approx(vectors[0], abs=1e-4)
        status, data, _ = await say(other, {"input": "x", "dimensions": 8}, operation=Operation.EMBEDDINGS)
        assert (status, json.loads(data)["error"]["param"]) == (400, "dimensions")
        assert vectors[0] != pytest.approx(vectors[1])
        assert usage is not None
        assert usage.prompt_tokens > 0
        status, _, _ = await say(other, {"inputs": "x"}, operation=Operation.EMBEDDINGS)
        assert status == 400
        status, _, _ = await say(other, {"messages": HELLO})
        assert status == 501
    finally:
        await other.close()


async def test_a_file_that_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    other = LlamaBackend(lambda: ModelFile(path=path, name="bad", digest=b""))
    with pytest.raises(BackendError, match="could not be loaded"):
        await other.start()
    await other.close()


@pytest.mark.parametrize("options", [{"context": 0}, {"parallel": 0}, {"threads": -1}])
async def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        LlamaOptions(**options)


PROVOKED = """
    import asyncio, json, sys
    from pathlib import Path
    from sealmesh.backend.base import BackendRequest
    from sealmesh.backend.llama import LlamaBackend, LlamaOptions
    from sealmesh.backend.models import ModelFile
    from sealmesh.wire.operations import Operation

    async def main():
        file = ModelFile(path=Path(sys.argv[1]), name="m", digest=b"")
        backend = LlamaBackend(lambda: file, LlamaOptions(threads=1, context=512, parallel=1))
        await backend.start()
        says = [{"role": "user", "content": "SECRET"}]
        wide = {"type": "object", "properties": {"SECRET": {"type": "array", "minItems": 99999, "maxItems": 999999,
                "items": {"enum": ["SECRET"]}}}, "required": ["SECRET"]}
        odd = {"type": "string", "pattern": "^SECRET(?=x)[$"}
        bodies = [{"messages": says, "max_tokens": 2}, {"messages": says, "grammar": "root ::= SECRET ("}]
        for schema in (wide, odd):
            tool = {"type": "function", "function": {"name": "SECRET", "parameters": schema}}
            bodies.append({"messages": says, "tools": [tool], "tool_choice": "required", "max_tokens": 2})
            asked = {"type": "json_schema", "json_schema": {"name": "SECRET", "schema": schema}}
            bodies.append({"messages": says, "response_format": asked, "max_tokens": 2})
        bodies += [{"messages": "SECRET"}, {"messages": [{"role": "SECRET"}]}, {"messages": says, "stop": 3},
                   {"messages": [{"role": "user", "content": "SECRET " * 2000}]}]
        for body in bodies:
            body["max_tokens"] = 2
            request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="m", stream=False,
                                     body=json.dumps(body).encode())
            async with await backend.ask(request) as answer:
                while await answer.read():
                    pass
            print("status", answer.status)
        await backend.close()

    asyncio.run(main())
    print("done", file=sys.stderr)
"""


async def test_nothing_of_a_request_is_printed(model_file: ModelFile) -> None:
    """Also not by native code, which prints grammars that it cannot parse whatever its log level is."""
    command = [sys.executable, "-c", textwrap.dedent(PROVOKED), str(model_file.path)]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.count(b"status 400") >= 4
    assert ran.stdout.count(b"status 200") >= 2
    assert ran.stderr == b"done\n"
    assert b"SECRET" not in ran.stdout

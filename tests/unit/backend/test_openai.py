from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from sealmesh import limits
from sealmesh.backend.base import BackendAnswer, BackendRequest, ModelInfo, Usage
from sealmesh.backend.engine_http import Address
from sealmesh.backend.openai import EngineOptions, OpenAIBackend, salted
from sealmesh.errors import BackendError, ConfigError
from sealmesh.wire.operations import Operation

if TYPE_CHECKING:
    from conftest import FakeEngine

BODY = b'{"model":"m","messages":[]}'
COUNTS_TOO = b'{"model":"m","messages":[],"stream_options":{"include_usage":true}}'
USAGE = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
EVENTS = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: " + USAGE + b"\n\n", b"data: [DONE]\n\n"]
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"


def whole(body: bytes, *, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return SSE_HEAD + b"transfer-encoding: chunked\r\n\r\n" + coded + end


def request_for(
    body: bytes = BODY, *, stream: bool = False, operation: Operation = Operation.CHAT_COMPLETIONS, **more: Any
) -> BackendRequest:
    return BackendRequest(operation=operation, model="m", body=body, stream=stream, **more)


async def read_all(answer: BackendAnswer) -> bytes:
    out = b""
    async with answer:
        while data := await answer.read():
            assert len(data) <= limits.BACKEND_CHUNK
            out += data
    return out


async def ask(engine: FakeEngine, script: Any, request: BackendRequest, **options: Any) -> tuple[BackendAnswer, bytes]:
    engine.answers = [script]
    backend = OpenAIBackend(engine.url, EngineOptions(**options))
    try:
        answer = await backend.ask(request)
        return answer, await read_all(answer)
    finally:
        await backend.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, False, "/v1", "127.0.0.1:8000", True)),
        ("http://127.0.0.1:8000/", ("127.0.0.1", 8000, False, "/v1", "127.0.0.1:8000", True)),
        ("http://localhost/v1", ("localhost", 80, False, "/v1", "localhost", True)),
        ("https://api.example/api/v1/", ("api.example", 443, True, "/api/v1", "api.example", False)),
        ("http://[::1]:11434", ("::1", 11434, False, "/v1", "[::1]:11434", True)),
        ("http://192.168.1.7:1/proxy", ("192.168.1.7", 1, False, "/proxy/v1", "192.168.1.7:1", False)),
        ("http://localhost.example:80", ("localhost.example", 80, False, "/v1", "localhost.example", False)),
        ("unix:/run/engine.sock", ("/run/engine.sock", 0, False, "/v1", "localhost", True)),
    ],
)
def test_urls_with_and_without_v1(url: str, expected: tuple[Any, ...]) -> None:
    address = Address.parse(url)
    found = (address.host, address.port, address.tls, address.prefix, address.authority, address.local)
    assert found == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://user:key@host", "http://host?x=1", "http://host#x", "ftp://host", "http://", "http://host:99999",
        "http://host/v1\r\nx: y", "http://host/a b", "unix:relative", "unix://host/path", "http://[::1",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_used_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Address.parse(url)


async def test_start_asks_what_is_served(engine: FakeEngine) -> None:
    backend = OpenAIBackend(engine.url + "/v1", EngineOptions(api_key="sk-1"))
    await backend.start()
    await backend.close()
    assert backend.models() == (ModelInfo(name="m", context_length=2048),)
    assert engine.seen[0].line == "GET /v1/models HTTP/1.1"
    assert engine.seen[0].headers["authorization"] == "Bearer sk-1"
    assert (backend.place, backend.shared_prefix_cache) == ("local", True)


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        ({"max_model_len": 10}, 10),
        ({"meta": {"n_ctx_train": 30}}, 30),
        ({"meta": {"n_ctx": 20, "n_ctx_train": 30}}, 20),
        ({"context_length": 5}, 5),
        ({"max_model_len": "many"}, 0),
        ({}, 0),
    ],
)
async def test_the_context_is_found_where_engines_put_it(engine: FakeEngine, entry: Any, context: int) -> None:
    engine.answers = [whole(json.dumps({"data": [{"id": "m", **entry}]}).encode())]
    backend = OpenAIBackend(engine.url)
    await backend.start()
    await backend.close()
    assert backend.models()[0].context_length == context


async def test_only_the_wanted_models_are_served(engine: FakeEngine) -> None:
    listed = whole(b'{"data":[{"id":"a"},{"id":"b"},{"id":3},{"id":"' + b"x" * 200 + b'"}]}')
    engine.answers = [listed, listed, listed]
    everything = OpenAIBackend(engine.url)
    await everything.start()
    await everything.close()
    one = OpenAIBackend(engine.url, EngineOptions(models=("b",)))
    await one.start()
    await one.close()
    missing = OpenAIBackend(engine.url, EngineOptions(models=("c",)))
    with pytest.raises(BackendError, match="does not serve c"):
        await missing.start()
    await missing.close()
    assert [model.name for model in everything.models()] == ["a", "b"]
    assert [model.name for model in one.models()] == ["b"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (whole(b"{}", status="404 Not Found"), "base URL"),
        (whole(b"{}", status="401 Unauthorized"), "API key"),
        (whole(b'{"data":[]}'), "serves no model"),
        (whole(b'{"data":7}'), "cannot be read"),
        (whole(b"<html>"), "cannot be read"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"<close>", "without an answer"),
    ],
)
async def test_what_is_no_engine_is_said_at_start(engine: FakeEngine, script: bytes, words: str) -> None:
    engine.answers = [script]
    backend = OpenAIBackend(engine.url)
    with pytest.raises(BackendError, match=words):
        await backend.start()
    await backend.close()


async def test_an_engine_that_does_not_run_is_said(engine: FakeEngine) -> None:
    probe = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    backend = OpenAIBackend(f"http://127.0.0.1:{port}")
    with pytest.raises(BackendError, match="Is it running") as failed:
        await backend.start()
    assert failed.value.code == "backend_unavailable"


@pytest.mark.parametrize(
    ("operation", "path"),
    [(operation, operation.path) for operation in Operation],
)
async def test_each_operation_goes_to_its_path(engine: FakeEngine, operation: Operation, path: str) -> None:
    await ask(engine, whole(b"{}"), request_for(operation=operation), responses=True)
    assert engine.seen[0].line == f"POST {path} HTTP/1.1"
    assert engine.seen[0].body == BODY
    assert set(engine.seen[0].headers) == {
        "host", "accept", "accept-encoding", "user-agent", "content-type", "content-length",
    }  # fmt: skip


async def test_responses_are_translated_unless_set_up(engine: FakeEngine) -> None:
    body = b'{"model":"m","input":"hi","max_output_tokens":3}'
    choice = b'{"message":{"content":"ho"},"finish_reason":"stop"}'
    chat = b'{"choices":[%b],"usage":{"prompt_tokens":4,"completion_tokens":2}}' % choice
    answer, data = await ask(engine, whole(chat), request_for(body, operation=Operation.RESPONSES))
    assert engine.seen[0].line == "POST /v1/chat/completions HTTP/1.1"
    assert json.loads(engine.seen[0].body) == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": False,
    }  # fmt: skip
    assert answer.headers == (("content-type", "application/json"),)
    assert json.loads(data)["output"][0]["content"][0]["text"] == "ho"
    assert answer.usage == Usage(prompt_tokens=4, completion_tokens=2)


async def test_a_translated_stream_asks_chat_for_events_and_ends_with_its_end(engine: FakeEngine) -> None:
    body = b'{"model":"m","input":"hi","stream":true}'
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    request = request_for(body, stream=True, operation=Operation.RESPONSES)
    answer, data = await ask(engine, chunked(EVENTS[0], end, *EVENTS[1:]), request, cache_salt=True)
    sent = json.loads(engine.seen[0].body)
    assert (sent["stream"], sent["stream_options"], len(sent["cache_salt"])) == (True, {"include_usage": True}, 64)
    assert data.count(b"event: response.completed") == 1
    assert answer.usage == Usage(prompt_tokens=4, completion_tokens=2)


@pytest.mark.parametrize("rest", [b"", b"data: [DONE]\n\n", b"garbage\n\n"])
async def test_a_translated_stream_that_is_cut_never_completes(engine: FakeEngine, rest: bytes) -> None:
    body = b'{"model":"m","input":"hi","stream":true}'
    script = chunked(EVENTS[0], rest or b"\n", end=b"") + engine.CLOSE
    _, data = await ask(engine, script, request_for(body, stream=True, operation=Operation.RESPONSES))
    assert b"event: response.failed" in data
    assert b"response.completed" not in data


async def test_an_error_of_the_engine_stays_one_when_translated(engine: FakeEngine) -> None:
    script = whole(b'{"error":"no such"}', status="404 Not Found")
    request = request_for(b'{"model":"m","input":"hi"}', operation=Operation.RESPONSES)
    answer, data = await ask(engine, script, request)
    assert (answer.status, json.loads(data)["error"]["message"]) == (404, "no such")


async def test_a_whole_answer(engine: FakeEngine) -> None:
    answer, data = await ask(engine, whole(USAGE), request_for())
    assert (answer.status, answer.headers, data) == (200, (("content-type", "application/json"),), USAGE)
    assert answer.usage == Usage(prompt_tokens=4, completion_tokens=2)


async def test_only_headers_that_matter_come_back(engine: FakeEngine) -> None:
    headers = "content-type: application/json\r\nopenai-processing-ms: 12\r\nset-cookie: a=b\r\nserver: x\r\n"
    answer, _ = await ask(engine, whole(b"{}", headers=headers), request_for())
    assert answer.headers == (("content-type", "application/json"), ("openai-processing-ms", "12"))


async def test_a_stream_in_chunks(engine: FakeEngine) -> None:
    answer, data = await ask(engine, chunked(*EVENTS), request_for(COUNTS_TOO, stream=True))
    assert data == b"".join(EVENTS)
    assert answer.usage == Usage(prompt_tokens=4, completion_tokens=2)


async def test_a_stream_byte_by_byte(engine: FakeEngine) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in chunked(*EVENTS):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    _, data = await ask(engine, script, request_for(COUNTS_TOO, stream=True))
    assert data == b"".join(EVENTS)


@pytest.mark.parametrize("pieces", [EVENTS, [b"".join(EVENTS)], [bytes([one]) for one in b"".join(EVENTS)]])
@pytest.mark.parametrize("operation", [Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS])
async def test_counts_are_asked_for_and_taken_out_again(
    engine: FakeEngine, pieces: list[bytes], operation: Operation
) -> None:
    for body in (BODY, b'{"model":"m","stream_options":{"include_usage":false,"x":1}}', b'{"stream_options":null}'):
        answer, data = await ask(engine, chunked(*pieces), request_for(body, stream=True, operation=operation))
        assert data == EVENTS[0] + EVENTS[2]
        assert answer.usage == Usage(prompt_tokens=4, completion_tokens=2)
        sent = json.loads(engine.seen[-1].body)
        assert sent["stream_options"]["include_usage"] is True
        assert {name: sent[name] for name in json.loads(body) if name != "stream_options"} == {
            name: value for name, value in json.loads(body).items() if name != "stream_options"
        }


async def test_a_request_without_a_stream_is_passed_on_as_it_is(engine: FakeEngine) -> None:
    await ask(engine, whole(b"{}"), request_for())
    assert engine.seen[-1].body == BODY


async def test_an_answer_that_looks_like_counts_stays(engine: FakeEngine) -> None:
    events = [
        b'data: {"choices":[{"delta":{"content":"\\"choices\\":[]"}}]}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b'data: {"choices": [], broken\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"x":{"choices":[],"usage":{}}}]}}]}\n\n',
        EVENTS[2],
    ]
    _, data = await ask(engine, chunked(b"".join(events)), request_for(stream=True))
    assert data == b"".join(events)


async def test_an_event_without_an_end_is_not_held_for_ever(engine: FakeEngine) -> None:
    with pytest.raises(BackendError, match="too long"):
        await ask(engine, chunked(b"data: " + b"x" * (limits.SSE_EVENT_MAX + 1)), request_for(stream=True))


async def test_a_stream_that_ends_with_the_connection(engine: FakeEngine) -> None:
    script = SSE_HEAD + b"\r\n" + b"".join(EVENTS) + engine.CLOSE
    _, data = await ask(engine, script, request_for(COUNTS_TOO, stream=True))
    assert data == b"".join(EVENTS)


async def test_a_large_answer_comes_in_bounded_parts(engine: FakeEngine) -> None:
    body = b'{"x":"' + b"y" * (3 * limits.MIB) + b'"}'
    _, data = await ask(engine, whole(body), request_for())
    assert data == body


RESPONSE_END = b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""])
async def test_a_responses_stream_ends_with_its_own_last_event(engine: FakeEngine, end: bytes) -> None:
    request = request_for(stream=True, operation=Operation.RESPONSES)
    if end:
        _, data = await ask(engine, chunked(RESPONSE_END, end=end), request, responses=True)
        assert data == RESPONSE_END
    with pytest.raises(BackendError, match="engine_cut"):
        await ask(engine, chunked(b"event: x\n\n", end=end) + engine.CLOSE, request, responses=True)


@pytest.mark.parametrize(
    "script",
    [
        chunked(EVENTS[0], end=b""),
        chunked(*EVENTS, end=b""),
        chunked(EVENTS[0]),
        chunked(EVENTS[0], b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n'),
        SSE_HEAD + b"\r\n" + EVENTS[0],
        SSE_HEAD + b"content-length: 1000\r\n\r\n" + EVENTS[0],
        SSE_HEAD + b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + USAGE,
    ],
    ids=["cut", "no last chunk", "no done", "done as text", "closed", "short", "nothing", "unframed"],
)
async def test_a_stream_without_its_proper_end_is_an_error(engine: FakeEngine, script: bytes) -> None:
    with pytest.raises(BackendError) as failed:
        await ask(engine, script + engine.CLOSE, request_for(stream=True))
    assert failed.value.code == "engine_cut"


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * limits.BACKEND_HEAD_MAX + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: %s\r\n" % (i, b"y" * 1000) for i in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        whole(b"\x1f\x8b", headers="content-encoding: gzip\r\n"),
        whole(b"", status="307 Temporary Redirect", headers="location: http://elsewhere/\r\n"),
        whole(b"{}", status="600 Oh"),
        whole(b"{}", status="204 No Content"),
    ],
    ids=["long header", "many headers", "two lengths", "bad chunk", "upgrade", "gzip", "redirect", "600", "204"],
)
async def test_http_that_breaks_the_rules_is_an_error(engine: FakeEngine, script: bytes) -> None:
    with pytest.raises(BackendError) as failed:
        await ask(engine, script, request_for())
    assert failed.value.status == 502


async def test_a_head_without_end_is_cut_off(engine: FakeEngine) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()

    with pytest.raises(BackendError, match="too large"):
        await asyncio.wait_for(ask(engine, script, request_for()), 5)


async def test_interim_answers_are_passed_over(engine: FakeEngine) -> None:
    script = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + whole(b'{"a":1}')
    answer, data = await ask(engine, script, request_for())
    assert (answer.status, data) == (200, b'{"a":1}')


async def test_an_engines_error_is_an_answer(engine: FakeEngine) -> None:
    body = b'{"object":"error","message":"maximum context length is 9","code":400}'
    headers = "content-type: application/json\r\nretry-after: 7\r\n"
    answer, data = await ask(engine, whole(body, status="400 Bad Request", headers=headers), request_for(stream=True))
    assert (answer.status, json.loads(data)["error"]["code"]) == (400, "context_length_exceeded")
    assert ("retry-after", "7") in answer.headers


async def test_a_huge_error_is_cut_off(engine: FakeEngine) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 999999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    answer, data = await ask(engine, script, request_for())
    assert answer.status == 500
    assert len(data) < 1000


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refusal_of_this_host_is_not_shown_as_one_of_the_asker(engine: FakeEngine, status: str) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-secret"}}'
    with pytest.raises(BackendError) as failed:
        await ask(engine, whole(body, status=status), request_for(), api_key="sk-secret")
    assert (failed.value.status, failed.value.code) == (502, "backend_refused")
    assert "sk-secret" not in str(failed.value)


async def test_connections_are_kept_and_used_again(engine: FakeEngine) -> None:
    engine.answers = [whole(b"{}"), chunked(*EVENTS), whole(b"{}", status="400 Bad"), whole(b"{}")]
    backend = OpenAIBackend(engine.url)
    for stream in (False, True, False, False):
        await read_all(await backend.ask(request_for(stream=stream)))
    await backend.close()
    assert [seen.connection for seen in engine.seen] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "script",
    [
        whole(b"{}") + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        whole(b"{}", headers="connection: close\r\n"),
    ],
    ids=["bytes after the answer", "said close"],
)
async def test_a_connection_in_doubt_is_not_used_again(engine: FakeEngine, script: bytes) -> None:
    engine.answers = [script, whole(b'{"second":1}')]
    backend = OpenAIBackend(engine.url)
    assert await read_all(await backend.ask(request_for())) == b"{}"
    assert await read_all(await backend.ask(request_for())) == b'{"second":1}'
    await backend.close()
    assert [seen.connection for seen in engine.seen] == [1, 2]


async def test_a_kept_connection_that_closes_under_a_request_is_tried_once_more(engine: FakeEngine) -> None:
    engine.answers = [whole(b"{}"), engine.CLOSE, whole(b'{"second":1}')]
    backend = OpenAIBackend(engine.url)
    await read_all(await backend.ask(request_for()))
    assert await read_all(await backend.ask(request_for())) == b'{"second":1}'
    engine.answers = [engine.CLOSE, engine.CLOSE]
    with pytest.raises(BackendError, match="without an answer"):
        await backend.ask(request_for())
    await backend.close()
    assert len(engine.seen) == 5


async def test_leaving_early_closes_the_connection_at_once(engine: FakeEngine) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(EVENTS[0], end=b""))
        await reader.readexactly(1)

    engine.answers = [script, script]
    backend = OpenAIBackend(engine.url)
    async with await backend.ask(request_for(stream=True)) as answer:
        assert await answer.read() == EVENTS[0]
    await asyncio.wait_for(engine.lost.wait(), 1)
    await answer.close()
    with pytest.raises(BackendError, match="stopped"):
        await answer.read()
    engine.lost.clear()
    reading = asyncio.create_task(read_all(await backend.ask(request_for(stream=True))))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait_for(engine.lost.wait(), 1)
    await backend.close()


async def test_asking_can_be_broken_off(engine: FakeEngine) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.readexactly(1)

    asked = asyncio.Event()
    engine.answers = [script]
    backend = OpenAIBackend(engine.url, EngineOptions(parallel=1))
    asking = asyncio.create_task(backend.ask(request_for()))
    await asked.wait()
    asking.cancel()
    await asyncio.wait_for(engine.lost.wait(), 1)
    assert await read_all(await backend.ask(request_for()))  # its place is free again
    await backend.close()


async def test_no_more_connections_than_allowed(engine: FakeEngine) -> None:
    backend = OpenAIBackend(engine.url, EngineOptions(parallel=1))
    first = await backend.ask(request_for())
    second = asyncio.create_task(backend.ask(request_for()))
    await asyncio.sleep(0)
    assert engine.connections == 1
    await first.close()
    await read_all(await second)
    await backend.close()


async def test_a_large_body_and_an_early_refusal(engine: FakeEngine) -> None:
    big = b'{"x":"' + b"y" * (8 * limits.MIB) + b'"}'
    await ask(engine, whole(b"{}"), request_for(big))
    assert engine.seen[0].body == big

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b'{"error":"too big"}', status="413 Too Large", headers="connection: close\r\n"))
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    backend = OpenAIBackend(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    answer = await backend.ask(request_for(big))
    assert (answer.status, json.loads(await read_all(answer))["error"]["message"]) == (413, "too big")
    await backend.close()
    await ended.wait()
    server.close()
    await server.wait_closed()


def test_a_salt_is_ours_whatever_the_asker_wrote() -> None:
    body = b'{"messages":[{"a":1.0}],"cache_salt":"victim"}'
    first, again = json.loads(salted(body, b"k" * 32)), json.loads(salted(body, b"k" * 32))
    other = json.loads(salted(body, b"o" * 32))
    assert first == again
    assert len({first["cache_salt"], other["cache_salt"], "victim"}) == 3
    assert first["messages"] == [{"a": 1.0}]
    assert (b"k" * 32).hex() not in first["cache_salt"]
    assert json.loads(salted(body, b""))["cache_salt"] != json.loads(salted(body, b""))["cache_salt"]


async def test_a_salt_is_sent_only_where_it_is_honoured(engine: FakeEngine) -> None:
    await ask(engine, whole(b"{}"), request_for(cache_key=b"k" * 32))
    await ask(engine, whole(b"{}"), request_for(cache_key=b"k" * 32), cache_salt=True)
    answer, _ = await ask(engine, whole(b"{}"), request_for(b"[]"), cache_salt=True)
    assert [b"cache_salt" in seen.body for seen in engine.seen] == [False, True]
    assert answer.status == 400
    assert not OpenAIBackend(engine.url, EngineOptions(cache_salt=True)).shared_prefix_cache


@pytest.mark.parametrize("key", ["", "a\r\nx: y", "ключ"])
def test_a_key_that_cannot_stand_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        EngineOptions(api_key=key)


def test_a_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(EngineOptions(api_key="sk-secret"))


async def test_an_engine_on_a_socket_file(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> None:
    path = tmp_path_factory.mktemp("s") / "e.sock"
    server = await asyncio.start_unix_server(engine.serve, path)
    backend = OpenAIBackend(f"unix:{path}")
    await backend.start()
    assert backend.models()[0].name == "m"
    await backend.close()
    server.close()
    await server.wait_closed()


async def test_clear_text_to_another_machine_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    backend = OpenAIBackend("http://name.invalid:1")
    with pytest.raises(BackendError):
        await backend.start()
    assert backend.place == "remote"
    assert "clear text" in caplog.text

"""Whatever an engine's socket says, the app at the other end of the mesh gets one valid HTTP answer.

The way is the real one: engine client, host, seal, network in memory, asker, the API's server, a socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.api.world import World as Api
from tests.unit.api.world import serving

from kit.exchanges import World
from sealmesh.backend.openai import EngineOptions, OpenAIBackend

CHUNK = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
TOOL = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f"}}]}}]}\n\n'
WHOLE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
MODELS = b'{"object":"list","data":[{"id":"echo","max_model_len":4096}]}'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
HEADS = st.sampled_from(
    [
        SSE, PLAIN,
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE),
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\n\r\n", b"HTTP/1.1 404 No\r\ncontent-type: text/html\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 302 Go\r\nlocation: http://example.org/\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nset-cookie: a=b\r\n\r\n", b"HTTP/1.1 999 ?\r\n\r\n",
    ]
)  # fmt: skip
PIECES = st.sampled_from(
    [
        CHUNK, END, TOOL, WHOLE, b"data: [DONE]\n\n", b"data: {}\n\n", b"data: null\n\n", b": ping\n\n", b"\n",
        b"data: ", b'data: {"error":{"message":"no","code":1}}\n\n', b'{"error":"x"}', b"event: response.completed\n",
        b'data: {"choices":[]}\n\n', b'data: {"choices":[null]}\n\n', b'data: {"choices":{"a":1}}\n\n', b"\r\n\r\n",
        b'data: {"choices":[{"index":9,"delta":{"content":7}}]}\n\n', b"0\r\n\r\n", b"5\r\nhello\r\n", b"\xff\xfe",
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":-1}]}}]}\n\n', b"id: 1\n\n", b"\x00" * 9,
        b'data: {"usage":{"prompt_tokens":-1,"completion_tokens":1e99}}\n\n', b"[" * 3000, b'{"a":' * 500,
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good answer with some bytes changed, dropped or put in."""
    data = bytearray(draw(st.sampled_from([SSE + CHUNK * 2 + END, PLAIN + WHOLE, SSE + TOOL + END])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


says = (
    mutated()
    | st.builds(lambda head, body: head + body, HEADS, st.lists(PIECES, max_size=8).map(b"".join))
    | st.builds(lambda head, body: head + body, HEADS, st.binary(max_size=80))
    | st.binary(max_size=80)
)
ASKED = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/embeddings": {"input": "x"},
}


@dataclass
class Speaker:
    """An engine's socket that says what it is told to, in pieces, and hangs up."""

    said: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(MODELS), MODELS))
            else:
                for at in range(0, len(self.said), 61):
                    writer.write(self.said[at : at + 61])
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def meshed(speaker: Speaker) -> AsyncIterator[Api]:
    """An API in front of a mesh whose host has this engine."""
    server = await asyncio.start_server(speaker.serve, "127.0.0.1", 0)
    backend = OpenAIBackend(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", EngineOptions())
    await backend.start()
    try:
        async with World.running() as world, serving(asker=world.dialer) as api:
            world.add(backend=backend)
            yield api
    finally:
        await backend.close()
        server.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=says, stream=st.booleans(), path=st.sampled_from(sorted(ASKED)))
def test_any_bytes_of_an_engine_are_one_valid_answer(said: bytes, stream: bool, path: str) -> None:
    asyncio.run(_try(said, stream, path))


async def _try(said: bytes, stream: bool, path: str) -> None:
    caught: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
    asked = {"model": "echo", **ASKED[path], **({"stream": True} if stream and "embed" not in path else {})}
    async with asyncio.timeout(20), meshed(Speaker(said)) as api:
        answer = await api.raw(api.post(json.dumps(asked).encode(), path=path))
        assert "internal_error" not in api.server.results
    assert caught == []
    assert answer.status == 200 or 400 <= answer.status <= 599
    assert answer.headers["content-type"] in ("application/json", "text/event-stream")
    assert "set-cookie" not in answer.headers
    assert "location" not in answer.headers
    if answer.status != 200:
        assert isinstance(json.loads(answer.body)["error"], dict | str)
        assert answer.headers["content-type"] == "application/json"


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]

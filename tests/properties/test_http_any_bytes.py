"""Any bytes to the API's socket give valid HTTP answers or a close: never a traceback, never a hang."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.api.world import SSE_HEADERS, Response, ScriptedAnswer, chat, read_response, serving

from sealmesh.api.connection import HttpLimits

BOUNDS = HttpLimits(head_timeout_s=0.02, body_idle_s=0.02, keepalive_s=0.02, linger_s=0.02)
BODY = chat(stream=True)
PIECES = st.sampled_from(
    [
        b"GET /v1/models HTTP/1.1\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n",
        b"POST /v1/chat/completions HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"Host: HOST\r\n",
        b"Content-Length: %d\r\n" % len(BODY),
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: upgrade, close\r\n",
        b"Upgrade: websocket\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"0\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(BODY), BODY),
        BODY,
    ]
)
GOOD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Good requests with some bytes changed, dropped or put in."""
    data = bytearray(GOOD * draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(sent=st.lists(mutated() | st.binary(max_size=60) | st.lists(PIECES, max_size=10).map(b"".join), max_size=3))
def test_any_bytes_are_answered_or_cut(sent: list[bytes]) -> None:
    asyncio.run(_try(sent))


async def _try(sent: list[bytes]) -> None:
    caught: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
    async with (
        asyncio.timeout(20),
        serving(lambda _: ScriptedAnswer([b"data: {}\n\n"], headers=SSE_HEADERS), bounds=BOUNDS) as world,
        world.connect() as (reader, writer),
    ):
        for piece in sent:
            writer.write(piece.replace(b"HOST", world.netloc.encode()))
        answers = await _read_all(reader)
    assert caught == []
    assert "internal_error" not in world.server.results
    for answer in answers:
        assert answer.status in (100, 200) or set(json.loads(answer.body)["error"]) == {
            "message",
            "type",
            "param",
            "code",
        }


async def _read_all(reader: asyncio.StreamReader) -> list[Response]:
    """Read until the server closes; whatever it wrote must be whole responses (the last may be cut by a reset)."""
    answers: list[Response] = []
    while True:
        try:
            answers.append(await read_response(reader))
        except asyncio.IncompleteReadError as cut:
            rest = cut.partial
            break
        except ConnectionResetError:
            rest = b""
            break
    assert rest == b""
    return answers


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]

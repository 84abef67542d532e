"""A13: oversized, slow, deeply nested or malformed HTTP, and compressed bodies. Each is cut, none reaches a host."""

from __future__ import annotations

import asyncio
import contextlib
import gzip

import pytest
from tests.unit.api.world import (
    SSE_HEADERS,
    ScriptedAnswer,
    chat,
    read_response,
    serving,
)

from sealmesh.api.connection import HttpConnection, HttpLimits
from sealmesh.limits import HTTP_AHEAD_MAX, HTTP_BODY_MAX, HTTP_HEAD_MAX, HTTP_HEADERS_MAX

PATH = "POST /v1/chat/completions"
QUICK = HttpLimits(head_timeout_s=0.05, body_idle_s=0.05, keepalive_s=0.05, linger_s=0.05, write_stall_s=0.05)


async def test_10_000_headers() -> None:
    async with serving() as world:
        answer = await world.raw(world.head(PATH, *(f"x-{n}: y" for n in range(10_000))))
        assert (answer.status, answer.code) == (431, "head_too_large")
        few = [f"x-{n}: y" for n in range(HTTP_HEADERS_MAX - 1)]
        assert (await world.raw(world.head("GET /v1/models", *few))).status == 200
        assert (await world.raw(world.head("GET /v1/models", *few, "one: more"))).status == 431


@pytest.mark.parametrize("ended", [True, False])
async def test_a_head_of_10_mb(ended: bool) -> None:
    async with serving() as world:
        whole = world.head(PATH, "x: " + "y" * 10_000_000)
        answer = await world.raw(whole if ended else whole[:-4])
    assert (answer.status, answer.code) == (431, "head_too_large")


async def test_a_head_just_below_the_bound_is_taken() -> None:
    async with serving() as world:
        room = HTTP_HEAD_MAX - len(world.head("GET /v1/models", "x: "))
        assert (await world.raw(world.head("GET /v1/models", "x: " + "y" * room))).status == 200
        assert (await world.raw(world.head("GET /v1/models", "x: " + "y" * (room + 1)))).status == 431


async def test_a_head_that_never_ends() -> None:
    async with serving(bounds=QUICK) as world:
        answer = await world.raw(world.head(PATH)[:-2])
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "request_timeout", "close")


async def test_a_second_head_that_never_ends() -> None:
    bounds = HttpLimits(head_timeout_s=0.05, linger_s=0.05)
    async with serving(bounds=bounds) as world, world.connect() as (reader, writer):
        writer.write(world.head("GET /v1/models") + b"GET /v1")
        assert (await read_response(reader)).status == 200
        assert (await read_response(reader)).status == 408


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with asyncio.timeout(10), serving(bounds=QUICK) as world:
        async with world.connect() as (reader, _):
            assert await reader.read() == b""
        async with world.connect() as (reader, writer):
            writer.write(world.head("GET /v1/models"))
            assert (await read_response(reader)).status == 200
            assert await reader.read() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_stops_in_the_middle(framing: str) -> None:
    async with serving(bounds=QUICK) as world:
        answer = await world.raw(world.head(PATH, framing), b"5\r\n{")
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert world.server._server.bodies.used == 0


async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes() -> None:
    async with serving() as world:
        answer = await world.raw(world.head(PATH, f"Content-Length: {HTTP_BODY_MAX + 1}"))
    assert (answer.status, answer.code) == (413, "request_too_large")


async def test_an_endless_body_in_chunks_is_refused_at_the_bound() -> None:
    async with serving(bounds=HttpLimits(body_max=1 << 20)) as world:
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        answer = await world.raw(world.head(PATH, "Transfer-Encoding: chunked"), *[chunk] * 64)
    assert (answer.status, answer.code) == (413, "request_too_large")


async def test_many_bodies_at_once_share_their_room() -> None:
    async with serving(bounds=HttpLimits(bodies_total_max=1000)) as world, world.connect() as (_, held):
        held.write(world.head(PATH, "Content-Length: 900") + bytes(800))
        await held.drain()
        async with asyncio.timeout(10):
            while world.server._server.bodies.used < 800:  # until the other connection's bytes are read
                await asyncio.sleep(0)
        answer = await world.raw(world.post(chat(text="x" * 300)))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "1")
    assert world.server._server.bodies.used == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b'{"jsonrpc": "2.0"}\n',
        b"GET / HTTP/1.1\n\n",
        b"\x00" * 100,
    ],
)
async def test_garbage_instead_of_http_is_answered_at_once(garbage: bytes) -> None:
    async with serving() as world:
        assert (await world.raw(garbage)).status in (400, 505)


async def test_two_meanings_of_one_body() -> None:
    async with serving() as world:
        for framing in (
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding: xchunked",),
        ):
            answer = await world.raw(world.head(PATH, *framing) + b"0\r\n\r\n")
            assert (answer.status, answer.code, answer.headers["connection"]) == (400, "bad_http", "close")
    assert world.asker.asked == []


async def test_a_compressed_body_is_never_decompressed() -> None:
    async with serving() as world:
        body = gzip.compress(chat())
        answer = await world.raw(world.post(body, "Content-Encoding: gzip"))
        assert (answer.status, answer.code) == (415, "unsupported_encoding")
        assert (await world.raw(world.post(body))).code == "invalid_json"
    assert world.asker.asked == []


async def test_deep_nesting() -> None:
    async with serving() as world:
        for body in (b"[" * 5_000_000, b'{"model":"echo","messages":' + b"[" * 500 + b"]" * 500 + b"}"):
            assert (await world.raw(world.post(body))).code == "invalid_json"
    assert world.asker.asked == []


async def test_more_connections_than_there_is_room_for() -> None:
    async with serving(bounds=HttpLimits(connections_max=2)) as world, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            reader, writer = await stack.enter_async_context(world.connect())
            writer.write(world.head("GET /v1/models"))
            assert (await read_response(reader)).status == 200
        async with world.connect() as (reader, _):
            answer = await read_response(reader)
            assert (answer.status, answer.code) == (503, "busy")


async def test_room_for_bodies_is_given_back_however_a_request_ends() -> None:
    go_on = asyncio.Event()
    answer = ScriptedAnswer([go_on, b"{}"])
    async with asyncio.timeout(10), serving(lambda _: answer) as world:
        bodies = world.server._server.bodies
        async with world.connect() as (_, writer):  # left in the middle of its body
            writer.write(world.head(PATH, "Content-Length: 900") + bytes(800))
            while bodies.used < 800:
                await asyncio.sleep(0)
        while bodies.used:
            await asyncio.sleep(0)
        await world.raw(world.post(b"{"))  # refused
        assert bodies.used == 0
        async with world.connect() as (reader, writer):  # answered: the body goes as soon as it was handed on
            writer.write(world.post(chat()))
            await world.asker.asking.wait()
            while bodies.used:
                await asyncio.sleep(0)
            assert not answer.ended
            go_on.set()
            assert (await read_response(reader)).status == 200


async def test_a_flood_of_pipelined_requests_waits_in_the_socket() -> None:
    go_on = asyncio.Event()
    async with serving(lambda _: ScriptedAnswer([go_on, b"{}"])) as world:
        transport = StubTransport(port=int(world.netloc.rsplit(":", 1)[1]))
        connection = HttpConnection(world.server._server)
        connection.connection_made(transport)
        request = world.post(chat())
        connection.data_received(request)
        await world.asker.asking.wait()
        flood = request * (2 * HTTP_AHEAD_MAX // len(request))
        for at in range(0, len(flood), 4096):
            if transport.is_reading():
                connection.data_received(flood[at : at + 4096])
        assert len(connection._buffer) <= HTTP_AHEAD_MAX + 4096
        assert not transport.is_reading()
        go_on.set()
        async with asyncio.timeout(10):
            while not transport.is_reading():
                await asyncio.sleep(0)
        connection.connection_lost(None)


class StubTransport(asyncio.Transport):
    """Takes what is written and can be paused."""

    def __init__(self, port: int) -> None:
        super().__init__({"sockname": ("127.0.0.1", port)})
        self._reading = True

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def write(self, data: object) -> None:
        return

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return


async def test_an_app_that_leaves_without_reading_frees_its_host_at_once() -> None:
    steps = [b"data: " + b"x" * 60_000 + b"\n\n"] * 1000
    answer = ScriptedAnswer(steps, headers=SSE_HEADERS)
    async with asyncio.timeout(10), serving(lambda _: answer) as world, world.connect() as (reader, writer):
        reader._transport.pause_reading()
        writer.write(world.post(chat(stream=True)))
        connection = next(iter(world.server._server.connections), None)
        while connection is None or not connection.paused:
            await asyncio.sleep(0)
            connection = next(iter(world.server._server.connections), None)
        writer.write_eof()
        await answer.closed.wait()
    assert not answer.ended
    assert world.server.results == {"app_left": 1}


async def test_an_app_that_reads_nothing_is_cut_and_its_host_freed() -> None:
    steps = [b"data: " + b"x" * 60_000 + b"\n\n"] * 1000
    answer = ScriptedAnswer(steps, headers=SSE_HEADERS)
    async with (
        asyncio.timeout(10),
        serving(lambda _: answer, bounds=QUICK) as world,
        world.connect() as (reader, writer),
    ):
        reader._transport.pause_reading()
        writer.write(world.post(chat(stream=True)))
        await answer.closed.wait()
    assert not answer.ended
    assert world.server.results["app_stalled"] == 1


async def test_a_host_that_answers_without_end_is_cut_at_the_bound() -> None:
    from tests.unit.api.world import ScriptedAsker, World

    from sealmesh.api import openai as surface
    from sealmesh.api.doors import Doorkeeper
    from sealmesh.api.http import HttpServer

    answer = ScriptedAnswer([b"x" * 65536] * 100)
    asker = ScriptedAsker(lambda _: answer)
    keeper = Doorkeeper.build()
    handler = surface.OpenAIHandler(asker, doorkeeper=keeper, held_max=1 << 20)
    server = HttpServer(handler, address="127.0.0.1", port=0, doorkeeper=keeper)
    world = World(asker=asker, server=server, base=await server.start())  # type: ignore[arg-type]
    refused = await world.raw(world.post(chat()))
    assert (refused.status, refused.code) == (502, "answer_too_large")
    assert answer.closed.is_set()
    assert handler._held.used == 0
    await server.shutdown(0)


async def test_a_host_cannot_add_headers_or_choose_a_status_that_ends_the_response() -> None:
    evil = (
        ("content-type", "text/html"),
        ("openai-processing-ms", "1\r\nset-cookie: a=b"),
        ("set-cookie", "a=b"),
        ("access-control-allow-origin", "*"),
        ("content-length", "0"),
    )
    async with serving(lambda _: ScriptedAnswer([b"{}"], headers=evil)) as world:
        answer = await world.raw(world.post(chat()))
        assert (answer.headers["content-type"], answer.headers["content-length"]) == ("application/json", "2")
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    for status in (100, 204, 304, 302, 199, 600, -1):
        async with serving(lambda _, status=status: ScriptedAnswer([b"{}"], status=status)) as world:
            assert (await world.raw(world.post(chat()))).code == "host_lost"

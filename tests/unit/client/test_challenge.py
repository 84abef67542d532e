"""Asking a host: one answer, in bounded time, or an error that says whose fault it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kit.attested import VERIFIER_ID, ProvenHost
from sealmesh.attestation.challenge import Answer, Challenge, GetKeys, KeysAnswer, encode_answer
from sealmesh.client.challenge import ask_host
from sealmesh.errors import RemoteProtocolError, StreamResetError, TransportTimeoutError
from sealmesh.limits import CHALLENGE_MESSAGE_MAX
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind, encode_message

HOST = ProvenHost()
KEYS = KeysAnswer(keys=b"keys")


class Link:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def peer_id(self) -> bytes:
        return self._connection.remote_id

    async def open_stream(self, kind: StreamKind) -> Stream:
        stream = await self._connection.open(timeout_s=1)
        await stream.write(bytes([kind]))
        return stream


async def ask(serve: Callable[[Stream], Awaitable[None]], *, timeout_s: float = 5.0) -> Answer:
    """Ask a host that does whatever it likes with the stream."""
    network = MemoryNetwork()
    here, there = network.endpoint(VERIFIER_ID), network.endpoint(HOST.endpoint_id)
    connection = await here.connect(there.address(), timeout_s=1)
    accepted = await there.accept()

    async def host() -> None:
        async with await accepted.accept() as stream:
            await serve(stream)

    serving = asyncio.create_task(host())
    try:
        return await ask_host(Link(connection), GetKeys(endpoint_id=HOST.endpoint_id), timeout_s=timeout_s)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def read_all(stream: Stream) -> bytes:
    data = b""
    while piece := await stream.read(100):
        data += piece
    return data


async def test_the_request_is_one_message_and_the_answer_is_read() -> None:
    seen: list[bytes] = []

    async def serve(stream: Stream) -> None:
        seen.append(await read_all(stream))
        for byte in encode_message(encode_answer(KEYS), maximum=100):
            await stream.write(bytes([byte]))
        await stream.finish()

    assert await ask(serve) == KEYS
    assert seen == [b"\x03\x00\x00\x00\x22\x0a\x20" + HOST.endpoint_id]


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x00\x00", b"\x00\x00\x00\x05abc", b"\x00\x00\x00\x01\xff", (CHALLENGE_MESSAGE_MAX + 1).to_bytes(4, "big")],
    ids=["nothing", "cut head", "cut", "garbage", "too long"],
)
async def test_what_is_no_answer_is_the_hosts_fault(answer: bytes) -> None:
    async def serve(stream: Stream) -> None:
        await read_all(stream)
        if answer:
            await stream.write(answer)
        await stream.finish()

    with pytest.raises(RemoteProtocolError):
        await ask(serve)


async def test_a_reset_stream_is_the_transports_fault() -> None:
    async def serve(stream: Stream) -> None:
        await stream.read(1)

    with pytest.raises(StreamResetError):
        await ask(serve)


async def test_a_silent_host_times_out() -> None:
    async def serve(stream: Stream) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TransportTimeoutError):
        await ask(serve, timeout_s=0.01)


async def test_the_stream_is_reset_when_the_asker_gives_up() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def serve(stream: Stream) -> None:
        await read_all(stream)
        try:
            while True:
                await stream.write(b"\x00\x00\x10\x00" + b"x" * 100)
        except StreamResetError:
            ended.set_result(True)

    network = MemoryNetwork()
    here, there = network.endpoint(VERIFIER_ID), network.endpoint(HOST.endpoint_id)
    link = Link(await here.connect(there.address(), timeout_s=1))
    accepted = await there.accept()
    asking = asyncio.create_task(ask_host(link, Challenge(nonce=b"n" * 32)))
    stream = await accepted.accept()
    serving = asyncio.create_task(serve(stream))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await serving
    assert await ended

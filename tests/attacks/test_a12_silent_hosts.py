"""A12 in the exchange: a host that opens the stream and says nothing, dribbles, pings for ever or half-closes; and an
asker that does the same to a host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kit.exchanges import LONG_S, BareAsker, CountingStream, HostNode, ScriptedBackend, World, chat, read_all, silent
from kit.sealed import ANSWER_HEAD, HEAD
from sealmesh.client.dial import Timeouts
from sealmesh.errors import HostLostError, HostTooSlowError, StreamResetError
from sealmesh.host.sender import HostTimes
from sealmesh.sealed.exchange import HeadEvent, HostExchange
from sealmesh.transport.base import Stream

SILENCE = 0.08
DRIBBLE = 0.01  # a byte so often: far more often than silence would have to be broken

Attack = Callable[[HostNode, Stream], Awaitable[None]]


def gone(stream: Stream) -> bool:
    assert isinstance(stream, CountingStream)
    return stream.gone


async def dribbled(stream: Stream, data: bytes) -> None:
    """Write one byte at a time until the asker has gone."""
    for at in range(len(data)):
        if gone(stream):
            return
        await stream.write(data[at : at + 1])
        await asyncio.sleep(DRIBBLE)


def answer(exchange: HostExchange) -> bytes:
    return exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"x" * 4000)


async def says_nothing_after_reading(host: HostNode, stream: Stream) -> None:
    await host.receive(stream, host.exchange())
    await silent(host, stream)


async def dribbles_its_first_frame(host: HostNode, stream: Stream) -> None:
    exchange = host.exchange()
    await host.receive(stream, exchange)
    await dribbled(stream, answer(exchange))


async def dribbles_zeros(host: HostNode, stream: Stream) -> None:
    await dribbled(stream, b"\xe1\x01" + bytes(10_000))


async def half_closes(host: HostNode, stream: Stream) -> None:
    exchange = host.exchange()
    await host.receive(stream, exchange)
    await stream.write(exchange.start())
    await stream.finish()


@pytest.mark.parametrize(
    "attack", [silent, says_nothing_after_reading, dribbles_its_first_frame, dribbles_zeros, half_closes]
)
async def test_a12_a_host_that_never_answers_is_lost_and_the_next_one_answers(attack: Attack) -> None:
    async with World.running(timeouts=Timeouts(silence=SILENCE)) as world:
        world.add("hostile", handler=attack)
        honest = world.add("honest")
        loop = asyncio.get_running_loop()
        began = loop.time()
        got = await world.dialer.ask(chat())
        assert loop.time() - began < 10 * SILENCE
        assert got.proof.host == honest.id.hex()
        await read_all(got)


@pytest.mark.parametrize("attack", [silent, says_nothing_after_reading, dribbles_its_first_frame, dribbles_zeros])
async def test_a12_alone_such_a_host_is_an_error(attack: Attack) -> None:
    async with World.running(timeouts=Timeouts(silence=SILENCE)) as world:
        world.add("hostile", handler=attack)
        with pytest.raises(HostLostError, match="silent"):
            async with asyncio.timeout(LONG_S):
                await world.dialer.ask(chat())


@pytest.mark.parametrize("dribbles", [False, True])
async def test_a12_a_host_that_falls_silent_in_mid_answer_is_lost(dribbles: bool) -> None:
    async def attack(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        await stream.write(exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"some"))
        if dribbles:
            await dribbled(stream, exchange.send_body(b"x" * 4000))
        else:
            await silent(host, stream)

    async with World.running(timeouts=Timeouts(silence=SILENCE)) as world:
        world.add(handler=attack)
        got = await world.dialer.ask(chat())
        assert await got.read() == b"some"
        with pytest.raises(HostLostError, match="silent"):
            async with asyncio.timeout(LONG_S):
                await got.read()
        await got.close()


async def test_a12_an_answer_that_half_closes_without_its_end_is_an_error() -> None:
    async def attack(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        await stream.write(exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"some"))
        await stream.finish()

    async with World.running() as world:
        world.add(handler=attack)
        got = await world.dialer.ask(chat())
        with pytest.raises(HostLostError, match="before the answer's authenticated end"):
            await read_all(got)


@pytest.mark.parametrize("after_head", [False, True])
async def test_a12_pings_for_ever_extend_nothing(after_head: bool) -> None:
    async def attack(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        if after_head:
            await stream.write(exchange.send_head(ANSWER_HEAD))
        while not gone(stream):
            await stream.write(exchange.send_ping())
            await asyncio.sleep(DRIBBLE)

    async with World.running(timeouts=Timeouts(silence=SILENCE, head=0.2, body=0.2)) as world:
        world.add(handler=attack)
        with pytest.raises(HostTooSlowError):
            async with asyncio.timeout(LONG_S):
                await read_all(await world.dialer.ask(chat()))


# --- an asker towards a host -----------------------------------------------------------------------------

TIMES = HostTimes(first_frame=0.3, silence=0.3, request_idle=0.5, request=1.0, ping=0.02, stall=0.15)


@pytest.mark.parametrize("said", ["nothing", "half a head", "a head", "half a body frame"])
async def test_a12_an_asker_that_falls_silent_loses_its_place(said: str) -> None:
    async with World.running() as world:
        host = world.add(backend=(engine := ScriptedBackend(b"{}")), times=TIMES)
        asker = await BareAsker.of(host)
        head, body = asker.exchange.send_head(HEAD), asker.exchange.send_body(b"x" * 500)
        await asker.send(
            {"nothing": b"", "half a head": head[:-5], "a head": head, "half a body frame": head + body[:-5]}[said]
        )
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()
        await world.settle()
        assert engine.asked == []


@pytest.mark.parametrize("opened", [False, True])
async def test_a12_an_asker_that_dribbles_loses_its_place(opened: bool) -> None:
    """Only what authenticates counts: neither the clock of the first frame nor that of silence is moved by a byte."""
    async with World.running() as world:
        host = world.add(times=HostTimes(first_frame=0.1, silence=0.1))
        asker = await BareAsker.of(host)
        data = asker.exchange.send_head(HEAD)
        if opened:
            await asker.send(data)
            data = asker.exchange.send_body(b"x" * 500)

        async def dribble() -> None:
            for at in range(len(data)):
                await asker.send(data[at : at + 1])
                await asyncio.sleep(0.005)

        with pytest.raises(StreamResetError):
            await asyncio.wait_for(dribble(), LONG_S)
        await asker.stream.reset()


@pytest.mark.parametrize("drips", [False, True], ids=["pings", "a byte of the body now and then"])
async def test_a12_an_asker_that_never_ends_its_request_loses_its_place(drips: bool) -> None:
    async with World.running() as world:
        host = world.add(times=TIMES)
        asker = await BareAsker.of(host)
        await asker.send(asker.exchange.send_head(HEAD))
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def go_on() -> None:
            while True:
                await asker.send(asker.exchange.send_body(b"x") if drips else asker.exchange.send_ping())
                await asyncio.sleep(0.02)

        with pytest.raises(StreamResetError):
            await asyncio.wait_for(go_on(), LONG_S)
        assert (loop.time() - began < 0.9) is not drips
        await asker.stream.reset()


@pytest.mark.parametrize("chunks", [0, 200], ids=["pings fill the way", "the answer fills the way"])
async def test_a12_an_asker_that_takes_nothing_frees_the_engine(chunks: int) -> None:
    async with World.running(window=2000) as world:
        times = HostTimes(ping=0.0005, stall=0.1)
        engine = ScriptedBackend(*[b"x" * 1000] * chunks, asyncio.Event())
        host = world.add(backend=engine, times=times)
        asker = await BareAsker.of(host)
        await asker.ask()
        async with asyncio.timeout(LONG_S):
            while not engine.answers or not engine.answers[0].closed:
                await asyncio.sleep(0.01)
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()


async def test_a12_an_asker_that_reads_slowly_is_not_cut() -> None:
    async with World.running(window=2000) as world:
        host = world.add(backend=ScriptedBackend(*[b"x" * 1000] * 20), times=HostTimes(ping=0.01, stall=0.1))
        asker = await BareAsker.of(host)
        await asker.ask()
        events: list[object] = []
        while data := await asker.stream.read(500):
            events += asker.exchange.receive_untrusted(data)
            await asyncio.sleep(0.004)
        assert asker.exchange.complete
        assert any(isinstance(event, HeadEvent) for event in events)
        await asker.stream.reset()

"""A12: a host that ends in odd ways, and an asker that leaves or takes nothing: sealed or not, one clear end each."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from kit.exchanges import LONG_S, BareAsker, HostNode, ScriptedBackend, World, chat, read_all
from kit.sealed import ANSWER_HEAD, TRAILER, Randomness
from sealmesh.backend.base import BackendAnswer
from sealmesh.errors import HostLostError, RemoteProtocolError
from sealmesh.host.sender import HostTimes
from sealmesh.sealed.answering import AnsweringEnd
from sealmesh.sealed.bare import PlainHostExchange
from sealmesh.sealed.exchange import PingEvent
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.messages import encode_trailer
from sealmesh.transport.base import Stream

WAYS = pytest.mark.parametrize("plain", [False, True], ids=["sealed", "plain"])


def forged(exchange: AnsweringEnd, kind: Kind, content: bytes = b"", *, final: bool = False) -> bytes:
    """An authentic frame that no honest host sends now."""
    assert exchange._sealing is not None
    start, exchange._preamble = exchange._preamble, b""
    return start + exchange._sealing.seal(encode_frame(kind, content), final=final)


async def nothing(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.finish()


async def trailer_only(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.write(forged(exchange, Kind.TRAILER, encode_trailer(TRAILER), final=True))
    await stream.finish()


async def body_before_head(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.write(forged(exchange, Kind.BODY, b"text"))
    await stream.finish()


async def pings_and_leaves(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.write(exchange.send_ping())
    await stream.finish()


async def head_and_leaves(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.write(exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"some"))
    await stream.finish()


async def garbage_after_the_end(exchange: AnsweringEnd, stream: Stream) -> None:
    await stream.write(exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"some") + exchange.finish(TRAILER) + b"x")
    await stream.finish()


BEFORE_HEAD = [nothing, trailer_only, body_before_head, pings_and_leaves]
AFTER_HEAD = [head_and_leaves, garbage_after_the_end]


def ending(end) -> object:
    async def handler(host: HostNode, stream: Stream) -> None:
        exchange = PlainHostExchange(random=Randomness(), kind_read=True) if host.plain else host.exchange()
        await host.receive(stream, exchange)  # type: ignore[arg-type]
        await end(exchange, stream)

    return handler


@WAYS
@pytest.mark.parametrize("end", BEFORE_HEAD, ids=lambda end: end.__name__)
async def test_a12_an_odd_end_before_the_head_goes_to_the_next_host(end, plain: bool) -> None:
    async with World.running() as world:
        odd = world.add("odd", handler=ending(end), plain=plain)  # type: ignore[arg-type]
        good = world.add("good", plain=plain)
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == good.id.hex()
        await read_all(answer)
        assert world.directory.health(odd.id).failures == 1


@WAYS
@pytest.mark.parametrize("end", BEFORE_HEAD + AFTER_HEAD, ids=lambda end: end.__name__)
async def test_a12_an_odd_end_alone_is_one_error_and_never_an_answer(end, plain: bool) -> None:
    async with World.running() as world:
        world.add("odd", handler=ending(end), plain=plain)  # type: ignore[arg-type]
        with pytest.raises((HostLostError, RemoteProtocolError)):
            await read_all(await world.dialer.ask(chat()))
        assert sum(world.counters.status().failed_by_reason.values()) == 1
        assert world.counters.status().done == 0


class Endless(ScriptedBackend):
    """An engine that never comes to an end, and counts what it was asked for."""

    def __init__(self, **more) -> None:
        super().__init__(**more)
        self.produced = 0

    async def ask(self, request) -> BackendAnswer:
        answer = await super().ask(request)

        def steps():
            for _ in itertools.count():
                self.produced += 1
                yield b"x" * 1000

        answer._steps = steps()  # type: ignore[attr-defined]
        return answer


@WAYS
async def test_a12_an_asker_that_takes_nothing_holds_the_engine_back(plain: bool) -> None:
    """What is produced and not taken is bounded by the stream's window, not by the length of the answer."""
    async with World.running(window=20_000) as world:
        engine = Endless()
        host = world.add(backend=engine, plain=plain)
        answer = await world.dialer.ask(chat(stream=True))
        seen = -1
        while engine.produced != seen:
            seen = engine.produced
            for _ in range(50):
                await asyncio.sleep(0)
        assert 0 < engine.produced < 400  # window, what one read takes, and what waits in the sender
        assert host.service.open_exchanges == 1
        await answer.close()
        async with asyncio.timeout(LONG_S):
            while not engine.answers[0].closed:
                await asyncio.sleep(0)


@WAYS
@pytest.mark.parametrize("at", ["queue", "prefill", "answer"])
async def test_a12_an_asker_that_leaves_stops_the_engine(at: str, plain: bool) -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        engine = Endless(gate=None if at == "answer" else gate, parallel=1)
        host = world.add(backend=engine, times=HostTimes(ping=0.005), plain=plain)
        first = asyncio.create_task(world.dialer.ask(chat()))
        if at == "answer":
            answer = await first
            await answer.read()
            await answer.close()
        else:
            while not engine.asked:
                await asyncio.sleep(0)
            second = asyncio.create_task(world.dialer.ask(chat())) if at == "queue" else None
            while second is not None and not host.service._queue.waiting:
                await asyncio.sleep(0)
            if second is not None:
                second.cancel()
                while host.service._queue.waiting:
                    await asyncio.sleep(0.001)
            first.cancel()
        await world.settle()
        assert all(answer.closed for answer in engine.answers)
        assert (host.service._queue.running, host.service._queue.waiting, host.service.open_exchanges) == (0, 0, 0)
        assert len(engine.asked) == 1


async def test_a12_a_half_closed_request_is_whole_and_is_answered() -> None:
    """The asker's own end of the stream is no leaving: only a reset is."""
    async with World.running() as world:
        gate = asyncio.Event()
        world.add(backend=ScriptedBackend(b"{}", gate=gate), times=HostTimes(ping=0.005))
        host = next(iter(world.hosts.values()))
        asker = await BareAsker.of(host)
        await asker.ask()
        assert PingEvent in {type(event) for event in await asker.events(until=PingEvent)}
        gate.set()
        await asker.events()
        assert asker.exchange.complete
        await asker.stream.reset()

"""A25: a hostile peer exhausts openings, replay tags, places or memory, and so keeps honest askers out."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kit.exchanges import BareAsker, ScriptedBackend, World, chat, read_all
from kit.sealed import HEAD
from sealmesh.errors import BusyError, TransportError
from sealmesh.host.openings import BodyBudget, OpeningRates
from sealmesh.sealed.exchange import PingEvent, RefusedEvent
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.refusal import Refusal

FLOODER = b"f" * 32


async def test_a25_a_flooding_peer_is_busy_while_another_chats() -> None:
    async with World.running() as world:
        host = world.add(rates=OpeningRates(per_second=1, burst=5))
        codes = []
        for number in range(20):
            asker = await BareAsker.of(host, FLOODER)
            with contextlib.suppress(TransportError):  # it may be refused before it has said anything
                await asker.send(bytes([1, 1]) + bytes(200))  # an opening that fails costs the host as well
            events = await asker.events()
            assert isinstance(events[0], RefusedEvent)
            codes.append(events[0].code)
            await asker.stream.reset()
            if number % 5 == 0:
                assert b"secret" in await read_all(await world.dialer.ask(chat()))
                world.now += 0.01
        assert codes[:5] == [Refusal.MALFORMED] * 5 or codes[:5] == [Refusal.UNKNOWN_KEY] * 5
        assert set(codes[5:]) == {Refusal.BUSY}


async def test_a25_a_flood_that_finds_no_room_is_charged_too() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(b"{}", parallel=1), rates=OpeningRates(per_second=1, burst=3))
        await host.service.drain(0.0)
        for _ in range(3):
            asker = await BareAsker.of(host, FLOODER)
            await asker.events()
            await asker.stream.reset()
        assert not host.service._rates.take(FLOODER, world.now)


async def test_a25_full_replay_tags_mean_busy_and_never_a_replay() -> None:
    async with World.running() as world:
        host = world.add("full")
        host.ring = KeyRing(tags_max=2)
        host.service._keyring = host.ring
        host.verified = host.new_epoch()
        engine = ScriptedBackend(b"{}")
        host.service._backend = engine
        recorded = []
        for _ in range(2):
            asker = await BareAsker.of(host, FLOODER)
            exchange = asker.exchange
            data = exchange.send_head(HEAD) + exchange.send_body(chat().body) + exchange.finish()
            recorded.append(data)
            await asker.send(data)
            await asker.events()
            await asker.stream.reset()
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        for data in recorded:  # nothing was evicted
            asker = await BareAsker.of(host, FLOODER)
            await asker.send(data)
            assert await asker.events() == [RefusedEvent(code=Refusal.REPLAYED)]
            await asker.stream.reset()
        assert len(engine.asked) == 2
        assert not world.directory.health(host.id).cooling(world.now)
        # The next epoch's key has tags of its own, and another host answers meanwhile.
        other = world.add("other")
        world.now += 1.0
        assert (await _answered_by(world)) == other.id.hex()
        host.verified = host.new_epoch()
        world.now += 1.0
        assert (await _answered_by(world)) == host.id.hex()


async def _answered_by(world: World) -> str:
    answer = await world.dialer.ask(chat())
    await read_all(answer)
    return answer.proof.host


async def test_a25_one_peer_cannot_take_every_place() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        host = world.add(backend=ScriptedBackend(b"{}", parallel=1, gate=gate))
        held, busy = [], 0
        for _ in range(12):
            asker = await BareAsker.of(host, FLOODER)
            with contextlib.suppress(TransportError):
                await asker.ask()
            events = await asker.events(until=PingEvent)
            if isinstance(events[0], RefusedEvent):
                busy += 1
                await asker.stream.reset()
            else:
                held.append(asker)
        assert busy
        asking = asyncio.create_task(world.dialer.ask(chat()))
        while host.service.open_exchanges == len(held):
            assert not asking.done()
            await asyncio.sleep(0)
        gate.set()
        await read_all(await asking)
        for asker in held:
            await asker.events()
            await asker.stream.reset()


async def test_a25_one_peer_cannot_hold_all_the_memory() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(b"{}"), bodies=BodyBudget(100_000))
        held = []
        for _ in range(3):
            asker = await BareAsker.of(host, FLOODER)
            await asker.send(asker.exchange.send_head(HEAD) + asker.exchange.send_body(b"x" * 40_000))
            await asker.events(until=PingEvent)
            held.append(asker)
        await read_all(await world.dialer.ask(chat("x" * 10_000)))
        for asker in held:
            await asker.stream.reset()

"""Which host an asker's requests go to, by what really happened: busy hosts, loads, conversations, contexts."""

from __future__ import annotations

import asyncio
import json

import pytest

from kit.exchanges import ASKER_ID, BareAsker, HostNode, ScriptedBackend, World, chat, read_all
from sealmesh.errors import BackendError, BusyError
from sealmesh.host.sender import HostTimes
from sealmesh.sealed.exchange import BodyEvent, HeadEvent, PingEvent
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.transport.base import Stream

CONTEXT_ERROR = json.dumps({"error": {"code": "context_length_exceeded", "message": "too long"}}).encode()
OTHER = bytes([9]) * 32


async def busy(host: HostNode, stream: Stream) -> None:
    await stream.write(encode_refusal(Refusal.BUSY))
    await stream.finish()


async def ask(world: World, **request) -> str:
    answer = await world.dialer.ask(chat(**request))
    await read_all(answer)
    return answer.proof.host


async def test_a_busy_host_comes_last_for_a_second() -> None:
    async with World.running() as world:
        near, far = world.add("near", handler=busy), world.add("far")
        for _ in range(3):
            assert await ask(world) == far.id.hex()
        assert world.opened.count(near.id) == 1
        near.handler = None
        world.now += 1.0
        assert await ask(world) == near.id.hex()


async def test_busy_is_said_before_whatever_else_went_wrong_because_waiting_helps() -> None:
    async with World.running() as world:
        world.add("busy", handler=busy)
        lost = world.add("lost")
        world.network.refuse(lost.id, ASKER_ID)
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())


async def test_a_context_error_waits_for_a_larger_host_that_was_busy() -> None:
    async with World.running() as world:
        world.add("large", handler=busy, context=8192)
        world.add("small", ScriptedBackend(CONTEXT_ERROR, status=400), context=4096)
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        # And where the busy one is no larger, it is the answer.
        world.add("busy", handler=busy, context=4096, models=["other"])
        small = ScriptedBackend(CONTEXT_ERROR, status=400, models=["other"])
        world.add("small too", small, context=4096, models=["other"])
        answer = await world.dialer.ask(chat(model="other"))
        assert answer.status == 400
        await read_all(answer)


async def test_a_long_request_goes_to_a_host_with_enough_context_first() -> None:
    async with World.running() as world:
        near = world.add("near", context=1000)
        far = world.add("far", context=8000)
        assert await ask(world) == near.id.hex()
        assert await ask(world, text="word " * 2000) == far.id.hex()
        assert world.opened == [near.id, far.id]


async def test_a_conversation_stays_with_its_host_and_others_do_not_follow() -> None:
    async with World.running() as world:
        near, far = world.add("near"), world.add("far")
        near.handler = busy
        assert await ask(world, session="s") == far.id.hex()
        near.handler = None
        world.now += 1.0
        assert await ask(world, session="s") == far.id.hex()
        assert await ask(world, session="t") == near.id.hex()
        assert await ask(world) == near.id.hex()


async def test_a_conversation_leaves_a_host_that_is_full_for_one_that_is_not() -> None:
    async with World.running() as world:
        near, far = world.add("near"), world.add("far")
        assert await ask(world, session="s") == near.id.hex()
        world.directory.note_load(near.id, slots=2, taken=2, now=world.now)
        assert await ask(world, session="s") == far.id.hex()
        world.directory.note_load(near.id, slots=2, taken=2, now=world.now)
        world.directory.note_load(far.id, slots=2, taken=5, now=world.now)
        assert await ask(world, session="s") == far.id.hex()  # to wait is as long there


async def test_an_answer_that_failed_holds_no_conversation() -> None:
    async with World.running() as world:
        world.add("near", ScriptedBackend(b"{}", status=500))
        answer = await world.dialer.ask(chat(session="s"))
        await read_all(answer)
        assert world.directory.host_of_session("echo", "s") is None


async def test_a_hosts_load_reaches_the_askers_order() -> None:
    """[EX-63] Others keep the near host busy; this asker hears of it with its first answer."""
    async with World.running() as world:
        gate = asyncio.Event()
        near = world.add("near", ScriptedBackend(b"{}", gate=gate, parallel=4))
        far = world.add("far", rtt=10.0)
        others = [await BareAsker.of(near, OTHER) for _ in range(3)]
        for other in others:
            await other.ask()
        while near.service.open_exchanges < 3:
            await asyncio.sleep(0)
        first = asyncio.create_task(ask(world))
        while world.directory.health(near.id).taken != 4:
            await asyncio.sleep(0)
        health = world.directory.health(near.id)
        assert (health.slots, health.load(world.now)) == (4, 1.0)
        assert await ask(world) == far.id.hex()
        gate.set()
        assert await first == near.id.hex()
        for other in others:
            await other.events()
            await other.stream.reset()
        world.now += 10.0  # what it said then counts no more
        assert await ask(world) == near.id.hex()


async def test_requests_wait_their_turn_while_their_askers_hear_pings() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        backend = ScriptedBackend(b"{}", gate=gate, parallel=1)
        host = world.add(backend=backend, times=HostTimes(ping=0.005))
        running, waiting = [await BareAsker.of(host, peer) for peer in (ASKER_ID, OTHER)]
        await running.ask()
        while not backend.asked:
            await asyncio.sleep(0)
        await waiting.ask()
        heard = await waiting.events(until=PingEvent)
        heard += await waiting.events(until=PingEvent)
        assert heard
        assert not any(isinstance(event, HeadEvent | BodyEvent) for event in heard)
        assert len(backend.asked) == 1
        gate.set()
        for asker in (running, waiting):
            await asker.events()
            await asker.stream.reset()
        assert len(backend.asked) == 2


async def test_no_request_waits_for_ever() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        host = world.add(backend=(backend := ScriptedBackend(b"{}", gate=gate, parallel=1)), queue_wait_s=0.01)
        running = await BareAsker.of(host, OTHER)
        await running.ask()
        while not backend.asked:
            await asyncio.sleep(0)
        with pytest.raises(BackendError) as refused:
            await world.dialer.ask(chat())
        assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, "busy", 1)
        assert world.directory.health(host.id).failures == 0
        gate.set()
        await running.events()
        await running.stream.reset()


async def test_an_asker_that_leaves_the_queue_gives_its_place_back() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        host = world.add(
            backend=(backend := ScriptedBackend(b"{}", gate=gate, parallel=1)), times=HostTimes(ping=0.005)
        )
        running = await BareAsker.of(host, OTHER)
        await running.ask()
        while not backend.asked:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(world.dialer.ask(chat()))
        while not host.service._queue.waiting:
            await asyncio.sleep(0)
        waiting.cancel()
        while host.service._queue.waiting:
            await asyncio.sleep(0.001)
        gate.set()
        await running.events()
        await running.stream.reset()
        await world.settle()
        assert len(backend.asked) == 1
        assert (host.service._queue.running, host.service.open_exchanges) == (0, 0)


async def test_an_engine_that_has_not_learnt_something_is_not_broken() -> None:
    async with World.running() as world:
        near = world.add("near", ScriptedBackend(b"{}", status=501))
        far = world.add("far")
        assert await ask(world) == far.id.hex()
        assert world.directory.health(near.id).failures == 0

"""One inbound exchange: what a host answers, whom it refuses, and that it gives everything back."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from kit.exchanges import LONG_S, SECRET, BareAsker, ScriptedBackend, World, chat, read_all
from kit.sealed import HEAD
from sealmesh.backend.base import Usage
from sealmesh.client.dial import Timeouts
from sealmesh.errors import BackendError, BusyError, RemoteProtocolError, StreamResetError
from sealmesh.host.openings import BodyBudget, OpeningRates
from sealmesh.host.sender import HostTimes
from sealmesh.host.serve import sealed_error, trailer_of
from sealmesh.limits import ERROR_MESSAGE_MAX, TOKENS_MAX
from sealmesh.sealed.exchange import (
    HeadEvent,
    PingEvent,
    RefusedEvent,
    RequestHead,
    SealedError,
)
from sealmesh.sealed.refusal import Refusal
from sealmesh.wire.operations import Operation


async def test_counts_are_kept_and_given_back() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(b"some", b"thing"))
        assert await read_all(await world.dialer.ask(chat())) == b"something"
        await world.settle()
        assert (host.counters.open, host.counters.done) == (0, 1)
        assert (host.counters.prompt_tokens, host.counters.completion_tokens) == (3, 5)


async def test_the_engine_gets_what_was_parsed_and_nothing_before_the_end() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        await asker.send(asker.exchange.send_head(HEAD) + asker.exchange.send_body(b'{"model":"echo","x":1,'))
        await asker.events(until=PingEvent)
        await asker.send(asker.exchange.send_body(b'"x":2,"stream":true}'))
        await asyncio.sleep(0.01)
        assert backend.asked == []
        await asker.send(asker.exchange.finish())
        await asker.events(until=HeadEvent)
        assert json.loads(backend.asked[0].body) == {"model": "echo", "x": 2, "stream": True}
        assert backend.asked[0].stream
        await asker.stream.reset()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"model":"other"}', 404, "model_not_found"),
        (b'{"model":"echo","stream":1}', 400, "invalid_request"),
        (b'{"model":"echo","x":' + b"[" * 200 + b"]" * 200 + b"}", 400, "invalid_json"),
    ],
)
async def test_requests_that_it_cannot_take_get_a_sealed_error(body: bytes, status: int, code: str) -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        await asker.ask(body)
        error = await asker.error()
        assert (error.status, error.code) == (status, code)
        assert backend.asked == []
        assert host.counters.refused == {code: 1}


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (BackendError(502, "engine_lost", "gone"), 502, "engine_lost"),
        (BackendError(503, "backend_busy", "full", retry_after_s=3), 503, "backend_busy"),
        (BackendError(200, "Not A Code", "x"), 502, "backend_error"),
        (BackendError(500, "engine_error", "m" * 5000), 500, "engine_error"),
        (ValueError(SECRET), 500, "internal_error"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_an_engine_that_fails_ends_in_a_sealed_error(
    failure: Exception, status: int, code: str, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(*([b"some"] if late else []), failure))
        asker = await BareAsker.of(host)
        await asker.ask()
        error = await asker.error()
        assert (error.status, error.code) == (status, code)
        assert SECRET not in repr(error)
        assert SECRET not in caplog.text
        await world.settle()
        assert host.counters.done == 0


@pytest.mark.parametrize("status", [100, 700])
async def test_an_answer_that_may_not_travel_becomes_a_sealed_error(status: int) -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(b"{}", status=status))
        asker = await BareAsker.of(host)
        await asker.ask()
        assert (await asker.error()).status == 500


async def test_wrong_counts_do_not_spoil_an_answer() -> None:
    wild = Usage(prompt_tokens=-1, completion_tokens=1 << 60, cached_tokens=2)
    async with World.running() as world:
        world.add(backend=ScriptedBackend(b"{}", usage=wild))
        assert await read_all(await world.dialer.ask(chat())) == b"{}"
        assert world.counters.completion_tokens == TOKENS_MAX
    trailer = trailer_of(wild)
    assert (trailer.prompt_tokens, trailer.completion_tokens, trailer.cached_tokens) == (0, TOKENS_MAX, 2)


def test_words_of_an_error_are_cut_between_characters() -> None:
    said = sealed_error(BackendError(500, "engine_error", "ü" * ERROR_MESSAGE_MAX))
    assert said.message == "ü" * (ERROR_MESSAGE_MAX // 2)
    assert sealed_error(BackendError(500, "engine_error", "\ud800")).message == "?"


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: b"\x02" + data[1:], Refusal.UNSUPPORTED),
        (lambda data: data[:2] + bytes(8) + data[10:], Refusal.UNKNOWN_KEY),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], Refusal.MALFORMED),
    ],
)
async def test_what_does_not_open_is_refused(change, code: Refusal) -> None:
    async with World.running() as world:
        host = world.add()
        asker = await BareAsker.of(host)
        await asker.send(change(asker.exchange.send_head(HEAD)))
        assert await asker.events() == [RefusedEvent(code=code)]
        await asker.stream.reset()
        assert host.counters.refused == {code.name.lower(): 1}


async def test_a_request_that_is_replayed_is_refused() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        exchange = asker.exchange
        data = exchange.send_head(HEAD) + exchange.send_body(chat().body) + exchange.finish()
        await asker.send(data)
        await asker.events(until=HeadEvent)
        again = await BareAsker.of(host)
        await again.send(data)
        assert await again.events() == [RefusedEvent(code=Refusal.REPLAYED)]
        assert len(backend.asked) == 1
        for one in (asker, again):
            await one.stream.reset()


async def test_an_operation_that_does_not_exist_gets_a_sealed_error() -> None:
    async with World.running() as world:
        host = world.add()
        asker = await BareAsker.of(host)
        head = asker.exchange._send  # what no honest asker makes: a head of another table
        from sealmesh.sealed._codec import sealed_pb2
        from sealmesh.sealed.frames import Kind

        content = sealed_pb2.RequestHead(method="POST", path="/v1/files").SerializeToString()
        await asker.send(head(Kind.HEAD, content))
        assert (await asker.error()).code == "unknown_operation"
        assert host.counters.refused == {"unknown_operation": 1}


async def test_a_broken_frame_after_the_head_resets_the_stream() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        await asker.send(asker.exchange.send_head(HEAD))
        await asker.events(until=PingEvent)
        await asker.send(b"\x00\x00\x00\x20" + bytes(32))
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()
        assert backend.asked == []
        assert host.counters.refused == {"protocol_violation": 1}


@pytest.mark.parametrize("opened", [False, True])
async def test_a_request_that_ends_too_early_is_never_answered(opened: bool) -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        if opened:
            await asker.send(asker.exchange.send_head(HEAD) + asker.exchange.send_body(chat().body))
        await asker.stream.finish()
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()
        assert backend.asked == []


async def test_an_asker_that_gives_up_stops_everything() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(host)
        await asker.send(asker.exchange.send_head(HEAD))
        await asker.events(until=PingEvent)
        await asker.send(asker.exchange.send_error(SealedError(status=499, code="app_left", message="left")))
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()
        assert backend.asked == []


# --- room ------------------------------------------------------------------------------------------------


async def test_a_draining_host_is_busy_and_ends_what_runs() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        host = world.add(backend=ScriptedBackend(b"{}", gate=gate))
        running = asyncio.create_task(world.dialer.ask(chat()))
        while not host.service.open_exchanges:
            await asyncio.sleep(0)
        draining = asyncio.create_task(host.service.drain(LONG_S))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        assert not draining.done()
        gate.set()
        assert await read_all(await running) == b"{}"
        await draining


async def test_draining_waits_no_longer_than_its_grace() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(gate=asyncio.Event()), times=HostTimes(ping=0.01))
        running = asyncio.create_task(world.dialer.ask(chat()))
        while not host.service.open_exchanges:
            await asyncio.sleep(0)
        await host.service.drain(0.02)
        assert host.service.open_exchanges == 1
        running.cancel()


async def test_the_queue_is_as_long_as_the_slots_allow() -> None:
    async with World.running() as world:
        gate = asyncio.Event()
        host = world.add(backend=ScriptedBackend(b"{}", gate=gate, parallel=1))
        peers = [bytes([number]) * 32 for number in range(9)]
        askers = [await BareAsker.of(host, peer) for peer in peers]
        for asker in askers:
            await asker.ask()
        while host.service.open_exchanges < 9:
            await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        gate.set()
        for asker in askers:
            await asker.events()
            await asker.stream.reset()
        await world.settle()
        await read_all(await world.dialer.ask(chat()))


async def test_bodies_are_held_within_a_budget_and_given_back() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")), bodies=BodyBudget(20_000))
        await read_all(await world.dialer.ask(chat("x" * 10_000)))
        with pytest.raises(BackendError, match="busy"):
            await world.dialer.ask(chat("x" * 30_000))
        await world.settle()
        await read_all(await world.dialer.ask(chat("x" * 10_000)))
        assert len(backend.asked) == 2
        assert host.counters.refused == {"busy": 1}


async def test_a_peer_that_opens_too_much_is_busy() -> None:
    async with World.running() as world:
        world.add(rates=OpeningRates(per_second=1, burst=2))
        for _ in range(2):
            await read_all(await world.dialer.ask(chat()))
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        world.now += 1
        await read_all(await world.dialer.ask(chat()))


# --- liveness --------------------------------------------------------------------------------------------


async def test_pings_keep_an_asker_waiting_through_a_long_prefill_and_a_long_upload() -> None:
    times = HostTimes(ping=0.01)
    async with World.running(timeouts=Timeouts(silence=0.1)) as world:
        gate = asyncio.Event()
        host = world.add(backend=ScriptedBackend(b"{}", gate=gate), times=times)
        asking = asyncio.create_task(world.dialer.ask(chat()))
        await asyncio.sleep(0.25)
        assert not asking.done()
        gate.set()
        assert await read_all(await asking) == b"{}"
        assert len(host.streams[0].writes) > 10


async def test_the_gap_between_two_frames_is_never_longer_than_the_ping_s() -> None:
    times = HostTimes(ping=0.2)
    async with World.running() as world:
        go = asyncio.Event()
        host = world.add(backend=ScriptedBackend(b"some", go, b"more"), times=times)
        asker = await BareAsker.of(host)
        loop = asyncio.get_running_loop()
        await asker.ask()
        await asker.events(until=HeadEvent)
        heard = [loop.time()]
        while len(heard) < 4:
            assert asker.exchange.receive_untrusted(await asker.stream.read(65536))
            heard.append(loop.time())
        gaps = [later - earlier for earlier, later in itertools.pairwise(heard)]
        assert max(gaps) < 0.36, gaps  # two periods would be 0.4
        go.set()
        await asker.events()
        await asker.stream.reset()


async def test_an_asker_that_leaves_stops_a_long_prefill() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(gate=asyncio.Event()), times=HostTimes(ping=0.01))
        asking = asyncio.create_task(world.dialer.ask(chat()))
        while not host.service.open_exchanges:
            await asyncio.sleep(0)
        asking.cancel()
        await world.settle()
        assert host.counters.done == 0


async def test_an_exchange_that_is_cancelled_resets_its_stream() -> None:
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(gate=asyncio.Event()))
        asker = await BareAsker.of(host)
        await asker.ask()
        await asker.events(until=PingEvent)
        (inbound,) = [task for task in asyncio.all_tasks() if task.get_name() == "inbound"]
        inbound.cancel()
        with pytest.raises(StreamResetError):
            await asker.events()
        await asker.stream.reset()


async def test_large_bodies_are_parsed_beside_the_loop() -> None:
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")))
        text = '"[' * 200_000
        await read_all(await world.dialer.ask(chat(text)))
        assert json.loads(backend.asked[0].body)["messages"][0]["content"] == text


async def test_every_operation_reaches_the_engine_as_itself() -> None:
    async with World.running() as world:
        host = world.add(backend=(backend := ScriptedBackend(b"{}")))
        for operation in Operation:
            asker = await BareAsker.of(host)
            await asker.ask(head=RequestHead(operation=operation))
            await asker.events()
            await asker.stream.reset()
        assert [request.operation for request in backend.asked] == list(Operation)


async def test_a_refusal_where_nobody_reads_does_not_hold_the_host() -> None:
    async with World.running() as world:
        host = world.add(rates=OpeningRates(burst=0))
        asker = await BareAsker.of(host)
        await asker.stream.reset()
        await world.settle()
        with pytest.raises((RemoteProtocolError, StreamResetError)):
            await asker.events()

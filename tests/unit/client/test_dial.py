"""One request's life: which host gets it, what is tried again, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from kit.exchanges import ASKER_ID, LONG_S, SECRET, HostNode, ScriptedBackend, World, chat, read_all, silent
from kit.sealed import ANSWER_HEAD, TRAILER
from sealmesh.client.answer import ONE_WRITE
from sealmesh.client.dial import Timeouts
from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    HostTooSlowError,
    LocalProtocolError,
    RemoteProtocolError,
    RoutingError,
    RoutingFault,
    TransportError,
)
from sealmesh.routing.directory import HostOffer
from sealmesh.sealed.exchange import SealedError
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Stream

CONTEXT_ERROR = json.dumps({"error": {"code": "context_length_exceeded", "message": "too long"}}).encode()


def refusing(code: Refusal):
    async def handler(host: HostNode, stream: Stream) -> None:
        await stream.write(encode_refusal(code))
        await stream.finish()

    return handler


def saying(status: int, code: str):
    async def handler(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        await stream.write(exchange.send_error(SealedError(status=status, code=code, message="no")))
        await stream.finish()

    return handler


# --- the good way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("suite", list(Suite))
async def test_an_answer_comes_whole_with_its_proof_and_counts(stream: bool, suite: Suite) -> None:
    async with World.running() as world:
        host = world.add(suites=(suite,))
        answer = await world.dialer.ask(chat(stream=stream))
        assert answer.status == 200
        assert answer.proof.host == host.id.hex()
        assert answer.proof.sealed == suite.label
        assert answer.proof.tier == "self-asserted"
        assert "secret" in (await read_all(answer)).decode()
        status = world.counters.status()
        assert (status.open, status.done, status.failed_by_reason) == (0, 1, {})
        assert world.counters.completion_tokens == host.counters.completion_tokens > 0
        (route,) = status.routes
        assert (route.model, route.host, route.sealed, route.requests) == ("echo", host.id.hex(), suite.label, 1)
        assert (route.prompt_tokens, route.completion_tokens) == (
            host.counters.prompt_tokens,
            host.counters.completion_tokens,
        )
        assert [one.count for one in status.first_token] == [1] * stream
        assert await answer.read() == b""
        await answer.close()


@pytest.mark.parametrize("size", [ONE_WRITE - 200, ONE_WRITE + 1, 700_000])
async def test_bodies_of_every_size_arrive_whole(size: int) -> None:
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")))
        await read_all(await world.dialer.ask(chat("x" * size)))
        assert json.loads(backend.asked[0].body)["messages"][0]["content"] == "x" * size


async def test_a_conversation_has_one_cache_key_at_a_host_and_others_elsewhere() -> None:
    async with World.running() as world:
        backends = [ScriptedBackend(b"{}"), ScriptedBackend(b"{}")]
        hosts = [world.add("one", backends[0]), world.add("two", backends[1])]
        for session in ("a", "a", "b", ""):
            await read_all(await world.dialer.ask(chat(session=session)))
        world.directory.remove(hosts[0].id)
        await read_all(await world.dialer.ask(chat(session="a")))
        keys = [request.cache_key for request in backends[0].asked]
        assert keys[0] == keys[1] != keys[2]
        assert keys[3] == b""
        assert len(keys[0]) == 32
        assert backends[1].asked[0].cache_key not in keys


async def test_a_body_that_no_host_takes_is_not_begun() -> None:
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")))
        request = dataclasses.replace(chat(), body=b"x" * (64 * 1024 * 1024 + 1))
        with pytest.raises(LocalProtocolError):
            await world.dialer.ask(request)
        assert backend.asked == []
        assert world.counters.status().failed_by_reason == {"internal": 1}


# --- who is asked next -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "handler",
    [
        refusing(Refusal.BUSY),
        refusing(Refusal.UNKNOWN_KEY),
        refusing(Refusal.MALFORMED),
        refusing(Refusal.REPLAYED),
        refusing(Refusal.UNSUPPORTED),
        saying(500, "engine_broken"),
        saying(503, "busy"),
        saying(429, "backend_refused"),
        saying(404, "model_not_found"),
        saying(400, "context_length_exceeded"),
        silent,
    ],
    ids=["busy", "unknown", "malformed", "replayed", "unsupported", "500", "503", "429", "404", "context", "silent"],
)
async def test_the_next_host_answers_what_the_first_does_not(handler) -> None:
    async with World.running(timeouts=Timeouts(silence=0.05)) as world:
        world.add("first", handler=handler, context=100)
        second = world.add("second")
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == second.id.hex()
        assert SECRET in (await read_all(answer)).decode()
        status = world.counters.status()
        assert (status.open, status.done, status.failed_by_reason) == (0, 1, {})


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_an_engine_that_is_down_is_passed_over_without_a_trace_in_the_counts(status: int) -> None:
    async with World.running() as world:
        first = world.add("first", ScriptedBackend(b'{"error":{}}', status=status))
        world.add("second")
        for _ in range(2):
            answer = await world.dialer.ask(chat())
            assert answer.status == 200
            await read_all(answer)
            world.now += 1.0
        counted = world.counters.status()
        assert (counted.open, counted.done, counted.failed_by_reason) == (0, 2, {})
        # One that only is busy is asked again in a second; one that failed comes last for longer.
        assert len(first.backend.asked) == (1 if status in (500, 502) else 2)


async def test_the_last_host_s_own_error_answer_is_the_answer() -> None:
    async with World.running() as world:
        world.add("only", ScriptedBackend(b'{"error":{"message":"down"}}', status=502))
        answer = await world.dialer.ask(chat())
        assert answer.status == 502
        assert await read_all(answer) == b'{"error":{"message":"down"}}'
        assert world.counters.status().done == 1


@pytest.mark.parametrize("piecemeal", [False, True])
async def test_too_small_a_context_is_passed_over_for_a_larger_one_only(piecemeal: bool) -> None:
    steps = [CONTEXT_ERROR[:9], CONTEXT_ERROR[9:]] if piecemeal else [CONTEXT_ERROR]
    async with World.running() as world:
        world.add("small", ScriptedBackend(*steps, status=400), context=100)
        equal = world.add("equal", ScriptedBackend(b"{}"), context=100)
        large = world.add("large", ScriptedBackend(b"{}"), context=200)
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == large.id.hex()
        assert equal.backend.asked == []
        await read_all(answer)


async def test_a_context_error_with_no_larger_host_is_the_answer() -> None:
    async with World.running() as world:
        world.add("one", ScriptedBackend(CONTEXT_ERROR, status=400), context=200)
        world.add("two", other := ScriptedBackend(b"{}"), context=200)
        answer = await world.dialer.ask(chat())
        assert (answer.status, await read_all(answer)) == (400, CONTEXT_ERROR)
        assert other.asked == []


async def test_other_bad_requests_are_answered_by_the_first_host_as_they_were() -> None:
    said = b'{"error":{"code":"unsupported_parameter"}}'
    async with World.running() as world:
        world.add("one", ScriptedBackend(said, status=400), context=100)
        world.add("two", other := ScriptedBackend(b"{}"), context=200)
        answer = await world.dialer.ask(chat())
        assert (answer.status, await read_all(answer)) == (400, said)
        assert other.asked == []


async def test_a_sealed_error_about_the_request_itself_is_final() -> None:
    async with World.running() as world:
        world.add("one", handler=saying(400, "invalid_request"))
        world.add("two", other := ScriptedBackend(b"{}"))
        with pytest.raises(BackendError, match="invalid_request"):
            await world.dialer.ask(chat())
        assert other.asked == []
        assert world.counters.status().failed_by_reason == {"invalid_request": 1}


async def test_all_busy_is_busy() -> None:
    async with World.running() as world:
        hosts = [world.add(name, handler=refusing(Refusal.BUSY)) for name in ("one", "two")]
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        assert world.opened == [host.id for host in hosts]
        assert not any(world.directory.health(host.id).cooling(world.now) for host in hosts)
        assert world.counters.status().failed_by_reason == {"busy": 1}


async def test_a_busy_host_that_resets_before_it_has_read_is_busy_and_not_lost() -> None:
    """The refusal overtakes the request: writing fails, and only reading says why."""

    async def handler(host: HostNode, stream: Stream) -> None:
        await refusing(Refusal.BUSY)(host, stream)

    async with World.running(window=1000) as world:
        world.add(handler=handler)
        for text in ("x" * 20_000, "x" * 200_000):
            with pytest.raises(BusyError):
                await world.dialer.ask(chat(text))


async def test_a_host_that_fails_cools_and_comes_last() -> None:
    async with World.running(timeouts=Timeouts(silence=0.05)) as world:
        first = world.add("first", handler=silent)
        second = world.add("second")
        for _ in range(2):
            await read_all(await world.dialer.ask(chat()))
        assert world.opened == [first.id, second.id, second.id]


async def test_an_unreachable_host_is_passed_over() -> None:
    async with World.running() as world:
        first = world.add("first")
        world.add("second")
        world.network.refuse(first.id, ASKER_ID)
        await read_all(await world.dialer.ask(chat()))
        assert world.directory.health(first.id).failures == 1


# --- keys ------------------------------------------------------------------------------------------------


async def test_a_host_that_lost_its_keys_is_asked_once_more_with_fresh_ones() -> None:
    async with World.running() as world:
        host = world.add()
        host.verified = host.new_epoch(held=False)
        host.refreshed = host.new_epoch()
        answer = await world.dialer.ask(chat())
        assert SECRET in (await read_all(answer)).decode()
        assert world.keys.asked == [host.id]
        assert host.counters.refused == {"unknown_key": 1}


@pytest.mark.parametrize("fresh", ["none", "same", "wrong"])
async def test_keys_that_are_no_better_end_it_after_one_refresh(fresh: str) -> None:
    async with World.running() as world:
        host = world.add("first")
        host.verified = host.new_epoch(held=False)
        match fresh:
            case "same":
                host.refreshed = host.verified
            case "wrong":
                host.refreshed = host.new_epoch(held=False)
        second = world.add("second")
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == second.id.hex()
        await read_all(answer)
        assert world.keys.asked == [host.id]
        assert host.counters.refused == {"unknown_key": 2 if fresh == "wrong" else 1}
        assert world.directory.health(host.id).cooling(world.now)


async def test_a_second_try_is_another_encapsulation() -> None:
    seen: list[bytes] = []

    async def handler(host: HostNode, stream: Stream) -> None:
        seen.append(await stream.read(65536))
        await refusing(Refusal.MALFORMED)(host, stream)

    async with World.running() as world:
        host = world.add(handler=handler)
        host.refreshed = host.new_epoch()
        with pytest.raises(HostLostError):
            await world.dialer.ask(chat())
        assert len(seen) == 2
        assert seen[0][12:116] != seen[1][12:116]
        assert not any(SECRET.encode() in data for data in seen)


async def test_busy_on_the_second_try_is_busy() -> None:
    async with World.running() as world:
        codes = iter((Refusal.UNKNOWN_KEY, Refusal.BUSY))

        async def handler(host: HostNode, stream: Stream) -> None:
            await refusing(next(codes))(host, stream)

        host = world.add(handler=handler)
        host.refreshed = host.new_epoch()
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())


async def test_a_verdict_that_ends_while_connecting_is_no_fault_of_the_host() -> None:
    async with World.running() as world:
        host = world.add("first")
        second = world.add("second")
        opening = world.open_stream

        async def slow(endpoint_id: bytes) -> Stream:
            stream = await opening(endpoint_id)
            if endpoint_id == host.id and not world.keys.lost:
                world.keys.lost.add(host.id)
                world.now += 301
                second.verified = second.new_epoch()
            return stream

        world.dialer._open_stream = slow
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == second.id.hex()
        await read_all(answer)
        assert world.directory.health(host.id).failures == 0


async def test_an_epoch_that_ends_while_connecting_gives_way_to_the_next() -> None:
    async with World.running() as world:
        host = world.add()
        opening = world.open_stream

        async def slow(endpoint_id: bytes) -> Stream:
            stream = await opening(endpoint_id)
            world.now += 301
            host.verified = host.new_epoch()
            return stream

        world.dialer._open_stream = slow
        await read_all(await world.dialer.ask(chat()))


async def test_when_every_verdict_has_ended_the_refusal_says_so() -> None:
    async with World.running() as world:
        host = world.add()
        world.refusals[host.id] = ("it answered wrongly",)
        looks = iter([host.verified])  # there at the first look only
        world.keys.lost.add(host.id)
        world.directory._verified = lambda endpoint_id, now: next(looks, None)
        with pytest.raises(RoutingError) as refused:
            await world.dialer.ask(chat())
        assert refused.value.fault is RoutingFault.NO_ATTESTED_HOST
        assert world.opened == []


async def test_nobody_to_ask_is_counted_too() -> None:
    async with World.running() as world:
        with pytest.raises(RoutingError) as refused:
            await world.dialer.ask(chat())
        assert refused.value.fault is RoutingFault.NO_HOST
        world.directory.put(HostOffer(endpoint_id=bytes(32), models={"other": 1}, plain=True))
        with pytest.raises(RoutingError):
            await world.dialer.ask(chat())
        assert world.counters.status().failed_by_reason == {"no_host": 1, "model_not_found": 1}


# --- after the head --------------------------------------------------------------------------------------


async def test_after_its_head_an_answer_is_never_another_s() -> None:
    async with World.running() as world:
        world.add("first", ScriptedBackend(b"some", BackendError(502, "engine_cut", "cut")))
        world.add("second", other := ScriptedBackend(b"{}"))
        answer = await world.dialer.ask(chat())
        got = b""
        with pytest.raises(BackendError, match="engine_cut"):  # noqa: PT012 - what came before it is kept
            while True:
                got += await answer.read()
        assert got in (b"", b"some")
        with pytest.raises(BackendError, match="engine_cut"):
            await answer.read()
        await answer.close()
        assert other.asked == []
        assert world.counters.status().failed_by_reason == {"engine_cut": 1}


async def test_head_and_failure_in_one_read_may_still_go_to_the_next_host() -> None:
    async def handler(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        failure = SealedError(status=502, code="engine_cut", message="cut")
        await stream.write(exchange.send_head(ANSWER_HEAD) + exchange.send_body(b"some") + exchange.send_error(failure))
        await stream.finish()

    async with World.running() as world:
        world.add("first", handler=handler)
        second = world.add("second")
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == second.id.hex()
        assert (await read_all(answer))[:4] != b"some"
        assert world.counters.status().done == 1


@pytest.mark.parametrize("what", ["trailing", "garbage", "second head"])
async def test_what_breaks_the_order_is_a_violation_and_releases_nothing(what: str) -> None:
    async def handler(host: HostNode, stream: Stream) -> None:
        exchange = host.exchange()
        await host.receive(stream, exchange)
        await stream.write(exchange.send_head(ANSWER_HEAD))
        await asyncio.sleep(0.01)
        match what:
            case "trailing":
                await stream.write(exchange.send_body(b"text") + exchange.finish(TRAILER) + b"more")
            case "garbage":
                await stream.write(b"\x00\x00\x00\x20" + bytes(32))
            case "second head":
                await stream.write(b"\xe0\x01\x00\x03")
        await stream.finish()

    async with World.running() as world:
        host = world.add(handler=handler)
        answer = await world.dialer.ask(chat())
        with pytest.raises((RemoteProtocolError, HostLostError)):
            await answer.read()
        await answer.close()
        assert world.directory.health(host.id).failures == 1
        assert world.counters.status().done == 0


async def test_leaving_early_is_counted_once_and_stops_the_host() -> None:
    async with World.running() as world:
        never = asyncio.Event()
        world.add(backend=(backend := ScriptedBackend(b"some", never)))
        answer = await world.dialer.ask(chat())
        assert await answer.read() == b"some"
        await answer.close()
        await answer.close()
        assert world.counters.status().failed_by_reason == {"app_left": 1}
        async with asyncio.timeout(LONG_S):
            while not backend.answers[0].closed:
                await asyncio.sleep(0.01)
        with pytest.raises(LocalProtocolError):
            await answer.read()


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    async with World.running() as world:
        go = asyncio.Event()
        world.add(backend=ScriptedBackend(go, b"late"))
        answer = await world.dialer.ask(chat())
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go.set()
        assert await read_all(answer) == b"late"
        assert world.counters.status().done == 1


@pytest.mark.parametrize("size", [10, 300_000])
async def test_an_app_that_leaves_before_the_head_leaves_nothing_behind(size: int) -> None:
    async with World.running(window=10_000) as world:
        world.add(handler=silent)
        asking = asyncio.create_task(world.dialer.ask(chat("x" * size)))
        while not world.opened or not world.hosts[world.opened[0]].streams:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert world.counters.status().failed_by_reason == {"app_left": 1}


async def test_closing_can_be_cancelled_and_still_resets() -> None:
    async with World.running(window=1000) as world:
        world.add(handler=silent)
        asking = asyncio.create_task(world.dialer.ask(chat("x" * 300_000)))
        while not world.opened or not world.hosts[world.opened[0]].streams:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


# --- clocks ----------------------------------------------------------------------------------------------


async def test_a_host_that_only_pings_is_too_slow() -> None:
    async with World.running(timeouts=Timeouts(silence=0.5, head=0.05)) as world:
        world.add(backend=ScriptedBackend(gate=asyncio.Event()))
        with pytest.raises(HostTooSlowError):
            await world.dialer.ask(chat())
        assert world.counters.status().failed_by_reason == {"host_too_slow": 1}


async def test_a_body_that_does_not_come_is_too_slow() -> None:
    async with World.running(timeouts=Timeouts(silence=0.5, body=0.05)) as world:
        world.add(backend=ScriptedBackend(asyncio.Event()))
        answer = await world.dialer.ask(chat())
        with pytest.raises(HostTooSlowError):
            await read_all(answer)


async def test_an_app_that_does_not_read_costs_the_host_nothing() -> None:
    async with World.running(timeouts=Timeouts(silence=0.04)) as world:
        world.add(backend=ScriptedBackend(b"early", b"late"))
        answer = await world.dialer.ask(chat())
        await asyncio.sleep(0.1)
        assert await read_all(answer) == b"earlylate"


# --- what is listed --------------------------------------------------------------------------------------


async def test_models_are_listed_with_who_may_serve_them() -> None:
    async with World.running() as world:
        world.add("one", context=100)
        two = world.add("two", context=300)
        three = world.add("three", models=("far",))
        world.keys.lost |= {two.id, three.id}
        world.refusals[two.id] = ("too weak", "too old")
        echo, far = world.dialer.models()
        assert (echo.name, echo.context_length, echo.hosts, echo.usable, echo.best_tier) == (
            "echo",
            100,
            2,
            True,
            "self-asserted",
        )
        assert echo.refused == {two.id.hex(): "too weak; too old"}
        assert (far.usable, far.best_tier, far.context_length) == (False, "none", 0)
        assert far.refused == {three.id.hex(): "not verified yet"}


async def test_errors_are_ours_whatever_the_way_fails_with() -> None:
    async with World.running() as world:
        host = world.add()

        async def failing(endpoint_id: bytes) -> Stream:
            raise TransportError("no way")

        world.dialer._open_stream = failing
        with pytest.raises(TransportError, match="no way"):
            await world.dialer.ask(chat())
        assert world.directory.health(host.id).failures == 1

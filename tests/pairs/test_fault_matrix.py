"""Every fault of the transport at every point of an exchange: one outcome, the right error, nothing left behind.

`World.running` holds each case to the last: no task, no open stream, no count, no byte of a body stays.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from kit.exchanges import LONG_S, HostNode, ScriptedBackend, World, chat
from sealmesh.client.answer import ONE_WRITE
from sealmesh.client.asker import AppRequest
from sealmesh.client.dial import Timeouts
from sealmesh.errors import ConnectionLostError, HostLostError, TransportError
from sealmesh.host.sender import HostTimes
from sealmesh.transport.memory import FaultKind

TIMEOUTS = Timeouts(silence=0.06)
TIMES = HostTimes(first_frame=0.05, silence=0.05, ping=0.02)
EVENTS = [b'data: {"n":%d}\n\n' % number + b" " * 200 for number in range(4)]
PLAIN = json.dumps({"choices": ["x" * 900]}).encode()

#: Which bytes of the answer still pass: which write of the host is cut, and how far into it.
POINTS = {
    "before the first byte": (0, 0),
    "within the stream header": (0, 9),
    "before head": (0, 26),  # version and stream header go out with the first frame, here HEAD itself
    "within head": (0, 40),
    "between head and body": (1, 0),
    "mid-stream": (2, 40),
    "before FINAL": (-1, 0),
    "within FINAL": (-1, 17),
}
BEFORE_HEAD = {"before the first byte", "within the stream header", "before head", "within head"}
ERRORS: dict[FaultKind, type[TransportError]] = {
    FaultKind.END: HostLostError,
    FaultKind.RESET: HostLostError,
    FaultKind.DROP: ConnectionLostError,
    FaultKind.STALL: HostLostError,
}


def backend(stream: bool) -> ScriptedBackend:
    if stream:
        return ScriptedBackend(*EVENTS, headers=(("content-type", "text/event-stream"),))
    return ScriptedBackend(PLAIN[:500], PLAIN[500:])


def whole(stream: bool) -> bytes:
    return b"".join(EVENTS) if stream else PLAIN


async def ask(world: World, request: AppRequest) -> tuple[bool, bytes, list[Exception]]:
    """Ask; return whether there was a head, what was released, and every error, each counted once."""
    data, errors = b"", []
    async with asyncio.timeout(LONG_S):
        try:
            answer = await world.dialer.ask(request)
        except Exception as error:
            return False, b"", [error]
        async with answer:
            try:
                while piece := await answer.read():
                    data += piece
            except Exception as error:
                errors.append(error)
                with pytest.raises(type(error)):  # the same again, never an end after an error
                    await answer.read()
            else:
                assert await answer.read() == b""
    return True, data, errors


async def writes_of_a_whole_answer(stream: bool) -> list[int]:
    """How many bytes each write of an undisturbed host has."""
    async with World.running() as world:
        host = world.add(backend=backend(stream))
        assert (await ask(world, chat(stream=stream)))[1:] == (whole(stream), [])
        return host.streams[0].writes


async def cut_at(point: str, stream: bool) -> int:
    writes = await writes_of_a_whole_answer(stream)
    write, into = POINTS[point]
    return sum(writes[: write % len(writes)]) + into


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", FaultKind)
async def test_an_answer_that_breaks(kind: FaultKind, point: str, stream: bool) -> None:
    after = await cut_at(point, stream)
    async with World.running(timeouts=TIMEOUTS) as world:
        host = world.add(backend=backend(stream), times=HostTimes(silence=0.05))
        world.break_answer(host, kind, after)
        head, data, errors = await ask(world, chat(stream=stream))
        assert [type(error) for error in errors] == [ERRORS[kind]]
        assert whole(stream).startswith(data)
        # A fault may overtake what came just before it, but never shows a head that had not come.
        assert not (head and point in BEFORE_HEAD)
        status = world.counters.status()
        assert (status.open, status.done, sum(status.failed_by_reason.values())) == (0, 0, 1)
        assert world.directory.health(host.id).failures == 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", FaultKind)
async def test_an_answer_that_breaks_with_another_host_at_hand(kind: FaultKind, point: str, stream: bool) -> None:
    after = await cut_at(point, stream)
    async with World.running(timeouts=TIMEOUTS) as world:
        first = world.add("first", backend(stream), times=HostTimes(silence=0.05))
        second = world.add("second", backend(stream))
        world.break_answer(first, kind, after)
        head, data, errors = await ask(world, chat(stream=stream))
        status = world.counters.status()
        assert status.open == 0
        assert isinstance(second.backend, ScriptedBackend)
        if second.backend.asked:  # no head had been handed over: the other's whole answer, and no trace of the first
            assert (head, data, errors) == (True, whole(stream), [])
            assert (status.done, status.failed_by_reason) == (1, {})
        else:
            assert point not in BEFORE_HEAD
            assert [type(error) for error in errors] == [ERRORS[kind]]
            assert (status.done, sum(status.failed_by_reason.values())) == (0, 1)


REQUEST_POINTS = {
    "before the first byte": 1,
    "within the prefix": 9,
    "within the encapsulation": 60,
    "mid-body": 30_000,
}


@pytest.mark.parametrize("size", [40_000, ONE_WRITE + 40_000], ids=["one write", "own task"])
@pytest.mark.parametrize("point", REQUEST_POINTS)
@pytest.mark.parametrize("kind", FaultKind)
async def test_a_request_that_breaks_is_never_answered(kind: FaultKind, point: str, size: int) -> None:
    async with World.running(timeouts=Timeouts(silence=0.1)) as world:
        engine = backend(False)
        host = world.add(backend=engine, times=TIMES)
        world.break_request(host, kind, REQUEST_POINTS[point])
        head, data, errors = await ask(world, chat("x" * size))
        assert (head, data) == (False, b"")
        assert [type(error) for error in errors] == [ERRORS[kind]]
        assert engine.asked == []
        await world.settle()
        assert host.counters.done == 0


@pytest.mark.parametrize("kind", FaultKind)
async def test_a_request_whose_end_alone_is_missing_is_never_answered(kind: FaultKind) -> None:
    async with World.running() as world:
        measured = await _length_of_a_request(world)
    async with World.running(timeouts=Timeouts(silence=0.1)) as world:
        engine = backend(False)
        host = world.add(backend=engine, times=TIMES)
        world.break_request(host, kind, measured - 1)
        head, _, errors = await ask(world, chat())
        assert not head
        assert [type(error) for error in errors] == [ERRORS[kind]]
        assert engine.asked == []


async def _length_of_a_request(world: World) -> int:
    """How many bytes the asker sends for `chat()`, the kind byte included."""
    lengths: list[int] = []

    async def handler(host: HostNode, stream) -> None:
        total = 1
        while data := await stream.read(65536):
            total += len(data)
        lengths.append(total)

    world.add(handler=handler)
    await ask(world, chat())
    return lengths[0]

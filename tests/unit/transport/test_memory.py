"""What the network in memory adds to the contract: faults on demand, and a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from sealmesh.errors import ConnectionLostError, StreamResetError, TransportError, TransportTimeoutError
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.memory import Fault, FaultKind, MemoryNetwork

A, B = b"a" * 32, b"b" * 32


class StepClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for at, future in self.sleepers:
            if at <= self.time and not future.done():
                future.set_result(None)


async def connected(network: MemoryNetwork) -> tuple[Connection, Connection]:
    a, b = network.endpoint(A), network.endpoint(B)
    near = await a.connect(b.address(), timeout_s=1)
    return near, await b.accept()


async def streams(network: MemoryNetwork, first: bytes = b"\xe1") -> tuple[Stream, Stream]:
    near, far = await connected(network)
    stream = await near.open(timeout_s=1)
    await stream.write(first)
    return stream, await far.accept()


async def read_all(stream: Stream) -> bytes:
    data = b""
    while piece := await stream.read(100):
        data += piece
    return data


async def test_a_planned_end_cuts_at_the_exact_byte_and_looks_clean() -> None:
    network = MemoryNetwork()
    network.plan(Fault(sender=A, receiver=B, then=FaultKind.END, after=4))
    near, far = await streams(network)
    with pytest.raises(StreamResetError):
        await near.write(b"123456")
    assert await read_all(far) == b"\xe1123"


async def test_a_plan_for_the_answers_direction_and_kind_waits_for_its_stream() -> None:
    network = MemoryNetwork()
    network.plan(Fault(sender=B, receiver=A, then=FaultKind.RESET, after=2, kind=0xE1))
    near, far = await connected(network)
    for first, cut in ((b"\x03", False), (b"\xe1", True), (b"\xe1", False)):
        asking = await near.open(timeout_s=1)
        await asking.write(first)
        answering = await far.accept()
        if cut:
            with pytest.raises(StreamResetError):
                await answering.write(b"answer")
            with pytest.raises(StreamResetError):
                await read_all(asking)
        else:
            await answering.write(b"answer")
            await answering.finish()
            assert await read_all(asking) == b"answer"


async def test_a_planned_drop_takes_the_connection_with_it() -> None:
    network = MemoryNetwork()
    network.plan(Fault(sender=A, receiver=B, then=FaultKind.DROP, after=1))
    near, far = await streams(network)
    with pytest.raises(ConnectionLostError):
        await near.write(b"x")
    with pytest.raises(ConnectionLostError):
        await read_all(far)
    assert network.connections() == 0


async def test_a_planned_stall_is_silence() -> None:
    network = MemoryNetwork()
    network.plan(Fault(sender=A, receiver=B, then=FaultKind.STALL, after=2))
    near, far = await streams(network)
    await near.write(b"xyz")
    await near.finish()
    assert await far.read(100) == b"\xe1"
    assert await far.read(100) == b"x"
    reading = asyncio.create_task(far.read(100))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not reading.done()
    await far.reset()
    with pytest.raises(StreamResetError):
        await reading


async def test_bytes_take_their_time() -> None:
    clock = StepClock()
    network = MemoryNetwork(clock=clock, delay_s=0.5)
    near, far = await streams(network, b"x")
    reading = asyncio.create_task(far.read(1))
    for step, done in ((0.0, False), (0.4, False), (0.2, True)):
        clock.advance(step)
        for _ in range(10):
            await asyncio.sleep(0)
        assert reading.done() is done
    assert await reading == b"x"
    assert near is not far


async def test_dropped_connections_lose_what_was_on_its_way() -> None:
    network = MemoryNetwork()
    near, far = await streams(network)
    assert network.drop(A, B) == 1
    for stream in (near, far):
        with pytest.raises(ConnectionLostError):
            await stream.read(1)
    assert network.drop(A, B) == 0


async def test_refused_until_healed() -> None:
    network = MemoryNetwork()
    a, b = network.endpoint(A), network.endpoint(B)
    network.refuse(A, B)
    for one, other in ((a, b), (b, a)):
        with pytest.raises(TransportTimeoutError):
            await one.connect(other.address(), timeout_s=1)
    network.heal(B, A)
    assert (await a.connect(b.address(), timeout_s=1)).remote_id == B


async def test_a_closed_endpoint_is_not_reached() -> None:
    network = MemoryNetwork()
    a, b = network.endpoint(A), network.endpoint(B)
    await b.close()
    with pytest.raises(TransportError):
        await a.connect(b.address(), timeout_s=1)

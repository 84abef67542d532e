"""A dialled connection is closed when its peer answers a new one and not it; and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.virtual_time import VirtualTime
from sealmesh.node.pulse import ANSWER_LOOKS, LOOK_S, QUIET_LOOKS, PulseEndpoint
from sealmesh.transport.base import Connection
from sealmesh.transport.memory import MemoryNetwork

HERE = bytes([1]) * 32
PEER = bytes([2]) * 32
DOUBTFUL_S = QUIET_LOOKS * LOOK_S
DEAD_S = DOUBTFUL_S + ANSWER_LOOKS * LOOK_S


@asynccontextmanager
async def dialled() -> AsyncIterator[tuple[MemoryNetwork, VirtualTime, Connection, Connection]]:
    """A network, its time, and both ends of a watched connection."""
    network, time = MemoryNetwork(), VirtualTime()
    pulse = PulseEndpoint(network.endpoint(HERE), sleep=time.sleep)
    peer = network.endpoint(PEER)
    watching = asyncio.ensure_future(pulse.run())
    accepted = asyncio.ensure_future(peer.accept())
    connection = await pulse.connect(peer.address(), timeout_s=1)
    other_end = await accepted
    try:
        yield network, time, connection, other_end
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await pulse.close()
        await peer.close()


def is_closed(connection: Connection) -> bool:
    """Whether a memory connection is gone."""
    waiting = connection.closed()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    waiting.close()
    return False


async def test_a_peer_that_answers_anew_but_not_here_has_forgotten_the_connection() -> None:
    async with dialled() as (_, time, connection, _other_end):
        await time.advance(DEAD_S - 0.1)
        assert not is_closed(connection)
        await time.advance(0.2)
        assert is_closed(connection)


async def test_a_peer_that_is_just_away_keeps_its_connection() -> None:
    async with dialled() as (network, time, connection, _other_end):
        network.refuse(HERE, PEER)
        await time.advance(DEAD_S * 3)
        assert not is_closed(connection)
        network.heal(HERE, PEER)  # it is back, but as a process that knows nothing of the connection
        await time.advance(DEAD_S)
        assert is_closed(connection)


async def test_whatever_is_heard_ends_the_doubt() -> None:
    async with dialled() as (_, time, connection, other_end), await other_end.open(timeout_s=1) as stream:
        for _ in range(4):
            await time.advance(DOUBTFUL_S - 0.5)
            await stream.write(b"x")
        assert not is_closed(connection)


async def test_an_old_connection_that_answers_late_is_kept() -> None:
    async with dialled() as (network, time, connection, other_end), await other_end.open(timeout_s=1) as stream:
        await time.advance(DOUBTFUL_S + 0.5)
        assert network.connections() == 2, "the peer was asked by a new connection"
        await stream.write(b"x")
        await time.advance(ANSWER_LOOKS * LOOK_S)
        assert not is_closed(connection)
        assert network.connections() == 1, "the new connection was only to ask"


async def test_a_connection_that_was_closed_is_watched_no_more() -> None:
    async with dialled() as (network, time, connection, _other_end):
        connection.close(0, "done")
        await time.advance(DEAD_S * 2)
        assert network.connections() == 0

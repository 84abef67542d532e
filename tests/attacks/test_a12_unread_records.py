"""A12: a member opens its records stream, asks for much, and takes nothing of it: what waits for it is our memory."""

from __future__ import annotations

import asyncio

import pytest

from kit.mesh import LONG_S, Mesh, read_all, show
from kit.people import People
from kit.virtual_time import VirtualTime
from sealmesh.limits import GOSSIP_STALL_S
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind


@pytest.mark.parametrize("reads", [False, True])
async def test_a12_a_member_that_takes_nothing_of_one_message_is_cut_off(reads: bool) -> None:
    time = VirtualTime()
    async with Mesh.running(People(), MemoryNetwork(window=64)) as mesh:
        a = await mesh.add(gossip=True, sleep=time.sleep)
        member = mesh.people.member()
        connection = await mesh.knock(a, member.id)
        assert await show(connection, member.shown) == b"\x01"
        async with await connection.accept() as theirs:
            await read_all(theirs)
            await theirs.write(b"\x01")
            await theirs.finish()
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.RECORDS]))
        for _ in range(GOSSIP_STALL_S - 1):
            mesh.now += 1.0
            await time.advance(1.0)
            assert a.links.count == 1
        reader = asyncio.create_task(read_all(stream)) if reads else None  # late, but in time
        await time.advance(0.0)
        for _ in range(2):
            mesh.now += 1.0
            await time.advance(1.0)
        assert a.links.count == int(reads)
        if reader is not None:
            reader.cancel()
        else:
            assert "does not read" in await connection.closed()

"""A12: the other side opens a stream and says nothing, or dribbles, or never ends.

Here: what links and the records stream do about it. The exchange has its own times (`sealmesh.client.dial`,
`sealmesh.host.serve`).
"""

from __future__ import annotations

import asyncio

import pytest

from kit.mesh import LONG_S, Mesh, read_all, show, until
from kit.people import People
from kit.virtual_time import settle
from sealmesh.errors import StreamResetError, TransportError
from sealmesh.mesh.link import Link
from sealmesh.transport.base import Stream
from sealmesh.transport.iroh import IrohEndpoint
from sealmesh.transport.memory import Fault, FaultKind
from sealmesh.wire.framing import StreamKind


async def test_a12_a_stream_without_a_kind_is_cut_and_the_link_lives() -> None:
    served = []

    async def serve(link: Link, stream: Stream) -> None:
        served.append(await read_all(stream))
        await stream.finish()

    people = People()
    async with Mesh.running(people) as mesh:
        # On QUIC, where a stream without a byte shows as soon as a later one does.
        members = [people.member(), people.member()]
        ends = [await IrohEndpoint.bind(seed=one.key.seed.reveal(), bind="127.0.0.1:0") for one in members]
        a = await mesh.add(members[0], endpoint=ends[0])
        b = await mesh.add(members[1], endpoint=ends[1], handlers={StreamKind.SEALED: serve}, kind_timeout_s=0.05)
        near, _ = await mesh.link(a, b)
        silent = await near._connection.open(timeout_s=LONG_S)
        ended = await near._connection.open(timeout_s=LONG_S)
        await ended.finish()
        async with await near.open_stream(StreamKind.SEALED) as stream:
            await stream.finish()
            assert await read_all(stream) == b""
        for cut in (silent, ended):
            with pytest.raises(StreamResetError):
                async with asyncio.timeout(LONG_S):
                    await cut.read(1)
            await cut.reset()
        assert served == [b""]
        assert a.links.count == 1


async def test_a12_a_dribbling_admission_is_cut_in_time() -> None:
    async with Mesh.running(People()) as mesh:
        b = await mesh.add(admission_timeout_s=0.05)
        stranger = mesh.people.member()
        connection = await mesh.knock(b, stranger.id)
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.ADMISSION]))

        async def dribble() -> None:
            for number in range(10_000):  # a byte now and then extends nothing
                await stream.write(stranger.shown[number % 100 : number % 100 + 1])
                await asyncio.sleep(0.005)

        with pytest.raises(TransportError):
            await asyncio.wait_for(dribble(), LONG_S)
        assert "took too long" in await connection.closed()
        assert b.links.count == 0


async def test_a12_a_peer_that_never_answers_our_credentials_is_given_up() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(admission_timeout_s=0.02), await mesh.add()
        mesh.network.plan(Fault(sender=b.id, receiver=a.id, then=FaultKind.STALL, kind=StreamKind.ADMISSION))
        with pytest.raises(TransportError, match="took too long"):
            await a.links.connect(b.endpoint.address())
        await until(lambda: mesh.network.connections() == 0)


async def test_a12_a_member_that_does_not_read_its_records_is_cut_off() -> None:
    async with Mesh.running(People()) as mesh:
        a = await mesh.add(gossip=True)
        deaf = mesh.people.member()
        connection = await mesh.knock(a, deaf.id)
        assert await show(connection, deaf.shown) == b"\x01"
        async with await connection.accept() as theirs:
            await read_all(theirs)
            await theirs.write(b"\x01")
            await theirs.finish()
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.RECORDS]))
        await until(lambda: a.links.count == 1)
        await settle()
        assert a.driver is not None
        sent = 0
        while a.links.count and sent < 5000:  # what it publishes has to go somewhere
            mesh.now += 1.0
            a.driver.publish(a.member.record(mesh.now), a.member.shown)
            sent += 1
            await asyncio.sleep(0)
        assert a.links.count == 0
        assert "does not read" in await connection.closed()


async def test_a12_who_was_dialled_and_ends_the_records_stream_ends_the_link() -> None:
    async def refuse(link: Link, stream: Stream) -> None:
        await stream.finish()

    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(gossip=True), await mesh.add(handlers={StreamKind.RECORDS: refuse})
        await mesh.link(a, b)
        await until(lambda: bool(b.lost))
        assert "no records stream" in b.lost[0][1]


async def test_a12_a_records_stream_that_ends_ends_the_link_that_lives_by_it() -> None:
    async with Mesh.running(People()) as mesh:
        a = await mesh.add(gossip=True)
        half = mesh.people.member()
        connection = await mesh.knock(a, half.id)
        assert await show(connection, half.shown) == b"\x01"
        async with await connection.accept() as theirs:
            await read_all(theirs)
            await theirs.write(b"\x01")
            await theirs.finish()
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.RECORDS]))
        await stream.finish()
        async with asyncio.timeout(LONG_S):
            assert "no records stream" in await connection.closed()

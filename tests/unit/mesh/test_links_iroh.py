"""Links over real QUIC on loopback: what a network in memory could hide."""

from __future__ import annotations

import pytest

from kit.mesh import Mesh, Node, read_all, until
from kit.people import Member, People
from sealmesh.errors import NotAdmittedError, StreamResetError
from sealmesh.identity.admission import Factor, make_revocations
from sealmesh.mesh.link import Link
from sealmesh.transport.base import Stream
from sealmesh.transport.iroh import IrohEndpoint
from sealmesh.wire.framing import StreamKind


async def echo(link: Link, stream: Stream) -> None:
    await stream.write(await read_all(stream))
    await stream.finish()


async def node(mesh: Mesh, member: Member | None = None, *, gossip: bool = False) -> Node:
    member = member or mesh.people.member()
    endpoint = await IrohEndpoint.bind(seed=member.key.seed.reveal(), bind="127.0.0.1:0")
    return await mesh.add(member, endpoint=endpoint, gossip=gossip, handlers={StreamKind.SEALED: echo})


async def test_members_link_and_talk_both_ways() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await node(mesh), await node(mesh)
        near, far = await mesh.link(a, b)
        for link in (near, far):
            async with await link.open_stream(StreamKind.SEALED) as stream:
                await stream.write(b"hello")
                await stream.finish()
                assert await read_all(stream) == b"hello"
        async with await near.open_stream(StreamKind.CHALLENGE) as stream:
            with pytest.raises(StreamResetError):
                await read_all(stream)
        assert near.path == "direct"
        assert near.rtt_ms is not None


async def test_a_refused_node_is_told_which_factor_failed() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await node(mesh, People("elsewhere").member()), await node(mesh)
        with pytest.raises(NotAdmittedError) as refused:
            await a.links.connect(b.endpoint.address())
        assert (refused.value.factor, refused.value.by_peer) == (Factor.WRONG_MESH, True)
        with pytest.raises(NotAdmittedError) as refused:
            await b.links.connect(a.endpoint.address())
        assert (refused.value.factor, refused.value.by_peer) == (Factor.WRONG_MESH, False)
        assert a.links.count == b.links.count == 0


async def test_records_travel_and_the_revoked_learns_why_it_was_cut() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await node(mesh, gossip=True), await node(mesh, gossip=True)
        await mesh.link(a, b)
        await until(lambda: all(one.core and len(one.core.table) == 2 for one in (a, b)))
        revoked = make_revocations(mesh.people.issuer, previous=None, now=mesh.now, endpoint_ids=[a.id])
        assert b.policy.offer_revocations_untrusted(revoked.encode(), mesh.now)
        assert b.driver is not None
        b.driver.policy_changed()
        await until(lambda: bool(a.lost))
        assert "revoked_endpoint" in a.lost[0][1]


async def test_both_dial_at_once_over_quic() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await node(mesh), await node(mesh)
        for one, other in ((a, b), (b, a)):
            one.links.keep(other.endpoint.address())
        await until(
            lambda: (
                (near := a.links.get(b.id)) is not None
                and (far := b.links.get(a.id)) is not None
                and near.dialled is (a.id < b.id)
                and far.dialled is (b.id < a.id)
            )
        )
        link = a.links.get(b.id)
        assert link is not None
        async with await link.open_stream(StreamKind.SEALED) as stream:
            await stream.write(b"one link")
            await stream.finish()
            assert await read_all(stream) == b"one link"

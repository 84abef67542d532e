"""The gossip core over links: real cores, real credentials, a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kit.mesh import LONG_S, Mesh, Node, until
from kit.people import People
from kit.virtual_time import VirtualTime, settle
from sealmesh.errors import TransportError
from sealmesh.gossip.messages import Record, Records, encode
from sealmesh.identity.admission import make_revocations
from sealmesh.limits import GOSSIP_MESSAGE_MAX
from sealmesh.wire.framing import StreamKind


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh.running(People()) as running:
        yield running


async def gossips(mesh: Mesh, time: VirtualTime, count: int) -> list[Node]:
    return [await mesh.add(gossip=True, sleep=time.sleep) for _ in range(count)]


def knows(node: Node, other: Node) -> str | None:
    """The name that `node` has of `other`."""
    assert node.core is not None
    entry = node.core.table.get(other.id)
    return None if entry is None else entry.summary.name


async def test_three_in_a_row_come_to_the_same_table(mesh: Mesh, time: VirtualTime) -> None:
    a, b, c = await gossips(mesh, time, 3)
    await mesh.link(a, b)
    await mesh.link(c, b)
    await until(lambda: all(knows(one, other) for one in (a, b, c) for other in (a, b, c)))
    await settle()
    roots = {node.core.table.root() for node in (a, b, c) if node.core}
    assert len(roots) == 1
    assert a.links.get(c.id) is None  # b carried it


async def test_news_go_to_everybody_at_once(mesh: Mesh, time: VirtualTime) -> None:
    a, b, c = await gossips(mesh, time, 3)
    await mesh.link(a, b)
    await mesh.link(b, c)
    await until(lambda: bool(knows(c, a)))
    heard: list[bytes] = []
    assert c.driver is not None
    assert a.driver is not None
    c.driver._on_changed = heard.append
    mesh.now += 60.0
    a.driver.publish(a.member.record(mesh.now, name="renamed"), a.member.shown)
    await until(lambda: knows(c, a) == "renamed")
    assert a.id in heard
    await a.driver.flush(LONG_S)


async def test_what_push_missed_a_round_brings(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    near, _ = await mesh.link(a, b)
    await until(lambda: bool(knows(a, b) and knows(b, a)))
    assert b.core is not None
    # b learns of somebody in a way that tells nobody.
    other = mesh.people.member()
    admitted = b.policy.admit_untrusted(other.shown, other.id, mesh.now)
    b.core.table.add_untrusted(other.record(), other.shown, admitted, mesh.now)
    await settle()
    assert a.core is not None
    assert a.core.table.get(other.id) is None
    mesh.now += 11.0
    await time.advance(1.0)
    assert a.core.table.get(other.id) is not None
    assert near.alive


async def test_a_revocation_travels_and_cuts_the_revoked_everywhere(mesh: Mesh, time: VirtualTime) -> None:
    a, b, c = await gossips(mesh, time, 3)
    await mesh.link(a, b)
    await mesh.link(b, c)
    await mesh.link(a, c)
    await until(lambda: bool(knows(b, c) and knows(c, b)))
    kept: list[str] = []
    assert a.driver is not None
    assert b.driver is not None
    b.driver._on_policy_changed = lambda: kept.append("b")
    revoked = make_revocations(mesh.people.issuer, previous=None, now=mesh.now, endpoint_ids=[c.id])
    assert a.policy.offer_revocations_untrusted(revoked.encode(), mesh.now)
    a.driver.policy_changed()
    await until(lambda: a.links.get(c.id) is None and b.links.get(c.id) is None)
    assert kept == ["b"]
    assert knows(a, c) is None
    assert knows(b, c) is None
    await until(lambda: len(c.lost) == 2)
    assert a.links.get(b.id) is not None


async def test_grants_that_ended_are_cut_by_the_tick(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    await mesh.link(a, b)
    mesh.now += 31 * 86_400.0
    await time.advance(1.0)
    assert a.links.count == b.links.count == 0


async def test_after_a_lost_link_a_new_one_carries_on(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    await mesh.link(a, b)
    await until(lambda: bool(knows(b, a)))
    mesh.network.drop(a.id, b.id)
    await until(lambda: not a.links.count and not b.links.count)
    assert a.driver is not None
    mesh.now += 60.0
    a.driver.publish(a.member.record(mesh.now, name="meanwhile"), a.member.shown)
    await mesh.link(b, a)
    await until(lambda: knows(b, a) == "meanwhile")


async def test_a_second_records_stream_is_a_breach(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    near, _ = await mesh.link(a, b)
    await until(lambda: bool(knows(b, a)))
    async with await near.open_stream(StreamKind.RECORDS):
        await until(lambda: bool(a.lost))
    assert "second records stream" in a.lost[0][1]


async def test_only_who_dialled_opens_it(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    _, far = await mesh.link(a, b)
    async with await far.open_stream(StreamKind.RECORDS):
        await until(lambda: bool(b.lost))
    assert "second records stream" in b.lost[0][1]


@pytest.mark.parametrize(
    "sent", [(GOSSIP_MESSAGE_MAX + 1).to_bytes(4, "big"), b"\x00\x00\x00\x03\xff\xff\xff"], ids=["too long", "noise"]
)
async def test_who_sends_what_no_honest_node_sends_is_kept_off(mesh: Mesh, time: VirtualTime, sent: bytes) -> None:
    liar = await mesh.add()
    (b,) = await gossips(mesh, time, 1)
    near, _ = await mesh.link(liar, b)
    async with await near.open_stream(StreamKind.RECORDS) as stream:
        await stream.write(sent)
        await until(lambda: bool(liar.lost))
    assert "misbehaved" in liar.lost[0][1]
    (cut,) = b.links.cut_off()
    assert (cut.endpoint_id, cut.times) == (liar.id, 1)
    assert "message" in cut.reason
    with pytest.raises(TransportError):
        await liar.links.connect(b.endpoint.address())


async def test_a_message_cut_in_pieces_is_one_message(mesh: Mesh, time: VirtualTime) -> None:
    a = await mesh.add()
    (b,) = await gossips(mesh, time, 1)
    near, _ = await mesh.link(a, b)
    message = encode(Records(records=(Record(summary=a.member.record(), credentials=a.member.shown),), push=False))
    framed = len(message).to_bytes(4, "big") + message
    async with await near.open_stream(StreamKind.RECORDS) as stream:
        for start in range(0, len(framed), 17):
            await stream.write(framed[start : start + 17])
            await asyncio.sleep(0)
        await until(lambda: knows(b, a) == "node")


async def test_an_overtaken_node_hears_of_it(mesh: Mesh, time: VirtualTime) -> None:
    a, b = await gossips(mesh, time, 2)
    await mesh.link(a, b)
    await until(lambda: bool(knows(b, a)))
    mesh.network.drop(a.id, b.id)
    await until(lambda: not b.links.count)
    assert b.core is not None
    # An earlier run of a, with its clock ahead, had said more.
    later = a.member.record(mesh.now + 5.0)
    admitted = b.policy.admit_untrusted(a.member.shown, a.id, mesh.now)
    b.core.table.add_untrusted(later, a.member.shown, admitted, mesh.now)
    heard: list[int] = []
    assert a.driver is not None
    a.driver._on_overtaken = heard.append
    await mesh.link(a, b)
    mesh.now += 11.0
    await time.advance(1.0)
    await until(lambda: bool(heard))
    assert heard[0] == a.member.sequence

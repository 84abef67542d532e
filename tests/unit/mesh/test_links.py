"""Links among members: made, kept single, served, lost, kept up, ended."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kit.mesh import LONG_S, Mesh, read_all, until
from kit.people import DAY, People
from kit.virtual_time import VirtualTime, settle
from sealmesh.errors import (
    ConnectionLostError,
    LocalProtocolError,
    NotAdmittedError,
    StreamResetError,
    TransportError,
    TransportTimeoutError,
)
from sealmesh.identity.admission import Role, make_revocations
from sealmesh.mesh.admission import CloseCode
from sealmesh.mesh.link import Link
from sealmesh.transport.base import EndpointAddress, Stream
from sealmesh.transport.memory import Fault, FaultKind
from sealmesh.wire.framing import StreamKind


async def echo(link: Link, stream: Stream) -> None:
    await stream.write(await read_all(stream))
    await stream.finish()


async def ask(link: Link, words: bytes, kind: StreamKind = StreamKind.SEALED) -> bytes:
    async with await link.open_stream(kind) as stream:
        await stream.write(words)
        await stream.finish()
        return await read_all(stream)


# --- made -------------------------------------------------------------------------------------------------------------


async def test_two_members_link_and_each_knows_the_other() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(mesh.people.member(Role.CLIENT)), await mesh.add()
        near, far = await mesh.link(a, b)
        assert (near.peer_id, far.peer_id) == (b.id, a.id)
        assert far.roles == Role.CLIENT
        assert (near.dialled, far.dialled) == (True, False)
        assert (near.path, near.rtt_ms) == ("direct", 0.0)
        assert a.linked == [near]
        assert b.linked == [far]
        assert a.links.all() == (near,)
        assert b.links.count == 1
        assert b.id.hex()[:12] in repr(near)


async def test_both_sides_open_streams_and_their_kinds_find_their_handlers() -> None:
    async def shout(link: Link, stream: Stream) -> None:
        await stream.write((await read_all(stream)).upper())
        await stream.finish()

    async with Mesh.running(People()) as mesh:
        a = await mesh.add(handlers={StreamKind.SEALED: echo})
        b = await mesh.add(handlers={StreamKind.SEALED: echo})
        b.links.handle(StreamKind.CHALLENGE, shout)
        near, far = await mesh.link(a, b)
        assert await ask(near, b"one") == b"one"
        assert await ask(near, b"two", StreamKind.CHALLENGE) == b"TWO"
        assert await ask(far, b"three") == b"three"


async def test_connecting_again_gives_the_same_link_and_callers_share_one_attempt() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add()
        links = await asyncio.gather(*[a.links.connect(b.endpoint.address()) for _ in range(5)])
        assert len({id(link) for link in links}) == 1
        assert await a.links.connect(b.endpoint.address()) is links[0]
        assert mesh.network.connections() == 1


async def test_who_gives_up_waiting_does_not_take_the_attempt_from_others() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add()
        first = asyncio.create_task(a.links.connect(b.endpoint.address()))
        second = asyncio.create_task(a.links.connect(b.endpoint.address()))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).peer_id == b.id
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_nobody_there_and_nobody_else_are_told_apart_from_a_refusal() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add()
        with pytest.raises(TransportTimeoutError):
            await a.links.connect(EndpointAddress(endpoint_id=b.id, addresses=("192.0.2.9:1",)))
        other = EndpointAddress(endpoint_id=bytes(32), addresses=b.endpoint.address().addresses)
        with pytest.raises(TransportError, match="another endpoint"):
            await a.links.connect(other)
        with pytest.raises(TransportError, match="own address"):
            await a.links.connect(a.endpoint.address())
        assert a.links.get(bytes(32)) is None


async def test_links_do_nothing_before_they_run_and_run_once() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(run=False), await mesh.add()
        with pytest.raises(ConnectionLostError):
            await a.links.connect(b.endpoint.address())
        with pytest.raises(LocalProtocolError):
            await b.links.run()


# --- one link a member ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["one", "two", "three", "four"])
async def test_both_dial_at_once_and_one_link_stays_the_same_for_both(seed: str) -> None:
    async with Mesh.running(People(seed)) as mesh:
        a = await mesh.add(handlers={StreamKind.SEALED: echo})
        b = await mesh.add(handlers={StreamKind.SEALED: echo})
        await asyncio.gather(a.links.connect(b.endpoint.address()), b.links.connect(a.endpoint.address()))
        await until(lambda: mesh.network.connections() == 1)
        await settle()
        near, far = a.links.get(b.id), b.links.get(a.id)
        assert near is not None
        assert far is not None
        assert near.dialled is (a.id < b.id)
        assert far.dialled is (b.id < a.id)
        assert await ask(near, b"still there") == b"still there"
        assert await ask(far, b"here too") == b"here too"


async def test_a_member_that_lost_its_side_replaces_the_dead_link() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add(handlers={StreamKind.SEALED: echo})
        await mesh.link(a, b)
        again = await mesh.add(a.member)  # the same key in a new process, while b believes in the old connection
        near, _ = await mesh.link(again, b)
        await until(lambda: b.links.get(a.id) is not b.linked[0])
        assert b.links.get(a.id) is b.linked[1]
        assert await ask(near, b"x") == b"x"
        assert b.links.count == 1


# --- served -----------------------------------------------------------------------------------------------------------


async def test_a_stream_of_a_kind_that_nobody_serves_is_reset() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add()
        near, _ = await mesh.link(a, b)
        for kind in (StreamKind.SEALED, StreamKind.ADMISSION, StreamKind.PLAIN):
            with pytest.raises(StreamResetError):
                await ask(near, b"x", kind)
        async with await near._connection.open(timeout_s=LONG_S) as stream:
            await stream.write(b"\x99")
            with pytest.raises(StreamResetError):
                await stream.read(1)


async def test_a_failing_handler_resets_its_stream_and_harms_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(link: Link, stream: Stream) -> None:
        raise ValueError((await read_all(stream)).decode())

    async def stumble(link: Link, stream: Stream) -> None:
        raise StreamResetError("as said")

    async with Mesh.running(People()) as mesh:
        a = await mesh.add()
        handlers = {StreamKind.PLAIN: fail, StreamKind.RELAY: stumble, StreamKind.SEALED: echo}
        b = await mesh.add(handlers=handlers)
        near, _ = await mesh.link(a, b)
        with caplog.at_level(logging.DEBUG):
            for kind in (StreamKind.PLAIN, StreamKind.RELAY):
                with pytest.raises(StreamResetError):
                    await ask(near, b"the prompt", kind)
        assert "ValueError" in caplog.text
        assert "the prompt" not in caplog.text
        assert await ask(near, b"fine") == b"fine"


async def test_a_handler_that_returns_without_an_end_resets() -> None:
    async def half(link: Link, stream: Stream) -> None:
        await stream.write(b"half an answer")

    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add(handlers={StreamKind.SEALED: half})
        near, _ = await mesh.link(a, b)
        with pytest.raises(StreamResetError):
            await ask(near, b"x")


async def test_a_member_may_have_1024_streams_open() -> None:
    async def hold(link: Link, stream: Stream) -> None:
        await stream.read(1)

    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add(handlers={StreamKind.SEALED: hold})
        near, _ = await mesh.link(a, b)
        streams = [await near.open_stream(StreamKind.SEALED) for _ in range(1024)]
        with pytest.raises(TransportTimeoutError):
            await near._connection.open(timeout_s=0.01)
        for stream in streams:
            await stream.reset()


# --- lost -------------------------------------------------------------------------------------------------------------


async def test_a_lost_link_cancels_what_works_on_it_and_is_told_with_its_reason() -> None:
    cancelled = asyncio.Event()

    async def work(link: Link, stream: Stream) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add(handlers={StreamKind.SEALED: work})
        near, _ = await mesh.link(a, b)
        stream = await near.open_stream(StreamKind.SEALED)
        await settle()
        mesh.network.drop(a.id, b.id)
        await cancelled.wait()
        with pytest.raises(ConnectionLostError):
            await stream.read(1)
        await until(lambda: bool(a.lost and b.lost))
        assert a.lost == [(near, "the connection was dropped")]
        assert a.links.get(b.id) is None
        assert b.links.count == 0
        assert "dropped" in await near.closed()
        with pytest.raises(ConnectionLostError):
            await near.open_stream(StreamKind.SEALED)
        await stream.reset()


async def test_a_revoked_member_is_cut_and_told() -> None:
    async with Mesh.running(People()) as mesh:
        a, b, c = await mesh.add(), await mesh.add(), await mesh.add()
        await mesh.link(a, b)
        await mesh.link(c, b)
        revoked = make_revocations(mesh.people.issuer, previous=None, now=mesh.now, endpoint_ids=[a.id])
        assert b.policy.offer_revocations_untrusted(revoked.encode(), mesh.now)
        assert b.links.recheck(lambda admitted: b.policy.check(admitted, mesh.now)) == 1
        await until(lambda: bool(a.lost))
        assert "revoked_endpoint" in a.lost[0][1]
        assert b.links.get(a.id) is None
        assert b.links.get(c.id) is not None
        with pytest.raises(NotAdmittedError) as refused:
            await a.links.connect(b.endpoint.address())
        assert (refused.value.factor, refused.value.by_peer) == ("revoked_endpoint", True)


async def test_a_grant_that_ended_cuts_the_link_at_the_next_check() -> None:
    async with Mesh.running(People()) as mesh:
        short = mesh.people.member(ticket=mesh.people.ticket(lifetime_s=DAY))
        a, b = await mesh.add(short), await mesh.add()
        await mesh.link(a, b)
        for later, cut in ((DAY - 1, 0), (DAY, 1)):
            assert b.links.recheck(lambda admitted, at=mesh.now + later: b.policy.check(admitted, at)) == cut


async def test_a_member_that_misbehaves_is_kept_off_for_a_while() -> None:
    async with Mesh.running(People()) as mesh:
        clock = VirtualTime()
        a, b = await mesh.add(), await mesh.add(elapsed=clock.elapsed)
        await mesh.link(a, b)
        assert b.links.cut_off() == ()
        assert b.links.shun(a.id, "did this and that") == 60.0
        await until(lambda: bool(a.lost))
        assert "misbehaved" in a.lost[0][1]
        for one, other in ((a, b), (b, a)):
            with pytest.raises(TransportError):
                await one.links.connect(other.endpoint.address())
        assert [(one.endpoint_id, one.reason) for one in b.links.cut_off()] == [(a.id, "did this and that")]
        await clock.advance(60)
        assert b.links.cut_off() == ()
        assert (await a.links.connect(b.endpoint.address())).peer_id == b.id


# --- kept up ----------------------------------------------------------------------------------------------------------


async def test_a_kept_member_is_dialled_again_with_growing_pauses() -> None:
    time = VirtualTime()
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(sleep=time.sleep), await mesh.add()
        mesh.network.refuse(a.id, b.id)
        a.links.keep(b.endpoint.address())
        await settle()
        waits = []
        for _ in range(8):
            waits.append(min(at for at, future in time._sleepers if not future.done()) - time.counted)
            await time.advance(waits[-1])
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        mesh.network.heal(a.id, b.id)
        await time.advance(30.0)
        assert a.links.get(b.id) is not None
        mesh.network.drop(a.id, b.id)
        await settle()
        assert a.links.get(b.id) is None
        await time.advance(0.5)
        assert a.links.get(b.id) is not None
        a.links.forget(b.id)
        mesh.network.drop(a.id, b.id)
        await time.advance(1000.0)
        assert a.links.get(b.id) is None


async def test_what_is_kept_before_the_run_is_dialled_at_its_start() -> None:
    async with Mesh.running(People()) as mesh:
        b = await mesh.add()
        a = await mesh.add(run=False)
        a.links.keep(b.endpoint.address())
        running = asyncio.create_task(a.links.run())
        await until(lambda: a.links.get(b.id) is not None)
        await a.links.close()
        await running


# --- ended ------------------------------------------------------------------------------------------------------------


async def test_draining_lets_what_runs_end_and_takes_nothing_new() -> None:
    gate = asyncio.Event()

    async def slow(link: Link, stream: Stream) -> None:
        await gate.wait()
        await stream.write(b"done")
        await stream.finish()

    async def lasting(link: Link, stream: Stream) -> None:
        await asyncio.get_running_loop().create_future()

    async with Mesh.running(People()) as mesh:
        a = await mesh.add()
        b = await mesh.add(handlers={StreamKind.SEALED: slow, StreamKind.RECORDS: lasting})
        near, _ = await mesh.link(a, b)
        records = await near.open_stream(StreamKind.RECORDS)
        running = asyncio.create_task(ask(near, b"x"))
        await settle()
        draining = asyncio.create_task(b.links.drain(LONG_S))
        await settle()
        assert not draining.done()
        with pytest.raises(StreamResetError):
            await ask(near, b"new")
        gate.set()
        assert await running == b"done"
        await draining
        await b.links.close()
        await until(lambda: bool(a.lost))
        assert "leaving" in a.lost[0][1]
        await records.reset()


async def test_draining_ends_with_its_grace() -> None:
    async def forever(link: Link, stream: Stream) -> None:
        await asyncio.get_running_loop().create_future()

    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add(handlers={StreamKind.SEALED: forever})
        near, _ = await mesh.link(a, b)
        running = asyncio.create_task(ask(near, b"x"))
        await settle()
        await b.links.drain(0.01)
        await b.links.close()
        with pytest.raises(ConnectionLostError):
            await running


async def test_a_closed_node_makes_no_links_and_waiters_are_told() -> None:
    async with Mesh.running(People()) as mesh:
        a, b = await mesh.add(), await mesh.add()
        mesh.network.plan(Fault(sender=b.id, receiver=a.id, then=FaultKind.STALL, kind=StreamKind.ADMISSION))
        waiting = asyncio.create_task(a.links.connect(b.endpoint.address()))
        await settle()
        assert not waiting.done()
        await a.links.close()
        with pytest.raises(TransportError):
            await waiting
        with pytest.raises(TransportError):
            await a.links.connect(b.endpoint.address())
        assert mesh.network.connections() == 0


async def test_a_cancelled_run_leaves_no_link_behind() -> None:
    async with Mesh.running(People()) as mesh:
        b = await mesh.add()
        a = await mesh.add(run=False)
        running = asyncio.create_task(a.links.run())
        await asyncio.sleep(0)
        await mesh.link(a, b)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: bool(b.lost))
        assert mesh.network.connections() == 0
        assert a.lost


def test_codes_are_stable() -> None:
    assert {code.name: int(code) for code in CloseCode} == {
        "LEAVING": 0,
        "NOT_ADMITTED": 1,
        "DUPLICATE": 2,
        "PROTOCOL": 3,
        "REMOVED": 4,
        "MISBEHAVED": 5,
    }

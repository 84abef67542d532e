"""A16: a stranger without a valid membership, or with a revoked, expired or copied one.

Here: what it reaches on a connection. Nothing: no handler runs, and no byte of any stream but admission's is read,
before both sides have admitted each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from kit.mesh import LONG_S, Mesh, Node, read_all, show, shown, until
from kit.people import DAY, People, Randomness
from kit.virtual_time import settle
from sealmesh.errors import ConnectionLostError, NotAdmittedError, StreamResetError, TransportError
from sealmesh.identity.admission import Credentials, Factor, Membership, Role, make_revocations
from sealmesh.identity.keys import EndpointKey
from sealmesh.identity.signed import Label
from sealmesh.limits import ADMISSION_MAX
from sealmesh.mesh.admission import ACCEPTED, encode_refusal, parse_answer_untrusted
from sealmesh.mesh.link import Link
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.iroh import IrohEndpoint
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind

PROTECTED = (StreamKind.RECORDS, StreamKind.RELAY, StreamKind.CHALLENGE, StreamKind.PLAIN, StreamKind.SEALED)
WINDOW = 4096


class Guarded:
    """A node whose every handler notes that it was reached."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.reached: list[StreamKind] = []
        self.node: Node

    async def start(self, **settings: object) -> Node:
        def note(kind: StreamKind) -> Callable[[Link, Stream], asyncio.Future[None]]:
            async def handler(link: Link, stream: Stream) -> None:
                self.reached.append(kind)
                await stream.read(1)

            return handler  # type: ignore[return-value]

        self.node = await self.mesh.add(handlers={kind: note(kind) for kind in PROTECTED}, **settings)  # type: ignore[arg-type]
        return self.node


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with Mesh.running(People(), MemoryNetwork(window=WINDOW)) as mesh:
        yield Guarded(mesh)


async def open_all(connection: Connection) -> list[Stream]:
    """Open a stream of every protected kind and send something on it."""
    streams = []
    for kind in PROTECTED:
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([kind]) + b"hello")
        streams.append(stream)
    return streams


def _copied(mesh: Mesh, stranger: bytes) -> bytes:
    return mesh.people.member().shown


def _other_mesh(mesh: Mesh, stranger: bytes) -> bytes:
    return People("elsewhere").ticket().join(stranger).encode()


def _expired(mesh: Mesh, stranger: bytes) -> bytes:
    mesh.now += 2 * DAY
    return mesh.people.ticket(lifetime_s=DAY).join(stranger).encode()


def _early(mesh: Mesh, stranger: bytes) -> bytes:
    mesh.now -= DAY
    return mesh.people.ticket().join(stranger).encode()


def _revoked(mesh: Mesh, stranger: bytes) -> bytes:
    ticket = mesh.people.ticket()
    listed = make_revocations(mesh.people.issuer, previous=None, now=mesh.now, serials=[ticket.granted.serial])
    for node in mesh.nodes:
        assert node.policy.offer_revocations_untrusted(listed.encode(), mesh.now)
    return ticket.join(stranger).encode()


def _climbing(mesh: Mesh, stranger: bytes) -> bytes:
    """A host, by a ticket for clients."""
    ticket = mesh.people.ticket(Role.CLIENT)
    grant = ticket.granted
    part = Membership(mesh_id=grant.mesh_id, serial=grant.serial, endpoint_id=stranger, roles=Role.HOST).encode()
    return Credentials(grant=ticket.grant, membership=ticket.bearer.sign_part(Label.MEMBER, part)).encode()


def _prolonged(mesh: Mesh, stranger: bytes) -> bytes:
    """A grant that its holder made to end later."""
    ticket = mesh.people.ticket()
    later = dataclasses.replace(ticket.granted, not_after=ticket.granted.not_after + DAY)
    joined = ticket.join(stranger)
    return dataclasses.replace(joined, grant=dataclasses.replace(joined.grant, part=later.encode())).encode()


def _rewritten(mesh: Mesh, stranger: bytes) -> bytes:
    """A member's membership with the stranger's endpoint id written into it."""
    member = mesh.people.member()
    theirs = Membership.parse_untrusted(member.credentials.membership.part)
    part = dataclasses.replace(theirs, endpoint_id=stranger).encode()
    changed = dataclasses.replace(member.credentials.membership, part=part)
    return dataclasses.replace(member.credentials, membership=changed).encode()


def _nothing(mesh: Mesh, stranger: bytes) -> bytes:
    return b""


def _noise(mesh: Mesh, stranger: bytes) -> bytes:
    return Randomness("noise")(ADMISSION_MAX)


CLAIMS = {
    Factor.WRONG_ENDPOINT: _copied,
    Factor.WRONG_MESH: _other_mesh,
    Factor.EXPIRED: _expired,
    Factor.NOT_YET_VALID: _early,
    Factor.REVOKED_SERIAL: _revoked,
    Factor.ROLE: _climbing,
    Factor.GRANT_SIGNATURE: _prolonged,
    Factor.MEMBERSHIP_SIGNATURE: _rewritten,
}


@pytest.mark.parametrize(("factor", "claim"), CLAIMS.items(), ids=[str(factor) for factor in CLAIMS])
async def test_a16_a_stranger_reaches_no_handler_and_both_sides_are_told_why(
    guarded: Guarded, factor: Factor, claim: Callable[[Mesh, bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sealmesh.mesh")
    node = await guarded.start()
    stranger = EndpointKey.generate(Randomness("stranger")).public
    credentials = claim(guarded.mesh, stranger)
    connection = await guarded.mesh.knock(node, stranger)
    showing = await connection.open(timeout_s=LONG_S)
    await showing.write(shown(credentials)[:3])
    await open_all(connection)
    await showing.write(shown(credentials)[3:])
    await showing.finish()
    assert parse_answer_untrusted(await read_all(showing)) == factor
    connection.close()
    await settle()
    assert guarded.reached == []
    assert node.links.count == 0
    told = [record.getMessage() for record in caplog.records if "no link from" in record.getMessage()]
    assert [stranger.hex()[:12] in line and str(factor) in line for line in told] == [True]


@pytest.mark.parametrize("claim", [_nothing, _noise])
async def test_a16_credentials_that_are_none_are_refused(
    guarded: Guarded, claim: Callable[[Mesh, bytes], bytes]
) -> None:
    node = await guarded.start()
    connection = await guarded.mesh.knock(node, bytes(32))
    assert parse_answer_untrusted(await show(connection, claim(guarded.mesh, bytes(32)))) == Factor.MALFORMED
    assert node.links.count == 0


async def test_a16_a_refused_stranger_is_disconnected_even_if_it_stays(guarded: Guarded) -> None:
    node = await guarded.start()
    connection = await guarded.mesh.knock(node, bytes(32))
    await show(connection, _copied(guarded.mesh, bytes(32)))
    async with asyncio.timeout(LONG_S):  # one real second: REFUSAL_LINGER_S
        assert "not admitted: wrong_endpoint" in await connection.closed()


@pytest.mark.parametrize("kind", [*PROTECTED, 0x99])
async def test_a16_a_connection_that_begins_with_anything_else_is_closed(guarded: Guarded, kind: int) -> None:
    node = await guarded.start()
    connection = await guarded.mesh.knock(node, bytes(32))
    async with await connection.open(timeout_s=LONG_S) as stream:
        await stream.write(bytes([kind]) + b"hello")
        await stream.finish()
        with pytest.raises((StreamResetError, ConnectionLostError)):
            await read_all(stream)
    async with asyncio.timeout(LONG_S):
        assert "something else than admission" in await connection.closed()
    assert guarded.reached == []


async def test_a16_no_byte_of_another_stream_is_read_before_admission(guarded: Guarded) -> None:
    node = await guarded.start()
    member = guarded.mesh.people.member()
    connection = await guarded.mesh.knock(node, member.id)
    showing = await connection.open(timeout_s=LONG_S)
    await showing.write(shown(member.shown)[:50])
    flood = await connection.open(timeout_s=LONG_S)
    writing = asyncio.create_task(flood.write(bytes([StreamKind.SEALED]) + bytes(WINDOW)))
    await settle()
    assert not writing.done()  # one byte too many for the window: not even the kind byte was taken
    await showing.write(shown(member.shown)[50:])
    await showing.finish()
    assert await read_all(showing) == ACCEPTED
    await settle()
    assert not writing.done()  # it has admitted us; that we admit it, it has not heard
    assert guarded.reached == []
    async with await connection.accept() as theirs:
        assert await read_all(theirs) == shown(node.member.shown)
        await theirs.write(ACCEPTED)
        await theirs.finish()
    await until(lambda: bool(guarded.reached))
    with pytest.raises(StreamResetError):  # the handler took one byte and left
        await writing
    assert guarded.reached == [StreamKind.SEALED]
    connection.close()


async def test_a16_who_was_dialled_and_admits_us_reaches_nothing_before_we_admit_it(guarded: Guarded) -> None:
    node = await guarded.start()
    impostor = guarded.mesh.network.endpoint(bytes(32))
    dialling = asyncio.create_task(node.links.connect(impostor.address()))
    connection = await impostor.accept()
    async with await connection.accept() as theirs:
        await read_all(theirs)
        await theirs.write(ACCEPTED)
        await theirs.finish()
    showing = await connection.open(timeout_s=LONG_S)
    copied = shown(_copied(guarded.mesh, bytes(32)))
    await showing.write(copied[:3])
    await open_all(connection)
    await settle()
    assert guarded.reached == []
    await showing.write(copied[3:])
    await showing.finish()
    assert parse_answer_untrusted(await read_all(showing)) == Factor.WRONG_ENDPOINT
    connection.close()
    with pytest.raises(NotAdmittedError) as refused:
        await dialling
    assert (refused.value.factor, refused.value.by_peer) == (Factor.WRONG_ENDPOINT, False)
    assert guarded.reached == []
    assert node.links.count == 0


async def test_a16_a_stranger_who_knocks_learns_nothing_of_the_mesh(guarded: Guarded) -> None:
    node = await guarded.start()
    connection = await guarded.mesh.knock(node, bytes(32))
    accepting = asyncio.create_task(connection.accept())
    await show(connection, _other_mesh(guarded.mesh, bytes(32)))
    connection.close()
    with pytest.raises(ConnectionLostError):  # no stream of the node's own came
        await accepting


async def test_a16_a_stranger_who_floods_before_admission_is_cut_at_once() -> None:
    async with Mesh.running(People()) as mesh:
        guarded = Guarded(mesh)
        member = mesh.people.member()
        # On QUIC, which alone would take 125 MB from each stranger and keep it.
        endpoint = await IrohEndpoint.bind(seed=member.key.seed.reveal(), bind="127.0.0.1:0")
        node = await guarded.start(member=member, endpoint=endpoint)  # type: ignore[arg-type]
        stranger = await IrohEndpoint.bind(seed=b"x" * 32, bind="127.0.0.1:0")
        try:
            connection = await stranger.connect(endpoint.address(), timeout_s=LONG_S)
            first = await connection.open(timeout_s=LONG_S)
            await first.write(b"\x05\x00")

            async def flood() -> None:
                while True:  # a fast machine has sent a good deal before it is cut
                    stream = await connection.open(timeout_s=LONG_S)
                    await stream.write(bytes(1 << 20))

            with pytest.raises(TransportError):
                await asyncio.wait_for(flood(), LONG_S)
            async with asyncio.timeout(LONG_S):
                assert "more bytes than admission takes" in await connection.closed()
            assert guarded.reached == []
            assert node.links.count == 0
        finally:
            await stranger.close()


MALFORMED = {
    "a length over the limit": (b"\x05\x00\x00\x04\x01", "longer than its kind allows"),
    "more bytes than the limit": (b"\x05" + bytes(5 + ADMISSION_MAX), "more bytes than admission takes"),
    "cut short": (b"\x05\x00\x00\x00\x09half", "ended within a message"),
    "two messages": (b"\x05" + bytes(8), "one message"),
    "no message": (b"\x05", "one message"),
}


@pytest.mark.parametrize(("sent", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_a16_an_admission_stream_holds_one_message_of_bounded_length(
    guarded: Guarded, sent: bytes, reason: str
) -> None:
    node = await guarded.start()
    connection = await guarded.mesh.knock(node, bytes(32))
    async with await connection.open(timeout_s=LONG_S) as stream:
        await stream.write(sent)
        with contextlib.suppress(TransportError):
            await stream.finish()
        async with asyncio.timeout(LONG_S):
            assert reason in await connection.closed()
    assert node.links.count == 0


async def test_a16_a_stranger_who_says_nothing_is_cut(guarded: Guarded) -> None:
    node = await guarded.start(admission_timeout_s=0.01)
    for act in (lambda c: None, open_all):
        connection = await guarded.mesh.knock(node, bytes(32))
        if act is open_all:
            first = await connection.open(timeout_s=LONG_S)
            await first.write(bytes([StreamKind.ADMISSION]))
            await open_all(connection)
        async with asyncio.timeout(LONG_S):
            assert "admission took too long" in await connection.closed()
    assert guarded.reached == []


@pytest.mark.parametrize("answer", [b"", b"\x01\x01", b"\x02", b"\x00", b"\x00\x1b[31m", b"\x00" + b"x" * 65, b"no"])
async def test_a16_an_answer_that_is_none_is_no_admission(guarded: Guarded, answer: bytes) -> None:
    node = await guarded.start()
    impostor = guarded.mesh.network.endpoint(bytes(32))
    dialling = asyncio.create_task(node.links.connect(impostor.address()))
    connection = await impostor.accept()
    async with await connection.accept() as theirs:
        await read_all(theirs)
        await theirs.write(answer)
        await theirs.finish()
    with pytest.raises(TransportError, match="broke the protocol"):
        await dialling
    assert node.links.count == 0


def test_a16_refusals_name_their_factor_and_nothing_else() -> None:
    for factor in Factor:
        assert parse_answer_untrusted(encode_refusal(factor)) == factor
    for odd in ("", "Words of ours", "\x1b[31m", "x" * 65, "é"):
        assert parse_answer_untrusted(encode_refusal(odd)) == "unnamed"

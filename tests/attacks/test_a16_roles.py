"""A16: a member that was let in for one thing does another: a relay, or a bare host, that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kit.exchanges import ScriptedBackend
from kit.mesh import Mesh, Node, read_all
from kit.people import People, Randomness
from kit.virtual_time import VirtualTime
from sealmesh.attestation.challenge import Challenge, GetKeys, encode_request
from sealmesh.errors import StreamResetError
from sealmesh.host.attest import SoftwareAttester
from sealmesh.identity.admission import Role
from sealmesh.node.host import HostSide
from sealmesh.node.plain import PlainSide
from sealmesh.sealed.refusal import REFUSAL_LENGTH
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import REFUSAL, StreamKind, encode_message

KEYS = b"the keys part"
ASKERS = [Role.CLIENT, Role.CLIENT | Role.HOST]
OTHERS = [Role.RELAY, Role.HOST, Role.RELAY | Role.HOST]


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh.running(People()) as running:
        yield running


async def host_of(mesh: Mesh) -> tuple[Node, HostSide]:
    member, time = mesh.people.member(), VirtualTime()
    side = HostSide(
        key=member.key,
        attester=SoftwareAttester(member.key),
        backend=ScriptedBackend(b"{}"),
        posture={},
        take_proof=lambda _: None,
        take_epochs=lambda _: None,
        keys_part=lambda _: KEYS,
        now=time.now,
        elapsed=time.elapsed,
        random=Randomness("host"),
        sleep=time.sleep,
    )
    return await mesh.add(member, handlers=side.handlers()), side


async def opened(mesh: Mesh, host: Node, roles: Role, kind: StreamKind) -> Stream:
    asker = await mesh.add(mesh.people.member(roles))
    link, _ = await mesh.link(asker, host)
    return await link.open_stream(kind)


async def said(stream: Stream, data: bytes) -> bytes:
    """What comes back for some bytes."""
    await stream.write(data)
    return await read_all(stream)


@pytest.mark.parametrize("roles", ASKERS, ids=str)
async def test_whoever_may_ask_is_answered(mesh: Mesh, roles: Role) -> None:
    host, side = await host_of(mesh)
    async with await opened(mesh, host, roles, StreamKind.CHALLENGE) as stream:
        message = encode_request(GetKeys(endpoint_id=host.id))
        assert KEYS in await said(stream, encode_message(message, maximum=len(message)))
    async with await opened(mesh, host, roles, StreamKind.SEALED) as stream:
        refusal = await said(stream, bytes(12))
    assert (refusal[0], len(refusal)) == (REFUSAL, REFUSAL_LENGTH)
    assert side.counters.refused.total() == 1


@pytest.mark.parametrize("roles", OTHERS, ids=str)
async def test_whoever_may_not_ask_costs_the_host_nothing(mesh: Mesh, roles: Role) -> None:
    """Neither a place, nor an opening, nor an operation of the hardware, nor a word."""
    host, side = await host_of(mesh)
    async with await opened(mesh, host, roles, StreamKind.SEALED) as stream:
        with pytest.raises(StreamResetError):
            await said(stream, bytes(12))
    assert side.counters.refused.total() == side.counters.open == side.service.open_exchanges == 0
    for request in (GetKeys(endpoint_id=host.id), Challenge(nonce=bytes(32))):
        async with await opened(mesh, host, roles, StreamKind.CHALLENGE) as stream:
            message = encode_request(request)
            with pytest.raises(StreamResetError):
                await said(stream, encode_message(message, maximum=len(message)))
    assert not side.prover._waiting
    assert len(host.links.all()) == 3  # the links themselves stay: a relay is a member


@pytest.mark.parametrize("roles", [*ASKERS, *OTHERS], ids=str)
async def test_a_plain_node_answers_who_may_ask_and_serves_nothing_that_needs_a_key(mesh: Mesh, roles: Role) -> None:
    time = VirtualTime()
    side = PlainSide(
        backend=ScriptedBackend(b"{}"), now=time.now, elapsed=time.elapsed, random=Randomness("plain").__call__
    )
    assert side.capabilities == ("plain",)
    host = await mesh.add(handlers=side.handlers())
    async with await opened(mesh, host, roles, StreamKind.PLAIN) as stream:
        if roles in ASKERS:
            refusal = await said(stream, bytes([9, 9]))
            assert (refusal[0], len(refusal)) == (REFUSAL, REFUSAL_LENGTH)
        else:
            with pytest.raises(StreamResetError):
                await said(stream, bytes([9, 9]))
    assert side.counters.refused.total() == (1 if roles in ASKERS else 0)
    asker = mesh.nodes[-1].links.get(host.id)
    assert asker is not None
    for kind in (StreamKind.SEALED, StreamKind.CHALLENGE):
        async with await asker.open_stream(kind) as stream:
            with pytest.raises(StreamResetError):
                await said(stream, bytes(12))

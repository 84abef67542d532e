"""Floods, with the real rooms on virtual time: forged refusals, and openings of one member while another chats."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kit.exchanges import SECRET, BareAsker, World, chat, read_all
from kit.proven import World as ProvenWorld
from kit.sealed import HEAD, Randomness
from kit.virtual_time import VirtualTime
from sealmesh.backend.echo import EchoBackend
from sealmesh.client.asker import Answer
from sealmesh.client.counters import Counters
from sealmesh.client.dial import Dialer
from sealmesh.errors import SealmeshError, TransportError
from sealmesh.host.serve import HostCounters, SealedService
from sealmesh.limits import OPENINGS_PER_PEER_BURST, OPENINGS_PER_PEER_S, REFRESH_INTERVAL_S
from sealmesh.routing.directory import Directory, HostOffer
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.transport.base import Stream

FLOODER = b"f" * 32
OPENINGS = 10_000  # within one second


class Forger:
    """Somebody on the path: every stream to the host gets a forged refusal, and what was written is kept."""

    def __init__(self, world: ProvenWorld) -> None:
        self.world = world
        self.code: Refusal | None = None
        self.seen: list[bytes] = []
        self.count = 0
        self.service = SealedService(
            endpoint_id=world.host.key.public,
            keyring=world.host.ring,
            backend=EchoBackend(),
            now=world.time.now,
            monotonic=world.time.elapsed,
            random=Randomness(b"service"),
            counters=HostCounters(),
        )

    async def serve(self, peer: bytes, stream: Stream) -> None:
        if self.code is None:
            await self.service.serve(peer, stream)
            return
        self.count += 1
        with contextlib.suppress(TransportError):
            async with stream:
                self.seen.append(await stream.read(65536))
                await stream.write(encode_refusal(self.code))
                await stream.finish()


async def never_opened(endpoint_id: bytes) -> Stream:
    raise AssertionError("a refusal led to plaintext")


def dialer_of(world: ProvenWorld) -> Dialer:
    """The real dialer on the real verifier."""
    directory = Directory(verified=world.verifier.verified, refusals=world.verifier.refusals)
    directory.put(HostOffer(endpoint_id=world.host.key.public, models={"echo": 4096}))
    return Dialer(
        directory=directory,
        keys=world.verifier,
        open_stream=world.open_sealed,
        open_plain=never_opened,
        rtt_ms=lambda _: 1.0,
        now=world.time.now,
        random=Randomness(b"asker"),
        counters=Counters(),
    )


async def asked(dialer: Dialer) -> Answer:
    async with asyncio.timeout(10):
        return await dialer.ask(chat())


@pytest.mark.parametrize("code", list(Refusal))
async def test_a_flood_of_forged_refusals_costs_the_host_little_and_leads_to_nothing(code: Refusal) -> None:
    world = ProvenWorld(time=VirtualTime())
    forger = Forger(world)
    world.serve = forger.serve
    async with world.running():
        dialer = dialer_of(world)
        assert SECRET.encode() in await read_all(await asked(dialer))
        suites = (before := world.verified()) and dict(before.keys)
        challenges = world.asked
        forger.code = code
        requests, seconds = 200, 20
        for number in range(requests):
            with pytest.raises(SealmeshError):
                await asked(dialer)
            if number % (requests // seconds) == 0:
                await world.advance(1)
        # Each request was tried once; once more only after newer keys, of which there were none.
        assert forger.count == requests
        assert all(SECRET.encode() not in seen for seen in forger.seen)
        # All those refusals fetched the keys once in ten seconds, at most; the hint "busy" never.
        refreshes = world.asked - challenges
        assert refreshes <= seconds / REFRESH_INTERVAL_S + 1
        assert code is not Refusal.BUSY or refreshes == 0
        # The verdict stands, the suite is no weaker, and the first answer that is let through is an answer.
        after = world.verified()
        assert after is not None
        assert dict(after.keys) == suites
        forger.code = None
        assert SECRET.encode() in await read_all(await asked(dialer))


async def test_ten_thousand_openings_a_second_of_one_member_while_another_chats() -> None:
    async with World.running() as world:
        host = world.add()
        template = await BareAsker.of(host)
        # A right hint and a box that is none: each costs the host an opening.
        forged = template.exchange.send_head(HEAD)[:40] + bytes(200)
        await template.stream.reset()
        codes: list[Refusal] = []
        chats = 0
        for number in range(OPENINGS):
            asker = await BareAsker.of(host, FLOODER)
            with contextlib.suppress(TransportError):
                await asker.send(forged)
            data = await asker.stream.read(64)
            codes.append(Refusal(int.from_bytes(data[2:4])))
            await asker.stream.reset()
            world.now += 1 / OPENINGS
            if number % 500 == 0:
                assert SECRET.encode() in await read_all(await world.dialer.ask(chat()))
                chats += 1
        assert set(codes) == {Refusal.MALFORMED, Refusal.BUSY}
        opened = OPENINGS - codes.count(Refusal.BUSY)
        assert opened <= OPENINGS_PER_PEER_BURST + OPENINGS_PER_PEER_S
        assert opened >= OPENINGS_PER_PEER_BURST
        assert chats == OPENINGS // 500
        assert host.counters.done == chats

"""A25: 300 verifiers and one member that floods, at one host whose chip takes 300 ms an operation.

Honest verdicts are got and stay valid, and the chip works at most once a second. The real host side and 300 real
verifiers over a network in memory, on virtual time; most have activated the chip's key before, as on any day.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from itertools import pairwise

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit.attested import make_random
from kit.chips import REQUIRING, ChipAttester
from kit.proven import Host
from kit.tpm import name_of
from kit.virtual_time import VirtualTime
from sealmesh.attestation.challenge import Activate, Challenge, GetKeys, ProofAnswer, RefusedAnswer
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.client.challenge import HostLink, ask_host
from sealmesh.client.verify import HostVerifier
from sealmesh.errors import TransportError
from sealmesh.identity.keys import EndpointKey
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind

KEY = EndpointKey.from_seed(b"endpoint".ljust(32))
VERIFIERS = 300
NEW = 40  # who has not activated the chip's key before
FLOODER = hashlib.sha256(b"flooder").digest()


class Link:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.peer_id = connection.remote_id

    async def open_stream(self, kind: StreamKind) -> Stream:
        stream = await self._connection.open(timeout_s=1)
        await stream.write(bytes([kind]))
        return stream


class Crowd:
    """The host and everybody who asks it."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.chip = ChipAttester(KEY, self.time, took_s=0.3)
        self.host = Host(self.time, attester=self.chip)
        assert self.chip.tpm.ek is not None
        spki = self.chip.tpm.ek.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pair = (hashlib.sha256(spki).digest(), name_of(self.chip.tpm.ak_public))
        self.known = {pair: self.time.now() + 80_000}
        self.network = MemoryNetwork()
        self.there = self.network.endpoint(KEY.public)
        self.tasks: list[asyncio.Task[None]] = []
        self.flooded: Counter[str] = Counter()
        self.verifiers = [self.verifier(number) for number in range(VERIFIERS)]

    def verifier(self, number: int) -> HostVerifier:
        own = hashlib.sha256(b"verifier %d" % number).digest()
        links: list[HostLink] = []

        async def connect(_: bytes) -> HostLink:
            if not links:
                links.append(await self.link(own))
            return links[0]

        made = HostVerifier(
            endpoint_id=own,
            policy=REQUIRING,
            connect=connect,
            now=self.time.now,
            elapsed=self.time.elapsed,
            random=make_random(own),
            sleep=self.time.sleep,
            activations=ActivationMemory(known=self.known if number >= NEW else {}),
        )
        made.note_host(KEY.public)
        return made

    async def link(self, own: bytes) -> HostLink:
        connection = await self.network.endpoint(own).connect(self.there.address(), timeout_s=1)
        self.tasks.append(asyncio.create_task(self.serve(await self.there.accept())))
        return Link(connection)

    async def serve(self, connection: Connection) -> None:
        while True:
            stream = await connection.accept()
            assert await stream.read(1) == bytes([StreamKind.CHALLENGE])
            self.tasks.append(asyncio.create_task(self.host.prover.answer(connection.remote_id, stream)))

    async def flood(self) -> None:
        """Eight requests at once, again and again, of every kind; no answer is waited for long."""
        link, random = await self.link(FLOODER), make_random(b"flood")
        while True:
            for _ in range(4):
                for request in (
                    Challenge(nonce=random(32)),
                    Activate(id_object=random(68), encrypted_secret=random(68)),
                    GetKeys(endpoint_id=KEY.public),
                ):
                    self.tasks.append(asyncio.create_task(self.ask(link, request)))
            await self.time.sleep(0.5)
            self.tasks = [task for task in self.tasks if not task.done()]

    async def ask(self, link: HostLink, request: Challenge | Activate | GetKeys) -> None:
        try:
            answer = await ask_host(link, request)
        except TransportError:
            self.flooded["cut"] += 1
            return
        self.flooded["refused" if isinstance(answer, RefusedAnswer) else type(answer).__name__] += 1

    def check_chip(self) -> None:
        """One operation a second; looked at on the way, so that a host without its limits is not run to the end."""
        moments = [at for at, _ in self.chip.worked]
        assert min(b - a for a, b in pairwise(moments)) >= 1.0 - 1e-6
        # The flooder had one activation in an hour at most, for all that it sent.
        assert Counter(what for _, what in self.chip.worked)["activation"] <= NEW + 1

    def valid(self) -> int:
        hosts = [one.verified(KEY.public, self.time.now()) for one in self.verifiers]
        return sum(host is not None and host.tier is Tier.HARDWARE_ROOTED for host in hosts)


async def test_a_flood_costs_no_honest_verifier_its_verdict_and_the_chip_no_more_than_its_second() -> None:
    crowd = Crowd()
    running = [asyncio.create_task(crowd.host.run())]
    try:
        await crowd.time.advance(1)
        running.append(asyncio.create_task(crowd.flood()))
        running += [asyncio.create_task(one.run()) for one in crowd.verifiers]
        # Each new verifier needs one activation; the chip does one in two seconds, quotes for all in between.
        for _ in range(20):
            await crowd.time.advance(20)
            crowd.check_chip()
            if crowd.valid() == VERIFIERS:
                break
        assert crowd.valid() == VERIFIERS, crowd.time.elapsed()
        for _ in range(15):
            await crowd.time.advance(60)
            crowd.check_chip()
            assert crowd.valid() == VERIFIERS, crowd.time.elapsed()
    finally:
        for task in [*running, *crowd.tasks]:
            task.cancel()
        await asyncio.gather(*running, *crowd.tasks, return_exceptions=True)
    crowd.check_chip()
    assert Counter(what for _, what in crowd.chip.worked)["activation"] >= NEW
    assert crowd.flooded["refused"] > 1000
    assert crowd.flooded[ProofAnswer.__name__] > 0  # it is a member: it gets what each gets, and no more

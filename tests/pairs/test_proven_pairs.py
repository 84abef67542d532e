"""A real host side and a real verifier over a network in memory, on a virtual clock: sealing works at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kit.attested import VERIFIER_ID, make_random
from kit.sealed import HEAD
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.client.challenge import HostLink
from sealmesh.client.verify import HostVerifier
from sealmesh.gossip.record import KeysPart, next_sequence
from sealmesh.host.epochs import EpochContent, EpochKeeper
from sealmesh.host.prove import HostFacts, Prover, SoftwareAttester, StandingProof
from sealmesh.identity.keys import EndpointKey
from sealmesh.sealed.exchange import ClientExchange, HeadEvent, HostExchange
from sealmesh.sealed.keyring import KeyRing
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind


@dataclass
class Host:
    """One process of a host: statement key, epochs, prover. The keys part is signed by the endpoint key."""

    time: VirtualTime
    seed: bytes = b"first process"
    key: EndpointKey = field(default_factory=lambda: EndpointKey.from_seed(b"endpoint".ljust(32)))
    sequence: int = 0
    ring: KeyRing = field(default_factory=KeyRing)
    epochs: EpochContent | None = None
    proof: StandingProof | None = None
    keys: bytes | None = None

    def __post_init__(self) -> None:
        self.random = make_random(self.seed + b" requests")
        self.keeper = EpochKeeper(
            endpoint_id=self.key.public,
            keyring=self.ring,
            random=make_random(self.seed),
            host_statement_digest=lambda: self.prover.host_statement_digest,
            publish=self._take_epochs,
            now=self.time.now,
            elapsed=self.time.elapsed,
            sleep=self.time.sleep,
        )
        self.prover = Prover(
            endpoint_id=self.key.public,
            statement_key=self.keeper.statement_key,
            attester=SoftwareAttester(self.key),
            facts=lambda: HostFacts(backend="in-process"),
            keys_part=lambda owner: self.keys if owner == self.key.public else None,
            publish=self._take_proof,
            now=self.time.now,
            elapsed=self.time.elapsed,
            sleep=self.time.sleep,
        )

    def _take_epochs(self, content: EpochContent) -> None:
        self.epochs = content
        self._publish()

    def _take_proof(self, proof: StandingProof) -> None:
        self.proof = proof
        self._publish()

    def _publish(self) -> None:
        if self.epochs is None or self.proof is None:
            return
        now = self.time.now()
        self.sequence = next_sequence(self.sequence, now)
        self.keys = KeysPart(
            endpoint_id=self.key.public,
            sequence=self.sequence,
            issued=int(now),
            expires=int(now) + 900,
            inference_public_key=self.epochs.inference_public_key,
            hardware_attestation_blob=self.proof.envelope,
            epoch_statements=tuple(signed.encode() for signed in self.epochs.statements),
            host_statement=self.proof.host_statement,
        ).sign(self.key)

    async def run(self, connection: Connection | None = None) -> None:
        await self.prover.renew()
        self.keeper.advance()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeper.run())
            group.create_task(self.prover.run())

    def opens(self, client: VerifiedHost, verifier: HostVerifier, *, skew: float = 0.0) -> bool:
        """Whether a request that is sealed now, by a client's clock, opens now, by the host's."""
        sealed_at = self.time.now() + skew
        exchange = ClientExchange(client, suite=verifier.suite_for(client), now=sealed_at, random=self.random)
        request = exchange.send_head(HEAD)
        host = HostExchange(self.ring, endpoint_id=self.key.public, random=self.random)
        return any(isinstance(event, HeadEvent) for event in host.receive_untrusted(request, self.time.now()))


@dataclass
class World:
    time: VirtualTime = field(default_factory=VirtualTime)

    def __post_init__(self) -> None:
        self.host = Host(self.time)
        self.network = MemoryNetwork()
        self._here = self.network.endpoint(VERIFIER_ID)
        self._there = self.network.endpoint(self.host.key.public)
        self._link: HostLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.verifier = HostVerifier(
            endpoint_id=VERIFIER_ID,
            policy=Policy(),
            connect=self._connect,
            now=self.time.now,
            elapsed=self.time.elapsed,
            random=make_random(b"nonces"),
            sleep=self.time.sleep,
        )
        self.verifier.note_host(self.host.key.public)

    async def _connect(self, _: bytes) -> HostLink:
        if self._link is None:
            connection = await self._here.connect(self._there.address(), timeout_s=1)
            self._link = _Link(connection)
            self._start(self._accept(await self._there.accept()))
        return self._link

    async def _accept(self, connection: Connection) -> None:
        while True:
            stream = await connection.accept()
            assert await stream.read(1) == bytes([StreamKind.CHALLENGE])
            self._start(self.host.prover.answer(connection.remote_id, stream))

    def _start(self, coroutine: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        return task

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._hosting = self._start(self.host.run())
        await settle()
        self._start(self.verifier.run())
        try:
            await self.time.advance(2)
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restart_host(self) -> None:
        """The host's process ends and another begins, under the same endpoint key."""
        self._hosting.cancel()
        await asyncio.gather(self._hosting, return_exceptions=True)
        self.host = Host(self.time, seed=b"second process", sequence=self.host.sequence)
        self._hosting = self._start(self.host.run())
        await settle()

    def verified(self) -> VerifiedHost | None:
        return self.verifier.verified(self.host.key.public, self.time.now())

    def sealed(self) -> bool:
        """Whether a request can be sealed now, and opens."""
        verified = self.verified()
        return verified is not None and self.host.opens(verified, self.verifier)


class _Link:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def peer_id(self) -> bytes:
        return self._connection.remote_id

    async def open_stream(self, kind: StreamKind) -> Stream:
        stream = await self._connection.open(timeout_s=1)
        await stream.write(bytes([kind]))
        return stream


async def test_requests_open_at_every_moment_over_many_rotations() -> None:
    world = World()
    epochs = set()
    async with world.running():
        for _ in range(180):
            assert world.sealed(), world.time.elapsed()
            verified = world.verified()
            assert verified is not None
            epochs.add(verified.epoch)
            await world.time.advance(10)
    assert epochs == set(range(1, 7))


async def test_a_client_whose_clock_is_a_minute_off_is_served() -> None:
    world = World()
    async with world.running():
        for _ in range(30):
            await world.time.advance(20)
            for skew in (-55.0, 55.0):
                verified = world.verifier.verified(world.host.key.public, world.time.now() + skew)
                assert verified is not None, (world.time.elapsed(), skew)
                assert world.host.opens(verified, world.verifier, skew=skew)


async def test_a_restarted_host_is_found_by_one_refresh() -> None:
    world = World()
    async with world.running():
        assert world.sealed()
        await world.restart_host()
        assert not await _opens(world)
        refreshing = asyncio.create_task(world.verifier.refresh(world.host.key.public))
        await world.time.advance(2)
        assert await refreshing is not None
        assert world.sealed()


async def test_a_host_whose_clock_was_set_is_found_by_one_refresh() -> None:
    world = World()
    async with world.running():
        assert world.sealed()
        before = world.verified()
        world.time.set_wall(world.time.wall + 30)
        await world.time.advance(5)
        assert world.sealed()
        after = world.verified()
        assert before is not None
        assert after is not None
        assert after.epoch_digest != before.epoch_digest


async def _opens(world: World) -> bool:
    from sealmesh.errors import RemoteProtocolError

    try:
        return world.sealed()
    except RemoteProtocolError:
        return False

"""A real host side and a real verifier over a network in memory, each on a virtual clock of its own where wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kit.attested import VERIFIER_ID, make_random
from kit.sealed import HEAD
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.client.challenge import HostLink
from sealmesh.client.verify import HostVerifier
from sealmesh.errors import RemoteProtocolError
from sealmesh.gossip.record import KeysPart, next_sequence
from sealmesh.host.attest import Attester, SoftwareAttester
from sealmesh.host.epochs import EpochContent, EpochKeeper
from sealmesh.host.prove import HostFacts, Prover, StandingProof
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
    attester: Attester | None = None
    prover_kind: type[Prover] = Prover

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
        self.prover = self.prover_kind(
            endpoint_id=self.key.public,
            statement_key=self.keeper.statement_key,
            attester=self.attester or SoftwareAttester(self.key),
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
    """One host, one verifier.

    Attributes:
        time: The host's clocks.
        asker_time: The verifier's, where they are to differ; the host's without it.
        serve: Answers sealed streams at the host: of whom, and the stream.
        reachable: Whether challenge streams are answered; sealed ones always are.
        asked: How many challenge streams have come.
        policy: The verifier's.
        attester: The host's; a software key without it.
        prover_kind: Its prover; a liar's, where it lies.
        sealed_opened: How many sealed streams have come.
        memories: What else the verifier is given: pins, activations, run_judgement.
    """

    time: VirtualTime = field(default_factory=VirtualTime)
    asker_time: VirtualTime | None = None
    serve: Callable[[bytes, Stream], Awaitable[None]] | None = None
    reachable: bool = True
    asked: int = 0
    policy: Policy = field(default_factory=Policy)
    attester: Attester | None = None
    prover_kind: type[Prover] = Prover
    sealed_opened: int = 0
    memories: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.here = self.asker_time or self.time
        self.host = Host(self.time, attester=self.attester, prover_kind=self.prover_kind)
        self.network = MemoryNetwork()
        self._here = self.network.endpoint(VERIFIER_ID)
        self._there = self.network.endpoint(self.host.key.public)
        self._link: HostLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.verifier = HostVerifier(
            endpoint_id=VERIFIER_ID,
            policy=self.policy,
            connect=self._connect,
            now=self.here.now,
            elapsed=self.here.elapsed,
            random=make_random(b"nonces"),
            sleep=self.here.sleep,
            **self.memories,
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
            kind = await stream.read(1)
            if kind == bytes([StreamKind.SEALED]):
                self.sealed_opened += 1
                assert self.serve is not None
                self._start(self.serve(connection.remote_id, stream))
                continue
            assert kind == bytes([StreamKind.CHALLENGE])
            self.asked += 1
            if self.reachable:
                self._start(self.host.prover.answer(connection.remote_id, stream))
            else:
                await stream.reset()

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
            await self.advance(2)
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def advance(self, seconds: int) -> None:
        """Let time pass at both, second by second where their clocks are two."""
        if self.here is self.time:
            await self.time.advance(seconds)
            return
        for _ in range(seconds):
            await self.time.advance(1)
            await self.here.advance(1)

    async def open_sealed(self, endpoint_id: bytes) -> Stream:
        """A sealed stream to the host, as the dialer wants it."""
        return await (await self._connect(endpoint_id)).open_stream(StreamKind.SEALED)

    async def restart_host(self, seed: bytes = b"second process") -> None:
        """The host's process ends and another begins, under the same endpoint key."""
        self._hosting.cancel()
        await asyncio.gather(self._hosting, return_exceptions=True)
        self.host = Host(self.time, seed=seed, sequence=self.host.sequence, attester=self.host.attester)
        self._hosting = self._start(self.host.run())
        await settle()

    def verified(self) -> VerifiedHost | None:
        """The host to seal to, by the asker's clock."""
        return self.verifier.verified(self.host.key.public, self.here.now())

    def sealed(self) -> bool:
        """Whether a request can be sealed now, and opens."""
        verified = self.verified()
        return verified is not None and self.host.opens(verified, self.verifier, skew=self.here.now() - self.time.now())

    def opens(self) -> bool:
        """The same, where the host may have lost its keys."""
        try:
            return self.sealed()
        except RemoteProtocolError:
            return False

    async def refresh(self) -> VerifiedHost | None:
        """What the verifier makes of the host after one refresh, as a refusal causes."""
        refreshing = asyncio.create_task(self.verifier.refresh(self.host.key.public))
        await self.advance(2)
        return await refreshing


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

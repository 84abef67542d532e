"""Answers the `0x03` stream: the keys part to whoever asks, and a host statement to whoever challenges.

One signature of the attester answers every challenge that waits: their nonces go under one Merkle root. Activations are
one at a time, and few a peer. So no peer can make the hardware work more than once a second, and none is answered at
another's cost (docs/spec/challenge.md, attack A25).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sealmesh.attestation.challenge import (
    REQUEST_MAX,
    Activate,
    ActivatedAnswer,
    Answer,
    Challenge,
    ChallengeRefusal,
    ChallengeTree,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    Request,
    encode_answer,
    leaf,
    parse_request_untrusted,
)
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.statement import HostStatement, binding, statement_digest
from sealmesh.errors import (
    AttesterError,
    AttesterUnavailableError,
    BusyError,
    RemoteProtocolError,
    SealmeshError,
    TransportError,
)
from sealmesh.limits import (
    ACTIVATION_INTERVAL_S,
    ACTIVATIONS_WAITING_MAX,
    CHALLENGE_BATCH_MAX,
    CHALLENGE_INTERVAL_S,
    CHALLENGE_MESSAGE_MAX,
    CHALLENGE_TIMEOUT_S,
    HOST_STATEMENT_LIFETIME_S,
    HOST_STATEMENT_RENEW_S,
    PEERS_MAX,
    STREAM_KIND_TIMEOUT_S,
)
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import MessageReader, encode_message

_log = logging.getLogger("sealmesh.host")

#: An attester that is silent for so long has failed; a TPM needs about 0.2 s at its slowest.
ATTEST_TIMEOUT_S: Final = CHALLENGE_TIMEOUT_S
#: A challenge waits for the rest of one batch and for its own; beyond, nobody waits for the answer any more.
ANSWER_TIMEOUT_S: Final = 2 * ATTEST_TIMEOUT_S
#: Streams of one peer answered at once: one challenge and a few fetches; more is an attempt to tire us [CH-17].
STREAMS_PER_PEER: Final = 8


class Attester(Protocol):
    """Makes evidence for a binding: a software key, a TPM, a confidential VM.

    The same attestation key answers at every refresh, so that pins survive.
    """

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """Return evidence records by label, with the endorsements that go with them.

        Raises:
            SealmeshError: The evidence cannot be made now.
        """

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """Have the chip hand out the secret that a verifier made for its two keys: TPM2_ActivateCredential.

        Args:
            id_object: Content of TPM2B_ID_OBJECT, as received.
            encrypted_secret: Content of TPM2B_ENCRYPTED_SECRET, as received.

        Raises:
            SealmeshError: There is no such chip, it refuses, or it cannot answer now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What this host says of itself in its statements; see `HostStatement` for each field."""

    backend: str
    measurement: bytes = b""
    platform: str = ""
    posture: Mapping[str, str] = field(default_factory=dict)
    accelerators: tuple[str, ...] = ()
    model_digests: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingProof:
    """The gossiped statement and its evidence: what field 38 of the keys part holds."""

    host_statement: bytes
    envelope: bytes


class Prover:
    """Proves what this host is, to peers that ask.

    Args:
        endpoint_id: This host's id, 32 bytes.
        statement_key: The public key that signs its epoch statements, 32 bytes.
        attester: Makes the evidence.
        facts: Gives what the host says of itself now.
        keys_part: Gives the signed keys part of an endpoint as its owner encoded it, or None where none is held.
        publish: Called with each new standing proof.
        now: Unix seconds.
        elapsed: Seconds of a clock that is never set.
        sleep: Waits so many seconds.
        interval_s: Rest between two operations of the attester, in seconds [CH-8].
    """

    def __init__(
        self,
        *,
        endpoint_id: bytes,
        statement_key: bytes,
        attester: Attester,
        facts: Callable[[], HostFacts],
        keys_part: Callable[[bytes], bytes | None],
        publish: Callable[[StandingProof], None],
        now: Callable[[], float],
        elapsed: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        interval_s: float = CHALLENGE_INTERVAL_S,
    ) -> None:
        self._endpoint_id = endpoint_id
        self._interval_s = interval_s
        self._statement_key = statement_key
        self._attester = attester
        self._facts = facts
        self._keys_part = keys_part
        self._publish = publish
        self._now = now
        self._elapsed = elapsed
        self._sleep = sleep
        self._waiting: dict[bytes, _Waiting] = {}
        self._wake = asyncio.Event()
        self._activating: set[bytes] = set()
        self._activated_at: dict[bytes, float] = {}  # oldest first
        self._operation = asyncio.Lock()
        self._operated_at: float | None = None
        self._streams: Counter[bytes] = Counter()
        self._standing: StandingProof | None = None

    @property
    def host_statement_digest(self) -> bytes:
        """SHA-256 of the standing host statement, 32 bytes. Only after the first `renew`."""
        assert self._standing is not None, "renew first"  # noqa: S101 - our own order of calls
        return statement_digest(self._standing.host_statement)

    @property
    def standing(self) -> StandingProof | None:
        """The standing proof, once there is one."""
        return self._standing

    async def renew(self) -> None:
        """Make a new standing statement with its evidence, and publish it.

        Raises:
            SealmeshError: The attester could not make evidence.
        """
        async with self._operation:
            await self._rest()
            host_statement, envelope = await self._attest(b"")
        self._standing = StandingProof(host_statement=host_statement, envelope=envelope)
        self._publish(self._standing)

    async def run(self) -> None:
        """Answer challenges and renew the standing statement, until cancelled. Call `renew` before."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_always(), name="sealmesh-statement")
                group.create_task(self._answer_batches(), name="sealmesh-challenges")
        finally:
            for one in self._waiting.values():
                if not one.answer.done():
                    one.answer.set_result(RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE))
            self._waiting.clear()

    async def answer(self, peer: bytes, stream: Stream, first: bytes = b"") -> None:
        """Serve one `0x03` stream: one request, one answer.

        Args:
            peer: The verifier's endpoint id, as this side's connection proved it [CH-4].
            stream: Reset on every way out but the proper one.
            first: Bytes after the kind byte that were read with it.
        """
        async with stream:
            if self._streams[peer] >= STREAMS_PER_PEER:
                return
            self._streams[peer] += 1
            try:
                async with asyncio.timeout(STREAM_KIND_TIMEOUT_S):  # [CH-16]
                    request = await _read_request(stream, first)
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answer = await self._answer(peer, request)
                async with asyncio.timeout(CHALLENGE_TIMEOUT_S):
                    await stream.write(encode_message(encode_answer(answer), maximum=CHALLENGE_MESSAGE_MAX))
                    await stream.finish()
            except (RemoteProtocolError, TransportError, TimeoutError) as error:
                _log.debug("a challenge stream of %s ended early: %s", peer.hex()[:12], type(error).__name__)
            finally:
                self._streams[peer] -= 1
                if not self._streams[peer]:
                    del self._streams[peer]

    async def _answer(self, peer: bytes, request: Request) -> Answer:
        match request:
            case GetKeys():
                keys = self._keys_part(request.endpoint_id)
                return RefusedAnswer(code=ChallengeRefusal.UNKNOWN_ENDPOINT) if keys is None else KeysAnswer(keys=keys)
            case Challenge():
                waiting = self._admit_challenge(peer, request.nonce)
                if waiting is None:
                    return RefusedAnswer(code=ChallengeRefusal.BUSY)
                try:
                    return await waiting.answer
                finally:
                    # Cancelled, the peer may challenge again at once.
                    if self._waiting.get(peer) is waiting:
                        del self._waiting[peer]
            case Activate():
                if not self._admit_activation(peer):
                    return RefusedAnswer(code=ChallengeRefusal.BUSY)
                self._activating.add(peer)
                try:
                    return await self._activate(peer, request)
                finally:
                    self._activating.discard(peer)

    def _admit_challenge(self, peer: bytes, nonce: bytes) -> _Waiting | None:
        """Take a challenge into the next batch: one that waits per peer, and no more than a tree holds [CH-9]."""
        if peer in self._waiting or len(self._waiting) >= CHALLENGE_BATCH_MAX:
            return None
        waiting = _Waiting(leaf=leaf(nonce, peer), answer=asyncio.get_running_loop().create_future())
        self._waiting[peer] = waiting
        self._wake.set()
        return waiting

    def _admit_activation(self, peer: bytes) -> bool:
        """Whether a peer's credential may go to the chip: once an hour, and few at a time [CH-18]."""
        now = self._elapsed()
        while self._activated_at and now - next(iter(self._activated_at.values())) >= ACTIVATION_INTERVAL_S:
            del self._activated_at[next(iter(self._activated_at))]
        return (
            peer not in self._activated_at
            and peer not in self._activating
            and len(self._activating) < ACTIVATIONS_WAITING_MAX
            and len(self._activated_at) < PEERS_MAX
        )

    async def _activate(self, peer: bytes, request: Activate) -> Answer:
        async with self._operation:  # first come, first served: quotes are made between activations
            await self._rest()
            self._operated_at = self._activated_at[peer] = self._elapsed()
            try:
                async with asyncio.timeout(ATTEST_TIMEOUT_S):
                    secret = await self._attester.activate(request.id_object, request.encrypted_secret)
            except (SealmeshError, TimeoutError) as error:
                _log.warning("a credential was not activated: %s", type(error).__name__)
                if _chip_refuses(error):
                    return RefusedAnswer(code=ChallengeRefusal.NOT_ACTIVATED)
                self._activated_at.pop(peer, None)  # the chip said nothing: the peer may ask again
                return RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)
        return ActivatedAnswer(secret=secret)

    async def _answer_batches(self) -> None:
        while True:
            await self._wake.wait()
            async with self._operation:
                await self._rest()
                # Whoever came while the attester worked for others or had to rest is in this batch.
                self._wake.clear()
                batch = list(self._waiting.values())
                self._waiting.clear()
                if batch:
                    await self._answer_batch(batch)

    async def _answer_batch(self, batch: list[_Waiting]) -> None:
        tree = ChallengeTree([one.leaf for one in batch])
        try:
            host_statement, envelope = await self._attest(tree.root)
        except SealmeshError as error:
            _log.warning("no evidence could be made: %s", type(error).__name__)
            host_statement = envelope = b""
        keys = self._keys_part(self._endpoint_id)
        for index, one in enumerate(batch):
            if one.answer.done():
                continue
            if keys is None or not envelope:
                one.answer.set_result(RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE))
            else:
                one.answer.set_result(
                    ProofAnswer(host_statement=host_statement, envelope=envelope, path=tree.path(index), keys=keys)
                )

    async def _renew_always(self) -> None:
        """Renew the standing statement with the same attester [ST-19]."""
        while True:
            await self._sleep(HOST_STATEMENT_RENEW_S)
            try:
                await self.renew()
            except SealmeshError as error:
                # The standing statement lives for an hour: eleven more tries before it ends.
                _log.warning("the host statement could not be renewed: %s", type(error).__name__)

    async def _attest(self, challenge_root: bytes) -> tuple[bytes, bytes]:
        """Make a host statement over a challenge root, and its envelope. Called within `_operation`, after `_rest`."""
        now = self._now()
        facts = self._facts()
        host_statement = HostStatement(
            endpoint_id=self._endpoint_id,
            statement_key=self._statement_key,
            measurement=facts.measurement,
            platform=facts.platform,
            posture=facts.posture,
            backend=facts.backend,
            accelerators=facts.accelerators,
            model_digests=facts.model_digests,
            issued=now,
            expires=now + HOST_STATEMENT_LIFETIME_S,
            challenge_root=challenge_root,
        ).encode()
        self._operated_at = self._elapsed()
        try:
            async with asyncio.timeout(ATTEST_TIMEOUT_S):
                records = await self._attester.attest(binding(host_statement))
        except TimeoutError as error:
            raise BusyError("the attester did not answer in time") from error
        return host_statement, Envelope(records=records).encode()

    async def _rest(self) -> None:
        """Wait until the attester may work again: one operation an interval [CH-8]."""
        while self._operated_at is not None:
            left = self._operated_at + self._interval_s - self._elapsed()
            if left <= 0:
                return
            await self._sleep(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    leaf: bytes
    answer: asyncio.Future[Answer]


def _chip_refuses(error: Exception) -> bool:
    """Whether it is the chip's own answer, or there is none, rather than that it did not answer."""
    if isinstance(error, AttesterError):
        return (error.code != 0 and not error.momentary) or isinstance(error, AttesterUnavailableError)
    return isinstance(error, RemoteProtocolError)


async def _read_request(stream: Stream, first: bytes) -> Request:
    reader = MessageReader(maximum=REQUEST_MAX)
    messages = reader.feed_untrusted(first)
    while not messages:
        data = await stream.read(4 + REQUEST_MAX)
        if not data:
            reader.finish_untrusted()
            raise RemoteProtocolError("a challenge stream without a request")
        messages = reader.feed_untrusted(data)
    # One request a stream: whatever follows it is not looked at [CH-1].
    return parse_request_untrusted(messages[0])

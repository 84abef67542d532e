"""Two ends of a sealed exchange and everything that may happen to the bytes between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kit.marker import MARKER
from sealmesh.attestation import verified
from sealmesh.attestation.factors import OperatorBlind, Tier
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.errors import RemoteProtocolError
from sealmesh.sealed.exchange import (
    BodyEvent,
    ClientExchange,
    Event,
    HostExchange,
    RequestHead,
    ResponseHead,
    Trailer,
)
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.suites import HostKey, Suite
from sealmesh.wire.operations import Operation

ENDPOINT_ID = hashlib.sha256(b"endpoint").digest()
EPOCH_DIGEST = hashlib.sha256(b"epoch statement").digest()
NOW = 1_000.0
NOT_BEFORE = 900.0
NOT_AFTER = 1_200.0
HEAD = RequestHead(operation=Operation.CHAT_COMPLETIONS, headers=(("content-type", "application/json"),))
ANSWER_HEAD = ResponseHead(status=200, headers=(("content-type", "text/event-stream"),))
TRAILER = Trailer(prompt_tokens=7, completion_tokens=11, cached_tokens=3)
BODIES = (b'{"prompt":', f'"a secret question {MARKER}"}}'.encode())
ANSWERS = (b"data: a ", b"data: secret ", b"data: answer")


class Randomness:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: bytes = b"seed") -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(length)


def make_epoch(
    *suites: Suite, digest: bytes = EPOCH_DIGEST, not_before: float = NOT_BEFORE, not_after: float = NOT_AFTER
) -> EpochKeys:
    """Return fresh keys of an epoch."""
    keys = tuple(HostKey.generate(suite) for suite in suites or (Suite.X25519,))
    return EpochKeys(keys=keys, epoch_digest=digest, not_before=not_before, not_after=not_after)


def make_host(
    epoch: EpochKeys, *, endpoint_id: bytes = ENDPOINT_ID, keys: dict[int, bytes] | None = None
) -> VerifiedHost:
    """Return what a verifier would, had it verified that epoch."""
    return VerifiedHost(
        endpoint_id=endpoint_id,
        epoch=1,
        epoch_digest=epoch.epoch_digest,
        keys=dict(epoch.public) if keys is None else keys,
        not_before=epoch.not_before,
        not_after=epoch.not_after,
        expires=epoch.not_after,
        tier=Tier.SELF_ASSERTED,
        code_measured=False,
        operator_blind=OperatorBlind.NO,
        evidence_digest=hashlib.sha256(b"evidence").digest(),
        verified_at=epoch.not_before,
        factors=(),
        construction=verified._CONSTRUCTION,
    )


@dataclass
class Pair:
    """A client, a host, and the keys between them.

    `request` and `response` are the frames of a whole exchange, one list item for each call that made some.
    """

    suite: Suite = Suite.X25519
    head: RequestHead = HEAD
    bodies: Sequence[bytes] = BODIES
    answers: Sequence[bytes] = ANSWERS
    random: Callable[[int], bytes] = field(default_factory=Randomness)
    epoch: EpochKeys = field(init=False)
    ring: KeyRing = field(init=False)
    verified: VerifiedHost = field(init=False)
    client: ClientExchange = field(init=False)
    host: HostExchange = field(init=False)

    def __post_init__(self) -> None:
        self.epoch = make_epoch(self.suite)
        self.ring = KeyRing()
        self.ring.add(self.epoch)
        self.verified = make_host(self.epoch)
        self.client = self.new_client()
        self.host = self.new_host()

    def new_client(self) -> ClientExchange:
        """Return another client, which seals to the same host."""
        return ClientExchange(self.verified, suite=self.suite, now=NOW, random=self.random)

    def new_host(self) -> HostExchange:
        """Return another stream's end at the same host."""
        return HostExchange(self.ring, endpoint_id=ENDPOINT_ID, random=self.random)

    def request(self) -> list[bytes]:
        """Return a whole request, frame by frame; the first part is prefix, encapsulation, header and HEAD."""
        client = self.client
        return [
            client.send_head(self.head),
            *(client.send_body(body) for body in self.bodies),
            client.send_ping(),
            client.finish(),
        ]

    def response(self) -> list[bytes]:
        """Return a whole answer, frame by frame; the first part is the response's start and a PING."""
        host = self.host
        return [
            host.start(),
            host.send_head(ANSWER_HEAD),
            *(host.send_body(answer) for answer in self.answers),
            host.finish(TRAILER),
        ]

    def answered(self) -> list[bytes]:
        """Bring the request over, return the answer frame by frame."""
        self.host.receive_untrusted(b"".join(self.request()), NOW)
        return self.response()


@dataclass
class Outcome:
    """What one end made of some bytes: its events, and the error that ended it, if any."""

    events: list[Event]
    error: RemoteProtocolError | None

    @property
    def body(self) -> bytes:
        """All content that was released."""
        return b"".join(event.data for event in self.events if isinstance(event, BodyEvent))

    def has(self, kind: type) -> bool:
        """Whether an event of that kind was released."""
        return any(isinstance(event, kind) for event in self.events)


def feed_client(client: ClientExchange, pieces: Iterable[bytes], *, eof: bool = True) -> Outcome:
    """Hand pieces of a response to a client, then its end."""
    events: list[Event] = []
    try:
        for piece in pieces:
            events += client.receive_untrusted(piece)
        if eof:
            client.receive_eof_untrusted()
    except RemoteProtocolError as error:
        return Outcome(events, error)
    return Outcome(events, None)


def feed_host(host: HostExchange, pieces: Iterable[bytes], *, eof: bool = True, now: float = NOW) -> Outcome:
    """Hand pieces of a request to a host, then its end."""
    events: list[Event] = []
    try:
        for piece in pieces:
            events += host.receive_untrusted(piece, now)
        if eof:
            host.receive_eof_untrusted()
    except RemoteProtocolError as error:
        return Outcome(events, error)
    return Outcome(events, None)


def bytewise(data: bytes) -> list[bytes]:
    """Cut bytes into single ones."""
    return [data[i : i + 1] for i in range(len(data))]

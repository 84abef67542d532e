"""The asker's end of a sealed exchange."""

from __future__ import annotations

import abc
from typing import cast

from sealmesh.attestation.verified import VerifiedHost
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.limits import HTTP_BODY_MAX
from sealmesh.sealed.events import ClientEvent, Event, HeadEvent, RefusedEvent
from sealmesh.sealed.frames import ENDED, FINAL_PHASES, Direction, Kind, Phase
from sealmesh.sealed.machine import ANSWER, Exchange, check_nothing_follows_untrusted
from sealmesh.sealed.messages import (
    RequestHead,
    Trailer,
    encode_request_head,
    encode_trailer,
    parse_response_head_untrusted,
)
from sealmesh.sealed.refusal import REFUSAL_LENGTH, parse_refusal_untrusted
from sealmesh.sealed.stream import HEADER_LENGTH, FrameCutter, OpeningStream, SealingStream
from sealmesh.sealed.suites import (
    VERSION,
    ExchangeKeys,
    RandomBytes,
    Suite,
    best_suite,
    derive_keys,
    make_context,
    make_prefix,
    seal_secret,
)
from sealmesh.wire.framing import REFUSAL, StreamKind


def check_verified(host: object) -> None:
    """Only what the verifier made can be sealed to, by type and at run time [EX-15].

    Raises:
        LocalProtocolError: It is something else, a subclass included.
    """
    if type(host) is not VerifiedHost:
        raise LocalProtocolError("a request can be sealed to a verified host only")


def check_best_suite(host: VerifiedHost, suite: Suite) -> None:
    """Hold a sealing to the best suite that the host's signed statement names [EX-16].

    Raises:
        VerificationError: The suite is not in the statement, or a better one is.
    """
    best = best_suite(host.keys)
    if suite is not best:
        raise VerificationError("suite", "only the best suite is sealed with", expected=best.label, got=suite.label)


class SealedSecret:
    """A fresh secret, sealed to one key of one epoch of one host, for exactly one exchange [EX-18].

    It depends on nothing of the request, so it can be made before there is one.

    Args:
        host: To whom, as the verifier returned it.
        suite: How; it must be the best that the host's statement names.
        now: Unix seconds.
        random: Source of randomness, `os.urandom` outside tests.

    Raises:
        LocalProtocolError: `host` is not a VerifiedHost.
        VerificationError: Its verdict or epoch has ended, or the suite is not its best.
        RemoteProtocolError: Its key cannot be sealed to; the host is to be refused.
    """

    __slots__ = ("_encapsulation", "_keys", "_of", "_prefix")

    def __init__(self, host: VerifiedHost, *, suite: Suite, now: float, random: RandomBytes) -> None:
        check_sealable(host, suite, now)
        public = host.keys[suite]
        self._of = (suite, host.endpoint_id, host.epoch_digest)
        self._prefix = make_prefix(suite, public)
        context = make_context(self._prefix, host.endpoint_id, host.epoch_digest)
        secret, self._encapsulation = seal_secret(suite, public, context, random)
        self._keys: ExchangeKeys | None = derive_keys(secret, context, self._encapsulation)

    def is_for(self, host: VerifiedHost, suite: Suite) -> bool:
        """Whether it is sealed to that key of that epoch of that host, and was not used."""
        return self._keys is not None and self._of == (suite, host.endpoint_id, host.epoch_digest)

    def take(self) -> tuple[bytes, ExchangeKeys]:
        """Return what goes before the stream header, and the keys. Once: a second exchange would be a replay.

        Raises:
            LocalProtocolError: It was taken.
        """
        keys, self._keys = self._keys, None
        if keys is None:
            raise LocalProtocolError("a sealed secret serves one exchange")
        return self._prefix + self._encapsulation, keys

    def __repr__(self) -> str:
        return f"<SealedSecret {self._of[0].label} {'held' if self._keys else 'taken'}>"


def check_sealable(host: VerifiedHost, suite: Suite, now: float) -> None:
    """Hold a sealing to a verified host, in its time, by its best suite [EX-15, EX-16].

    Raises:
        LocalProtocolError: `host` is not a VerifiedHost.
        VerificationError: Its verdict or epoch has ended, or the suite is not its best.
    """
    check_verified(host)
    host.check_fresh(now)
    check_best_suite(host, suite)


class AskingEnd(Exchange):
    """The asker's end, sealed or not: one request out, one answer in.

    Args:
        random: Source of randomness.
        cutter: Cuts what comes into frames; the default takes sealed ones.

    Attributes:
        exchange_id: Names the exchange, 16 bytes; not secret.
    """

    _OWN = Direction.REQUEST
    _THEIRS = Direction.RESPONSE

    exchange_id: bytes

    def __init__(self, random: RandomBytes, *, cutter: FrameCutter | None = None) -> None:
        super().__init__(random, cutter=cutter)
        self._refused = False
        self._body_sent = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come or to be sent: an end, an error, a refusal or a failure."""
        return self._phases[Direction.RESPONSE] in ENDED or self._phases[Direction.REQUEST] in (
            Phase.ABORTED,
            Phase.FAILED,
        )

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived and its end has authenticated."""
        return self._phases[Direction.RESPONSE] is Phase.COMPLETE

    def send_head(self, head: RequestHead) -> bytes:
        """Return the first bytes of the stream: prefix, encapsulation, stream header and HEAD.

        Raises:
            LocalProtocolError: It was sent, or the head is not well formed.
        """
        return self._send(Kind.HEAD, encode_request_head(head))

    def finish(self) -> bytes:
        """Return the frame that ends the request: the host acts on it only now.

        Raises:
            LocalProtocolError: There was no HEAD, or the request has ended.
        """
        return self._send(Kind.TRAILER, encode_trailer(Trailer()))

    def receive_untrusted(self, data: bytes) -> list[ClientEvent]:
        """Take in bytes of the response and return what they say.

        Args:
            data: Any cut of the stream.

        Raises:
            RemoteProtocolError: Something is wrong with it. Nothing of `data` is released, and the exchange has
                failed for good: each later call raises the same.
        """
        if self._failure is not None:
            raise self._failure
        events: list[Event] = []
        try:
            self._cutter.feed(data)
            if self._refused or self._phases[Direction.RESPONSE] in ENDED:
                check_nothing_follows_untrusted(self._cutter.held)
                return []
            if self._opening is None:
                self._open_answer_untrusted(events)
            if self._opening is not None:
                self._open_frames_untrusted(self._opening, events)
        except RemoteProtocolError as error:
            self._fail(error)
        return cast("list[ClientEvent]", events)  # nothing else is made at this end

    def receive_eof_untrusted(self) -> None:
        """The response's stream has ended.

        Raises:
            RemoteProtocolError: It did so before an authenticated end or a refusal [EX-28].
        """
        if self._failure is not None:
            raise self._failure
        if self._refused or self._phases[Direction.RESPONSE] in FINAL_PHASES:
            return
        self._fail(RemoteProtocolError("the response ended without its authenticated end"))

    def _open_answer_untrusted(self, events: list[Event]) -> None:
        """Read what comes before the first frame. A refusal is possible here and nowhere else [EX-47]."""
        first = self._cutter.peek()
        if first is None:
            return
        if first == REFUSAL:
            self._read_refusal_untrusted(events)
            return
        self._start_reading_untrusted(first)

    @abc.abstractmethod
    def _start_reading_untrusted(self, first: int) -> None:
        """Read what comes before the first frame of the answer."""

    def _read_refusal_untrusted(self, events: list[Event]) -> None:
        refusal = self._cutter.take(REFUSAL_LENGTH)
        if refusal is None:
            return
        check_nothing_follows_untrusted(self._cutter.held)
        code = parse_refusal_untrusted(refusal)
        self._refused = True
        self.wipe()
        events.append(RefusedEvent(code=code))

    def _accept_head_untrusted(self, content: memoryview, events: list[Event]) -> None:
        events.append(HeadEvent(head=parse_response_head_untrusted(content)))

    def _count_sent(self, length: int) -> None:
        if self._body_sent + length > HTTP_BODY_MAX:
            raise LocalProtocolError("the request's body is longer than a host takes")
        self._body_sent += length


class ClientExchange(AskingEnd):
    """The asker's end. The secret is sealed when this is made, if it was not before.

    Args:
        host: To whom, as the verifier returned it.
        suite: How; it must be the best that the host's statement names.
        now: Unix seconds.
        random: Source of randomness, `os.urandom` outside tests.
        kind_sent: The stream's kind byte has gone out already, so the first bytes returned leave it out.
        ahead: A secret that was sealed before; used, and used up, if it is for this key of this host.

    Attributes:
        exchange_id: Names the exchange on both sides, 16 bytes; not secret.
        suite: How it was sealed.
        exporter: 32 bytes for later bindings to this exchange; secret.

    Raises:
        LocalProtocolError: `host` is not a VerifiedHost.
        VerificationError: Its verdict or epoch has ended, or the suite is not its best.
        RemoteProtocolError: Its key cannot be sealed to; the host is to be refused.
    """

    def __init__(
        self,
        host: VerifiedHost,
        *,
        suite: Suite,
        now: float,
        random: RandomBytes,
        kind_sent: bool = False,
        ahead: SealedSecret | None = None,
    ) -> None:
        super().__init__(random)
        check_sealable(host, suite, now)
        if ahead is None or not ahead.is_for(host, suite):
            ahead = SealedSecret(host, suite=suite, now=now, random=random)
        start, keys = ahead.take()
        self.suite = suite
        self.exchange_id = keys.exchange_id
        self.exporter = keys.exporter
        self._response_key = keys.response
        sealing = SealingStream(Direction.REQUEST, keys.request, random)
        self._sealing = sealing
        self._preamble = (start + sealing.header)[1 if kind_sent else 0 :]

    def wipe(self) -> None:
        """Destroy this exchange's keys: call it on every way out. Ends the exchange; a second call does nothing."""
        super().wipe()
        self._response_key = b""

    def _start_reading_untrusted(self, first: int) -> None:
        if first != StreamKind.SEALED:
            raise RemoteProtocolError("the response begins with an unknown byte")
        start = self._cutter.take(len(ANSWER) + HEADER_LENGTH)
        if start is None:
            return
        if start[1] != VERSION:
            raise RemoteProtocolError("the response is of another version")
        self._opening = OpeningStream(Direction.RESPONSE, self._response_key, start[len(ANSWER) :])
        self._response_key = b""

"""The host's end of a sealed exchange."""

from __future__ import annotations

import abc
from typing import cast

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import HTTP_BODY_MAX
from sealmesh.sealed.events import Event, HeadEvent, HostEvent, Opened
from sealmesh.sealed.frames import ENDED, FINAL_PHASES, Direction, Kind, Phase
from sealmesh.sealed.keyring import HeldKey, KeyRing
from sealmesh.sealed.machine import ANSWER, Exchange, check_nothing_follows_untrusted
from sealmesh.sealed.messages import (
    ResponseHead,
    SealedError,
    Trailer,
    UnacceptableRequestError,
    encode_response_head,
    encode_trailer,
    parse_request_head_untrusted,
)
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.sealed.replay import Insertion, ReplayTags
from sealmesh.sealed.stream import HEADER_LENGTH, FrameCutter, OpeningStream, SealingStream
from sealmesh.sealed.suites import (
    PREFIX_LAYOUT,
    PREFIX_LENGTH,
    SUITE_ENCAPSULATION_LENGTH,
    VERSION,
    RandomBytes,
    Suite,
    derive_keys,
    make_context,
    replay_tag,
)
from sealmesh.wire.framing import StreamKind


class AnsweringEnd(Exchange):
    """The host's end, sealed or not: one request in, one answer out.

    Args:
        random: Source of randomness.
        cutter: Cuts what comes into frames; the default takes sealed ones.

    Attributes:
        refusal: After a RemoteProtocolError: the last bytes that may be written before the stream is finished
            (`0xE0`, or an ERROR for what an authentic asker did wrong). None: reset the stream.
    """

    _OWN = Direction.RESPONSE
    _THEIRS = Direction.REQUEST

    def __init__(self, random: RandomBytes, *, cutter: FrameCutter | None = None) -> None:
        super().__init__(random, cutter=cutter)
        self._body_received = 0
        self.refusal: bytes | None = None

    @property
    def opened(self) -> bool:
        """Whether the request's HEAD has authenticated and was no replay."""
        return self._sealing is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be sent: the answer ended, the asker gave up, or something failed."""
        return self._phases[Direction.RESPONSE] in ENDED or self._phases[Direction.REQUEST] in (
            Phase.ABORTED,
            Phase.FAILED,
        )

    def start(self) -> bytes:
        """Return the first bytes of the response, a PING: to be sent as soon as `Opened` was reported.

        Raises:
            LocalProtocolError: The request's HEAD has not authenticated, or something was sent before.
        """
        if not self._preamble:
            raise LocalProtocolError("the response cannot start now")
        return self.send_ping()

    def send_head(self, head: ResponseHead) -> bytes:
        """Return the response's HEAD; possible once the request is whole.

        Raises:
            LocalProtocolError: It is too early or too late, or the head is not well formed.
        """
        return self._send(Kind.HEAD, encode_response_head(head))

    def finish(self, trailer: Trailer) -> bytes:
        """Return the frame that ends the answer.

        Raises:
            LocalProtocolError: There was no HEAD, or the answer has ended.
        """
        return self._send(Kind.TRAILER, encode_trailer(trailer))

    def receive_untrusted(self, data: bytes, now: float) -> list[HostEvent]:
        """Take in bytes of the request and return what they say.

        What arrives after this side's own end is thrown away: the asker may not have read it yet.

        Args:
            data: Any cut of the stream.
            now: Unix seconds.

        Raises:
            RemoteProtocolError: Something is wrong with it. Nothing of `data` is released, `refusal` says what may
                still be written, and each later call raises the same.
        """
        if self._failure is not None:
            raise self._failure
        if self._phases[Direction.RESPONSE] in ENDED and self._phases[Direction.REQUEST] not in FINAL_PHASES:
            return []
        events: list[Event] = []
        try:
            self._cutter.feed(data)
            if self._phases[Direction.REQUEST] in ENDED:
                check_nothing_follows_untrusted(self._cutter.held)
                return []
            if self._opening is None:
                self._open_request_untrusted(now)
            if self._opening is not None:
                self._open_frames_untrusted(self._opening, events)
        except UnacceptableRequestError as error:
            if not self.ended:
                self.refusal = self.send_error(error.error)  # [EX-32]
            self._fail(error)
        except RemoteProtocolError as error:
            if not self.opened and error.code:
                self.refusal = encode_refusal(error.code)
            else:
                error.code = 0  # no refusal is possible any more; the stream is reset
            self._fail(error)
        return cast("list[HostEvent]", events)  # nothing else is made at this end

    def receive_eof_untrusted(self) -> None:
        """The request's stream has ended.

        Raises:
            RemoteProtocolError: It did so before an authenticated end, and before the answer's own [EX-28].
        """
        if self._failure is not None:
            raise self._failure
        if self._phases[Direction.REQUEST] in FINAL_PHASES or self._phases[Direction.RESPONSE] in FINAL_PHASES:
            return
        self._fail(RemoteProtocolError("the request ended without its authenticated end"))

    @abc.abstractmethod
    def _open_request_untrusted(self, now: float) -> None:
        """Read what comes before the first frame of the request."""

    def _count_received_untrusted(self, length: int) -> None:
        """Bound the request's body [EX-38]."""
        self._body_received += length
        if self._body_received > HTTP_BODY_MAX:
            raise UnacceptableRequestError(
                SealedError(status=413, code="body_too_large", message="The request's body is too long.")
            )


class HostExchange(AnsweringEnd):
    """The host's end. It learns which key, suite and asker's secret it is about from the stream itself.

    Args:
        keyring: The keys that may be opened with.
        endpoint_id: This host's own Ed25519 public key, 32 bytes.
        random: Source of randomness, `os.urandom` outside tests.
        kind_read: The stream's kind byte was taken off before, so the first bytes fed lack it.

    Attributes:
        exchange_id: Names the exchange on both sides, 16 bytes; b"" before `Opened`.
        suite: How it was sealed; None before the encapsulation was opened.
        exporter: 32 bytes for later bindings to this exchange; secret; b"" before `Opened`.
    """

    def __init__(self, keyring: KeyRing, *, endpoint_id: bytes, random: RandomBytes, kind_read: bool = False) -> None:
        super().__init__(random)
        self._keyring = keyring
        self._endpoint_id = endpoint_id
        self._prefix = b""
        self._held: HeldKey | None = None
        self._encapsulation_length = 0
        self._tags: ReplayTags | None = None
        self._tag = b""
        self._response_key = b""
        self._pending_id = b""
        self._pending_exporter = b""
        self._request_key = b""
        self.exchange_id = b""
        self.exporter = b""
        self.suite: Suite | None = None
        if kind_read:
            self._cutter.feed(bytes([StreamKind.SEALED]))

    def wipe(self) -> None:
        """Destroy this exchange's keys: call it on every way out. Ends the exchange; a second call does nothing."""
        super().wipe()
        self._held = None
        self._response_key = self._request_key = b""

    def _open_request_untrusted(self, now: float) -> None:
        """Read what comes before the first frame, in the numbered order of docs/spec/exchange.md, "Opening"."""
        if not self._prefix and not self._find_key_untrusted(now):
            return
        if self._held is not None and not self._open_secret_untrusted(self._held):
            return
        header = self._cutter.take(HEADER_LENGTH)
        if header is None:
            return
        self._opening = OpeningStream(Direction.REQUEST, self._request_key, header)
        self._request_key = b""

    def _find_key_untrusted(self, now: float) -> bool:
        """Judge the prefix before anything of what follows it is held [EX-06]."""
        prefix = self._cutter.take(PREFIX_LENGTH)
        if prefix is None:
            return False
        kind, version, suite, hint, length = PREFIX_LAYOUT.unpack(prefix)
        if kind != StreamKind.SEALED:
            raise RemoteProtocolError("the stream is of another kind", code=Refusal.MALFORMED)
        if version != VERSION or suite not in Suite._value2member_map_:
            raise RemoteProtocolError("the version or suite is not known", code=Refusal.UNSUPPORTED)  # [EX-03]
        self.suite = Suite(suite)
        if length != SUITE_ENCAPSULATION_LENGTH[self.suite]:
            raise RemoteProtocolError("the encapsulation has a wrong length", code=Refusal.MALFORMED)  # [EX-04]
        held = self._keyring.find(hint, suite, now)
        if held is None:
            raise RemoteProtocolError("no key is held for this hint", code=Refusal.UNKNOWN_KEY)  # [EX-05]
        self._prefix = prefix
        self._held = held
        self._encapsulation_length = length
        return True

    def _open_secret_untrusted(self, held: HeldKey) -> bool:
        encapsulation = self._cutter.take(self._encapsulation_length)
        if encapsulation is None:
            return False
        # Host and statement out of this side's own state, never from the stream [EX-09].
        context = make_context(self._prefix, self._endpoint_id, held.epoch_digest)
        secret = held.key.open_untrusted(encapsulation, context)
        keys = derive_keys(secret, context, encapsulation)
        self._tags = held.tags
        self._tag = replay_tag(secret)
        self._request_key = keys.request
        self._response_key = keys.response
        self._pending_id = keys.exchange_id
        self._pending_exporter = keys.exporter
        self._held = None  # the key was needed once; a running exchange outlives its epoch [EX-53]
        return True

    def _accept_head_untrusted(self, content: memoryview, events: list[Event]) -> None:
        self._check_replay_untrusted()  # first of all that an authenticated HEAD brings about [EX-41]
        assert self.suite is not None  # noqa: S101 - the prefix was read
        self.exchange_id = self._pending_id
        self.exporter = self._pending_exporter
        self._sealing = SealingStream(Direction.RESPONSE, self._response_key, self._random)
        self._preamble = ANSWER + self._sealing.header
        self._response_key = b""
        head = parse_request_head_untrusted(content)
        self._padding = head.padding
        events.append(Opened(exchange_id=self.exchange_id, suite=self.suite))
        events.append(HeadEvent(head=head))

    def _check_replay_untrusted(self) -> None:
        """Refuse a request that this key has seen, or that it can no longer tell from one.

        Raises:
            RemoteProtocolError: With code 4, 3 or 1.
        """
        assert self._tags is not None  # noqa: S101 - set when the secret was opened
        match self._tags.insert(self._tag):
            case Insertion.NEW:
                return
            case Insertion.SEEN:
                raise RemoteProtocolError("the request was seen before", code=Refusal.REPLAYED)
            case Insertion.FULL:
                raise RemoteProtocolError("the key has opened as many requests as it may", code=Refusal.BUSY)
            case Insertion.CLOSED:
                raise RemoteProtocolError("the key is not held any more", code=Refusal.UNKNOWN_KEY)

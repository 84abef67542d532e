"""What both ends of an exchange share: two directions, one sealed by this side and one opened.

The moves are the table in `frames`. An illegal call raises LocalProtocolError and changes nothing. Whatever the other
side does wrong raises RemoteProtocolError and ends the exchange for good. Rules in brackets are those of
docs/spec/exchange.md.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Final, NoReturn, assert_never

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.sealed.clear import BareReader, BareWriter
from sealmesh.sealed.events import BodyEvent, EndEvent, ErrorEvent, Event, PingEvent
from sealmesh.sealed.frames import (
    ENDED,
    FINAL_PHASES,
    Direction,
    Kind,
    Phase,
    content_room,
    decode_frame_untrusted,
    encode_frame,
    next_phase,
)
from sealmesh.sealed.messages import (
    Load,
    SealedError,
    encode_error,
    encode_load,
    load_of_ping_untrusted,
    parse_error_untrusted,
    parse_trailer_untrusted,
)
from sealmesh.sealed.stream import FrameCutter, OpeningStream, SealingStream
from sealmesh.sealed.suites import VERSION, RandomBytes
from sealmesh.wire.framing import StreamKind

#: What a response begins with, before its stream header [EX-44].
ANSWER: Final = bytes([StreamKind.SEALED, VERSION])


def check_final_untrusted(phase: Phase, final: bool) -> None:
    """Hold FINAL to exactly the frames that end a direction [EX-25].

    Raises:
        RemoteProtocolError: A frame that ends nothing carries it, or one that ends does not.
    """
    if final is not (phase in FINAL_PHASES):
        raise RemoteProtocolError("FINAL is not where the end is", code=2)


def check_nothing_follows_untrusted(held: int) -> None:
    """Nothing comes after FINAL [EX-26].

    Args:
        held: How many bytes have arrived beyond it.

    Raises:
        RemoteProtocolError: Something has.
    """
    if held:
        raise RemoteProtocolError("bytes follow the end", code=2)


class Exchange(abc.ABC):
    """What both ends share: two directions, one written by us and one read.

    Args:
        random: Source of randomness.
        cutter: Cuts what comes into frames; the default takes sealed ones.
    """

    _OWN: Direction
    _THEIRS: Direction

    def __init__(self, random: RandomBytes, *, cutter: FrameCutter | None = None) -> None:
        self._random = random
        self._phases = {Direction.REQUEST: Phase.START, Direction.RESPONSE: Phase.START}
        self._cutter = cutter or FrameCutter()
        self._sealing: SealingStream | BareWriter | None = None
        self._opening: OpeningStream | BareReader | None = None
        self._preamble = b""
        self._padding = 0
        self._failure: RemoteProtocolError | None = None
        #: How many frames of the other side have authenticated; a driver's liveness timer compares it.
        self.heard = 0

    # --- what is sent ---------------------------------------------------------------------------------------------

    def send_ping(self, load: Load | None = None) -> bytes:
        """Return a frame that says only that this side is there, and as a host how much it has to do.

        Raises:
            LocalProtocolError: This direction has ended, or cannot begin yet.
        """
        return self._send(Kind.PING, b"" if load is None else encode_load(load))

    def send_body(self, data: bytes | memoryview) -> bytes:
        """Return BODY frames with all of `data`; `b""` for none.

        Raises:
            LocalProtocolError: A BODY is not allowed now, or the request's body becomes longer than a host takes.
        """
        if len(data) <= content_room(self._padding):
            if data:
                self._count_sent(len(data))
                return self._send(Kind.BODY, data)
            self._allowed(Kind.BODY)
            return b""
        return b"".join(self.body_frames(data))

    def body_frames(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Yield BODY frames with all of `data`, one at a time, for bodies too large to hold twice.

        Raises:
            LocalProtocolError: As `send_body`, at the first step.
        """
        self._allowed(Kind.BODY)
        self._count_sent(len(data))
        room = content_room(self._padding)
        with memoryview(data) as view:
            for start in range(0, len(view), room):
                yield self._send(Kind.BODY, view[start : start + room])

    def send_error(self, error: SealedError) -> bytes:
        """Return the frame that ends this direction with an error.

        Raises:
            LocalProtocolError: This direction has ended or cannot begin yet, or the error is not well formed.
        """
        return self._send(Kind.ERROR, encode_error(error))

    def wipe(self) -> None:
        """Destroy this exchange's keys: call it on every way out. Ends the exchange; a second call does nothing."""
        for direction, phase in self._phases.items():
            if phase not in ENDED:
                self._phases[direction] = Phase.FAILED
        if self._sealing is not None:
            self._sealing.wipe()
        if self._opening is not None:
            self._opening.wipe()
        self._cutter.clear()

    def _allowed(self, kind: Kind) -> Phase:
        phases = self._phases
        phase = next_phase(self._OWN, phases[self._OWN], kind, request=phases[Direction.REQUEST])
        if phase is None or self._sealing is None or phases[self._THEIRS] is Phase.ABORTED:
            raise LocalProtocolError(f"{kind.name} is not allowed now")
        return phase

    def _send(self, kind: Kind, content: bytes | memoryview) -> bytes:
        phase = self._allowed(kind)
        plain = encode_frame(kind, content, padding=self._padding)
        assert self._sealing is not None  # noqa: S101 - `_allowed` has looked
        frame = self._sealing.seal(plain, final=phase in FINAL_PHASES)
        self._phases[self._OWN] = phase
        if self._preamble:
            frame = self._preamble + frame
            self._preamble = b""
        return frame

    def _count_sent(self, length: int) -> None:
        """Only a request's body is bounded."""
        del length

    # --- what is received -----------------------------------------------------------------------------------------

    def _open_frames_untrusted(self, opening: OpeningStream | BareReader, events: list[Event]) -> None:
        """Open every whole frame that has arrived. Events are kept only if all of them are right."""
        phases = self._phases
        bodies: list[memoryview] = []
        while (sealed := self._cutter.next_frame_untrusted()) is not None:
            plain, final = opening.open_untrusted(sealed)
            kind, content = decode_frame_untrusted(plain)
            phase = next_phase(self._THEIRS, phases[self._THEIRS], kind, request=phases[Direction.REQUEST])
            if phase is None:
                raise RemoteProtocolError("a frame is not allowed where it came", code=2)
            check_final_untrusted(phase, final)
            if kind == Kind.BODY:
                self._count_received_untrusted(len(content))
                if content:
                    bodies.append(content)
            else:
                _flush(bodies, events)
                self._accept_untrusted(Kind(kind), content, events)
            phases[self._THEIRS] = phase
            self.heard += 1
            if final:
                check_nothing_follows_untrusted(self._cutter.held)
                break
        _flush(bodies, events)

    def _accept_untrusted(self, kind: Kind, content: memoryview, events: list[Event]) -> None:
        match kind:
            case Kind.HEAD:
                self._accept_head_untrusted(content, events)
            case Kind.PING:
                if events and isinstance(events[-1], PingEvent):
                    events.pop()
                events.append(PingEvent(load=load_of_ping_untrusted(content)))
            case Kind.ERROR:
                events.append(ErrorEvent(error=parse_error_untrusted(content)))
            case Kind.TRAILER:
                events.append(EndEvent(trailer=parse_trailer_untrusted(content)))
            case Kind.BODY | Kind.RECEIPT:
                raise RemoteProtocolError("a frame is not allowed where it came", code=2)
            case _:
                assert_never(kind)

    @abc.abstractmethod
    def _accept_head_untrusted(self, content: memoryview, events: list[Event]) -> None:
        """Take the other side's HEAD, which has authenticated."""

    def _count_received_untrusted(self, length: int) -> None:
        """Only a request's body is bounded: a response streams through."""
        del length

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        """The first failure is the end of everything [EX-20]."""
        self._failure = error
        self._phases[self._THEIRS] = Phase.FAILED  # also where the end had opened, but something followed it
        self.wipe()
        raise error

    def __repr__(self) -> str:
        request, response = (phase.value for phase in self._phases.values())
        return f"<{type(self).__name__} request={request} response={response}>"


def _flush(bodies: list[memoryview], events: list[Event]) -> None:
    if bodies:
        events.append(BodyEvent(data=bytes(bodies[0]) if len(bodies) == 1 else b"".join(bodies)))
        bodies.clear()

"""What an exchange reports to its driver: frozen, and silent about content in `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sealmesh.sealed.messages import Load, RequestHead, ResponseHead, SealedError, Trailer
from sealmesh.sealed.refusal import Refusal
from sealmesh.sealed.suites import Suite

_HeadT = TypeVar("_HeadT", RequestHead, ResponseHead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Host: a request's HEAD has authenticated and is no replay. From now on some frame goes out each second.

    Attributes:
        exchange_id: Names the exchange on both sides, 16 bytes; b"" where it is not sealed.
        suite: How it was sealed; None where it is not.
    """

    exchange_id: bytes
    suite: Suite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEvent(Generic[_HeadT]):
    """The other side's HEAD: a RequestHead at the host, a ResponseHead at the client."""

    head: _HeadT


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEvent:
    """Content of one or more BODY frames that arrived together, at least one byte.

    At the host these bytes are authentic but incomplete: nothing may be done with them before `EndEvent` [EX-38].
    """

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingEvent:
    """The other side is there. Several that arrive together are reported once.

    Attributes:
        load: How much a host says that it has to do; None where it says nothing.
    """

    load: Load | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """The other side ended with an ERROR; no more events follow."""

    error: SealedError


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent:
    """The other side ended well: everything before it is whole. No more events follow."""

    trailer: Trailer


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """Client: an unauthenticated refusal, which anyone on the path can forge. A hint, never a reason for plaintext.

    Attributes:
        code: What the host, or somebody, gave as the reason.
    """

    code: Refusal


ClientEvent = HeadEvent[ResponseHead] | BodyEvent | PingEvent | ErrorEvent | EndEvent | RefusedEvent
HostEvent = Opened | HeadEvent[RequestHead] | BodyEvent | PingEvent | ErrorEvent | EndEvent
Event = ClientEvent | HostEvent

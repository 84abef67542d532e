"""One sealed request and its answer: bytes, time and randomness in; events and bytes out.

The public face of the room. `ClientExchange` and `HostExchange` are two ends of one machine; what one sends is what the
other reports.
"""

from sealmesh.sealed.answering import HostExchange
from sealmesh.sealed.asking import ClientExchange, SealedSecret
from sealmesh.sealed.events import (
    BodyEvent,
    ClientEvent,
    EndEvent,
    ErrorEvent,
    Event,
    HeadEvent,
    HostEvent,
    Opened,
    PingEvent,
    RefusedEvent,
)
from sealmesh.sealed.messages import Load, RequestHead, ResponseHead, SealedError, Trailer
from sealmesh.sealed.refusal import Refusal, encode_refusal

__all__ = [
    "BodyEvent",
    "ClientEvent",
    "ClientExchange",
    "EndEvent",
    "ErrorEvent",
    "Event",
    "HeadEvent",
    "HostEvent",
    "HostExchange",
    "Load",
    "Opened",
    "PingEvent",
    "Refusal",
    "RefusedEvent",
    "RequestHead",
    "ResponseHead",
    "SealedError",
    "SealedSecret",
    "Trailer",
    "encode_refusal",
]

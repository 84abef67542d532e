"""`0xE0`: what a host may say instead of an answer, before anything authenticated could be said."""

from __future__ import annotations

import enum
import struct
from typing import Final

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.sealed.suites import VERSION
from sealmesh.wire.framing import REFUSAL

_LAYOUT: Final = struct.Struct(">BBH")
REFUSAL_LENGTH: Final = _LAYOUT.size


class Refusal(enum.IntEnum):
    """Codes of `0xE0`. The client takes them for hints, since anyone on the path can write one [EX-46]."""

    UNKNOWN_KEY = 1
    MALFORMED = 2
    BUSY = 3
    REPLAYED = 4
    UNSUPPORTED = 5


def encode_refusal(code: int) -> bytes:
    """Return `0xE0 | version | u16 code`, which goes instead of a response [EX-45].

    Raises:
        LocalProtocolError: There is no such code.
    """
    if code not in Refusal._value2member_map_:
        raise LocalProtocolError("there is no such refusal")
    return _LAYOUT.pack(REFUSAL, VERSION, code)


def parse_refusal_untrusted(data: bytes) -> Refusal:
    """Parse the four bytes of a refusal.

    Raises:
        RemoteProtocolError: They are none.
    """
    if len(data) != REFUSAL_LENGTH:
        raise RemoteProtocolError("the refusal is malformed")
    kind, version, code = _LAYOUT.unpack(data)
    if kind != REFUSAL or version != VERSION or code not in Refusal._value2member_map_:
        raise RemoteProtocolError("the refusal is malformed")
    return Refusal(code)

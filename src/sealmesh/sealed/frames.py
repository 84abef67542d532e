"""Frames: what one secretstream message holds, and which kind may come when.

A frame's plaintext is `u8 kind | u32 n | content | zeros`, never compressed [EX-39]; on the wire a frame is
`u32 n | ciphertext`. The table of moves below is the only place that says which frame is allowed in which phase
(docs/spec/exchange.md, "Frames").
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import FRAME_MAX

#: Bytes that secretstream adds to a plaintext: one for the tag, sixteen that authenticate.
SEAL_OVERHEAD: Final = 17
FRAME_HEAD_LENGTH: Final = 5
#: Longest plaintext of a frame, and longest content.
PLAINTEXT_MAX: Final = FRAME_MAX - SEAL_OVERHEAD
CONTENT_MAX: Final = PLAINTEXT_MAX - FRAME_HEAD_LENGTH

_HEAD: Final = struct.Struct(">BI")


class Kind(enum.IntEnum):
    """What a frame is."""

    HEAD = 1
    BODY = 2
    TRAILER = 3
    PING = 4
    ERROR = 5
    RECEIPT = 6  # reserved: no move leads to it in version 1


class Direction(enum.Enum):
    """Who sends: the request flows from client to host, the response back."""

    REQUEST = "request"
    RESPONSE = "response"


class Phase(enum.Enum):
    """How far one direction of an exchange has come."""

    START = "start"  # HEAD has not been sent
    BODY = "body"  # HEAD has, the end has not
    COMPLETE = "complete"  # TRAILER with FINAL
    ABORTED = "aborted"  # ERROR with FINAL
    FAILED = "failed"  # something that is not in the table happened; for good


#: (phase, kind) → next phase, the same for both directions [EX-30]. What is not here is not allowed. A frame whose
#: move leads to COMPLETE or ABORTED carries FINAL, and no other frame does [EX-25].
MOVES: Final[dict[tuple[Phase, int], Phase]] = {
    (Phase.START, Kind.HEAD): Phase.BODY,
    (Phase.START, Kind.PING): Phase.START,
    (Phase.START, Kind.ERROR): Phase.ABORTED,
    (Phase.BODY, Kind.BODY): Phase.BODY,
    (Phase.BODY, Kind.PING): Phase.BODY,
    (Phase.BODY, Kind.TRAILER): Phase.COMPLETE,
    (Phase.BODY, Kind.ERROR): Phase.ABORTED,
}

#: Kinds that a response may only hold once the request is complete: before that the host knows too little [EX-31].
NEEDS_WHOLE_REQUEST: Final = frozenset({Kind.HEAD})

ENDED: Final = frozenset({Phase.COMPLETE, Phase.ABORTED, Phase.FAILED})
FINAL_PHASES: Final = frozenset({Phase.COMPLETE, Phase.ABORTED})


def next_phase(direction: Direction, phase: Phase, kind: int, *, request: Phase) -> Phase | None:
    """Return the phase after a frame, or None where the frame is not allowed.

    Args:
        direction: Whose frame it is.
        phase: That direction's phase.
        kind: The frame's kind, any integer.
        request: The phase of the request, which bounds what a response may hold.
    """
    if direction is Direction.RESPONSE and kind in NEEDS_WHOLE_REQUEST and request is not Phase.COMPLETE:
        return None
    return MOVES.get((phase, kind))


def encode_frame(kind: Kind, content: bytes | memoryview, *, padding: int = 0) -> bytes:
    """Return a frame's plaintext.

    Args:
        kind: What it is.
        content: At most `CONTENT_MAX` bytes.
        padding: Content and zeros together become a multiple of this many bytes, at least one multiple, so that a
            PING looks like a short BODY [EX-29]; 0 adds none.

    Raises:
        LocalProtocolError: The frame would be too long.
    """
    length = len(content)
    zeros = (-length % padding or (padding if not length else 0)) if padding else 0
    if length + zeros > CONTENT_MAX:
        raise LocalProtocolError("a frame would be longer than the limit")
    if zeros:
        return b"".join((_HEAD.pack(kind, length), content, bytes(zeros)))
    return _HEAD.pack(kind, length) + content


def content_room(padding: int) -> int:
    """Return how many bytes of content fit one frame when padded so."""
    return CONTENT_MAX // padding * padding if padding else CONTENT_MAX


def decode_frame_untrusted(plain: bytes) -> tuple[int, memoryview]:
    """Take a frame's plaintext apart.

    Args:
        plain: As it was opened.

    Returns:
        Its kind (any integer of one byte) and its content.

    Raises:
        RemoteProtocolError: It is too short for its own length, or its padding is not zeros.
    """
    if len(plain) < FRAME_HEAD_LENGTH:
        raise RemoteProtocolError("a frame is too short", code=2)
    kind, length = _HEAD.unpack_from(plain)
    end = FRAME_HEAD_LENGTH + length
    if end > len(plain):
        raise RemoteProtocolError("a frame's content is longer than the frame", code=2)
    if end < len(plain):
        check_padding_untrusted(plain, end)
    return kind, memoryview(plain)[FRAME_HEAD_LENGTH:end]


def check_padding_untrusted(plain: bytes, start: int) -> None:
    """Hold the bytes from `start` on to zero [EX-27]. Looks at all of them, wherever the first other one is.

    Raises:
        RemoteProtocolError: One of them is not.
    """
    if plain.count(0, start) != len(plain) - start:
        raise RemoteProtocolError("a frame's padding is not zeros", code=2)

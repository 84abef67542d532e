"""Frames in the clear: what stands in the place of both secretstreams where nothing is sealed."""

from __future__ import annotations

import struct
from typing import Final

from sealmesh.errors import LocalProtocolError
from sealmesh.sealed.frames import Kind

#: Kinds that end a direction, in the place of FINAL [PL-10].
_LAST: Final = frozenset({Kind.TRAILER, Kind.ERROR})
_pack_length = struct.Struct(">I").pack


class BareWriter:
    """Writes frames as they are."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent = False

    def seal(self, plain: bytes, *, final: bool = False) -> bytes:
        """Return the frame for the wire, `u32 n | plaintext`.

        Raises:
            LocalProtocolError: The last frame has gone out.
        """
        if self._spent:
            raise LocalProtocolError("the plain stream has ended")
        self._spent = final
        return _pack_length(len(plain)) + plain

    def wipe(self) -> None:
        """Write no more."""
        self._spent = True


class BareReader:
    """Reads frames as they are."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent = False

    def open_untrusted(self, sealed: bytes) -> tuple[bytes, bool]:
        """Return a frame's plaintext, and whether its kind is one that ends.

        Raises:
            LocalProtocolError: The last frame has come, or the exchange has failed.
        """
        if self._spent:
            raise LocalProtocolError("the plain stream has ended")
        self._spent = sealed[0] in _LAST
        return sealed, self._spent

    def wipe(self) -> None:
        """Read no more."""
        self._spent = True

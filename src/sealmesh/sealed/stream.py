"""libsodium's secretstream, held to the strict use that docs/spec/exchange.md asks for.

By itself it takes frames after FINAL, any tag, a next frame after a failed one, and encrypts under zeros once its
state is zeroed. Here only MESSAGE and FINAL exist, the end is the end, and the first failure is the last call.
"""

from __future__ import annotations

import struct
from typing import Final

from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)
from nacl.exceptions import CryptoError

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.hardening.memory import overwrite
from sealmesh.limits import FRAME_MAX
from sealmesh.sealed.frames import PLAINTEXT_MAX, SEAL_OVERHEAD, Direction
from sealmesh.sealed.suites import RandomBytes

HEADER_LENGTH: Final = crypto_secretstream_xchacha20poly1305_HEADERBYTES
TAG_MESSAGE: Final = 0
TAG_FINAL: Final = 3
LENGTH_PREFIX: Final = 4

#: Bound to every frame, so that no frame of one direction opens in the other [EX-22].
_ADDITIONAL_DATA: Final = {Direction.REQUEST: b"sealmesh/1 request", Direction.RESPONSE: b"sealmesh/1 response"}
_U32: Final = struct.Struct(">I")

_pull = crypto_secretstream_xchacha20poly1305_pull
_push = crypto_secretstream_xchacha20poly1305_push
_pack_length = _U32.pack
_unpack_length = _U32.unpack_from
_LIBRARY_ERRORS: Final = (CryptoError, ValueError, TypeError)


class _Secretstream:
    """What both ends share: a state that can be spent."""

    __slots__ = ("_additional", "_spent", "_state")

    def __init__(self, direction: Direction, key: bytes, header: bytes) -> None:
        self._additional = _ADDITIONAL_DATA[direction]
        self._state = crypto_secretstream_xchacha20poly1305_state()
        self._spent = False
        # libsodium's init_push draws a header and then does what init_pull does with a given one, so this starts
        # either end, and the sender's randomness stays an argument.
        crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    @property
    def spent(self) -> bool:
        """Whether FINAL has passed, or something failed."""
        return self._spent

    def wipe(self) -> None:
        """End the stream and overwrite its key and what it last held [EX-53]. A second call does nothing."""
        if self._spent:
            return
        # First the flag: a zeroed state would go on, under a key of zeros [EX-24].
        self._spent = True
        overwrite(self._state.statebuf)
        if self._state.rawbuf is not None:
            overwrite(self._state.rawbuf)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'spent' if self._spent else 'open'}>"


class SealingStream(_Secretstream):
    """The sender's end of one direction.

    Args:
        direction: Whose bytes these are.
        key: 32 bytes, used for this stream only.
        random: Source of the 24-byte header.

    Attributes:
        header: What goes before the first frame, 24 bytes.
    """

    __slots__ = ("header",)

    def __init__(self, direction: Direction, key: bytes, random: RandomBytes) -> None:
        self.header = random(HEADER_LENGTH)
        super().__init__(direction, key, self.header)

    def seal(self, plain: bytes, *, final: bool = False) -> bytes:
        """Return the frame for the wire, `u32 n | ciphertext`.

        Args:
            plain: From `frames.encode_frame`, at most `PLAINTEXT_MAX` bytes.
            final: Whether this is the last frame; afterwards the stream is spent.

        Raises:
            LocalProtocolError: The stream is spent, or the plaintext too long.
        """
        if self._spent:
            raise LocalProtocolError("the sealed stream has ended")
        if len(plain) > PLAINTEXT_MAX:
            raise LocalProtocolError("a frame would be longer than the limit")
        sealed = _push(self._state, plain, self._additional, TAG_FINAL if final else TAG_MESSAGE)
        if final:
            self.wipe()
        return _pack_length(len(sealed)) + sealed


class OpeningStream(_Secretstream):
    """The receiver's end of one direction.

    Args:
        direction: Whose bytes these are.
        key: 32 bytes.
        header: As received, 24 bytes.
    """

    __slots__ = ()

    def open_untrusted(self, sealed: bytes) -> tuple[bytes, bool]:
        """Open the next frame.

        Args:
            sealed: Ciphertext, without its length.

        Returns:
            The plaintext, and whether it was the last frame.

        Raises:
            LocalProtocolError: The stream is spent: after FINAL and after a failure nothing is read [EX-24].
            RemoteProtocolError: It does not open, or carries a tag that is not in use. The stream is spent.
        """
        if self._spent:
            raise LocalProtocolError("the sealed stream has ended")
        try:
            plain, tag = _pull(self._state, sealed, self._additional)
        except _LIBRARY_ERRORS as error:
            self.wipe()
            raise RemoteProtocolError("a frame does not open", code=2) from error
        if tag == TAG_MESSAGE:
            return plain, False
        if tag == TAG_FINAL:
            self.wipe()
            return plain, True
        self.wipe()
        raise RemoteProtocolError("a frame carries a tag that is not in use", code=2)  # [EX-23]


class FrameCutter:
    """Cuts the bytes of a stream into frames: linear in time, holding at most one frame and one chunk.

    Args:
        least: Length of the shortest frame; a sealed one has at least its seal.
        most: Length of the longest.
    """

    __slots__ = ("_buffer", "_least", "_most", "_position")

    def __init__(self, *, least: int = SEAL_OVERHEAD, most: int = FRAME_MAX) -> None:
        self._buffer: bytes | bytearray = b""
        self._position = 0
        self._least = least
        self._most = most

    @property
    def held(self) -> int:
        """How many bytes are waiting."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Take bytes in."""
        if type(data) is not bytes:
            data = bytes(data)  # the caller may change its own
        if self._position == len(self._buffer):
            # The common case: whole frames arrived and all were taken. No copy.
            self._buffer = data
            self._position = 0
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(memoryview(self._buffer)[self._position :])
            self._position = 0
        elif self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def peek(self) -> int | None:
        """Return the next byte without taking it, or None while there is none."""
        return self._buffer[self._position] if self.held else None

    def take(self, length: int) -> bytes | None:
        """Return exactly `length` bytes, or None while there are too few."""
        end = self._position + length
        if end > len(self._buffer):
            return None
        taken = self._copy(self._position, end)
        self._position = end
        return taken

    def next_frame_untrusted(self) -> bytes | None:
        """Return the next frame, without its length, or None while it is not whole.

        Raises:
            RemoteProtocolError: Its length is impossible; said before any of it is held [EX-21].
        """
        start = self._position + LENGTH_PREFIX
        buffer = self._buffer
        if start > len(buffer):
            return None
        (length,) = _unpack_length(buffer, self._position)
        check_frame_length_untrusted(length, self._least, self._most)
        end = start + length
        if end > len(buffer):
            return None
        self._position = end
        return self._copy(start, end)

    def _copy(self, start: int, end: int) -> bytes:
        buffer = self._buffer
        if isinstance(buffer, bytes):
            return buffer[start:end]
        with memoryview(buffer) as view:  # one copy instead of two
            return bytes(view[start:end])

    def clear(self) -> None:
        """Forget what is waiting."""
        self._buffer = b""
        self._position = 0


def check_frame_length_untrusted(length: int, least: int, most: int) -> None:
    """Hold a frame's announced length to the limits.

    Raises:
        RemoteProtocolError: It is longer than the longest, or shorter than an empty frame.
    """
    if not least <= length <= most:
        raise RemoteProtocolError("a frame's length is out of bounds", code=2)

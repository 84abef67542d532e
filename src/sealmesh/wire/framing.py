"""Stream kinds and length-prefixed messages (PROTOCOL.md, Streams). Integers are big-endian."""

from __future__ import annotations

import enum
import struct
from typing import Final

from sealmesh.errors import LocalProtocolError, RemoteProtocolError

ALPN: Final = b"sealmesh/1"

_U32: Final = struct.Struct(">I")


class StreamKind(enum.IntEnum):
    """The first byte of a bidirectional stream."""

    RECORDS = 0x01
    RELAY = 0x02
    CHALLENGE = 0x03
    PLAIN = 0x04
    ADMISSION = 0x05
    SEALED = 0xE1


#: The first byte of a refusal on the response side of a sealed stream.
REFUSAL: Final = 0xE0


def encode_message(content: bytes, *, maximum: int) -> bytes:
    """Return `u32 n | content`.

    Raises:
        LocalProtocolError: The content is longer than `maximum` bytes.
    """
    if len(content) > maximum:
        raise LocalProtocolError(f"a message of {len(content)} bytes is over its limit of {maximum}")
    return _U32.pack(len(content)) + content


class MessageReader:
    """Cuts a byte stream into length-prefixed messages, holding at most one message and one chunk.

    Args:
        maximum: Longest message accepted, in bytes.
    """

    __slots__ = ("_buffer", "_maximum")

    def __init__(self, *, maximum: int) -> None:
        self._maximum = maximum
        self._buffer = bytearray()

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take bytes in, return the messages that are now whole.

        Raises:
            RemoteProtocolError: A length prefix is over the maximum.
        """
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= 4:
            (length,) = _U32.unpack_from(self._buffer, start)
            if length > self._maximum:
                raise RemoteProtocolError("a message is longer than its kind allows")
            if len(self._buffer) - start - 4 < length:
                break
            messages.append(bytes(self._buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        if start:
            del self._buffer[:start]
        return messages

    def finish_untrusted(self) -> None:
        """The stream ended.

        Raises:
            RemoteProtocolError: It ended within a message.
        """
        if self._buffer:
            raise RemoteProtocolError("the stream ended within a message")

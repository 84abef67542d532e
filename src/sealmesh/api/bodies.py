"""The body of a request, by its length or in chunks, never larger than its bound and never kept twice."""

from __future__ import annotations

import io
import re
from typing import Final

from sealmesh.api.errors import refusal
from sealmesh.errors import BusyError
from sealmesh.limits import HTTP_CHUNK_LINE_MAX, HTTP_HEAD_MAX

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\r\n]*)?\r\n")


class Budget:
    """Bytes that may be held at once by many, so that each one's bound does not multiply."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, count: int) -> bool:
        """Take `count` bytes; False, and nothing taken, if there is no room."""
        if self.used + count > self._limit:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Give bytes back."""
        self.used -= count


class Holder:
    """Bytes that are gathered until they are whole. `BytesIO` hands its buffer over without a second copy."""

    __slots__ = ("_budget", "_file", "_size", "limit")

    def __init__(self, *, limit: int, budget: Budget) -> None:
        self._file = io.BytesIO()
        self._size = 0
        self.limit = limit
        self._budget = budget

    def add(self, data: bytes | bytearray | memoryview) -> bool:
        """Add bytes; False, and nothing added, if they are too many for this one or for all together."""
        if self._size + len(data) > self.limit or not self._budget.take(len(data)):
            return False
        self._size += len(data)
        self._file.write(data)
        return True

    @property
    def size(self) -> int:
        """Bytes gathered so far."""
        return self._size

    def take(self) -> bytes:
        """Return what was gathered."""
        return self._file.getvalue()

    def release(self) -> None:
        """Let the bytes go and give their room back. A second call does nothing."""
        self._budget.give(self._size)
        self._size = 0
        self._file = io.BytesIO()


class LengthBody:
    """A body whose length the head gave."""

    __slots__ = ("_left", "holder")

    def __init__(self, length: int, holder: Holder) -> None:
        self._left = length
        self.holder = holder

    @property
    def done(self) -> bool:
        """Whether the body is whole."""
        return self._left == 0

    def feed_untrusted(self, buffer: bytearray) -> None:
        """Take what belongs to the body off the front of `buffer`.

        Raises:
            RequestError: 413 `request_too_large`.
            BusyError: The bodies of all requests together fill their room.
        """
        part = len(buffer) if len(buffer) <= self._left else self._left
        if part:
            _hold(self.holder, memoryview(buffer)[:part])
            del buffer[:part]
            self._left -= part


class ChunkedBody:
    """A body in chunks [RFC 9112 7.1]. Extensions and trailers are read over; both are bounded."""

    __slots__ = ("_in_trailer", "_left", "_needs_crlf", "_trailer", "done", "holder")

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.done = False
        self._left = 0
        self._needs_crlf = False
        self._in_trailer = False
        self._trailer = 0

    def feed_untrusted(self, buffer: bytearray) -> None:
        """Take what belongs to the body off the front of `buffer`.

        Raises:
            RequestError: 400 `bad_http`, 413 `request_too_large` or 431 `head_too_large`.
            BusyError: The bodies of all requests together fill their room.
        """
        at = 0
        try:
            while not self.done:
                if self._left:
                    part = min(self._left, len(buffer) - at)
                    if not part:
                        return
                    with memoryview(buffer) as view:
                        _hold(self.holder, view[at : at + part])
                    at += part
                    self._left -= part
                    self._needs_crlf = not self._left
                elif self._needs_crlf:
                    if len(buffer) - at < 2:
                        return
                    if buffer[at : at + 2] != b"\r\n":
                        raise refusal("bad_http")
                    at += 2
                    self._needs_crlf = False
                elif self._in_trailer:
                    end = buffer.find(b"\r\n", at)
                    if (end if end >= 0 else len(buffer)) - at + self._trailer > HTTP_HEAD_MAX:
                        raise refusal("head_too_large")
                    if end < 0:
                        return
                    self.done = end == at
                    self._trailer += end + 2 - at
                    at = end + 2
                else:
                    size = _SIZE.match(buffer, at, at + HTTP_CHUNK_LINE_MAX)
                    if size is None:
                        if len(buffer) - at >= HTTP_CHUNK_LINE_MAX or b"\n" in buffer[at:]:
                            raise refusal("bad_http")
                        return
                    self._left = int(size.group(1), 16)
                    at = size.end()
                    self._in_trailer = self._left == 0
                    if self.holder.size + self._left > self.holder.limit:
                        raise refusal("request_too_large")
        finally:
            del buffer[:at]


def _hold(holder: Holder, data: memoryview) -> None:
    with data:
        if not holder.add(data):
            raise BusyError("no room for another body")

"""The answer to one request, written to its connection: whole, or in chunks as they come."""

from __future__ import annotations

import http
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final, Protocol

from sealmesh.api.errors import PublicError

#: On every answer: nothing is guessed, framed, cached or embedded by a browser (attack A19).
_ALWAYS: Final = (
    b"x-content-type-options: nosniff\r\ncross-origin-resource-policy: same-origin\r\ncache-control: no-store\r\n"
)
_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}
JSON: Final = "application/json"
SSE: Final = "text/event-stream"
Headers = Iterable[tuple[str, str]]


class Wire(Protocol):
    """What a reply needs of its connection."""

    paused: bool

    def put(self, data: bytes) -> None:
        """Write bytes; drops them if the app is gone."""

    async def drain(self) -> None:
        """Wait until the app takes bytes again."""


class _Clock:
    """The Date header, made once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second, self._line = now, b"date: " + formatdate(now, usegmt=True).encode("ascii") + b"\r\n"
        return self._line


_CLOCK: Final = _Clock()


def clean_header_value(value: str) -> str:
    """Replace what must not stand in a header: a value may come from a host, and a line break would add headers."""
    return "".join(each if " " <= each <= "~" else "?" for each in value)


class Reply:
    """One response.

    Args:
        wire: The connection.
        head_only: Whether the request was HEAD: no body is written.
        keep: Whether the connection may stay open after this.
        chunked: Whether the app understands chunked coding (HTTP/1.1); else the end of the connection ends the body.
    """

    __slots__ = ("_chunked", "_head_only", "_wire", "ended", "events", "keep", "started")

    def __init__(self, wire: Wire, *, head_only: bool = False, keep: bool = True, chunked: bool = True) -> None:
        self._wire = wire
        self._head_only = head_only
        self._chunked = chunked
        self.keep = keep
        self.started = False
        self.ended = False
        self.events = False

    def send(self, status: int, body: bytes, *, content_type: str = JSON, headers: Headers = ()) -> None:
        """Write a whole response."""
        self.started = self.ended = True
        framing = b"content-length: %d\r\n" % len(body)
        head = self._head(status, content_type, headers, framing)
        if self._head_only:
            body = b""
        if len(body) > 16384:  # a large body is not copied behind its head
            self._wire.put(head)
            self._wire.put(body)
        else:
            self._wire.put(head + body)

    def refuse(self, error: PublicError, *, headers: Headers = ()) -> None:
        """Write an error as a whole response."""
        self.send(error.status, error.body(), headers=(*error.headers(), *headers))

    async def start(self, status: int, first: bytes, *, content_type: str, headers: Headers = ()) -> None:
        """Write the head of a response whose body comes in pieces, together with its first piece."""
        self.started = True
        self.events = content_type.startswith(SSE)
        if not self._chunked:
            self.keep = False
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        head = self._head(status, content_type, headers, framing)
        self._wire.put(head + (self._piece(first) if first else b""))
        if self._wire.paused:
            await self._wire.drain()

    async def write(self, data: bytes) -> None:
        """Write a piece of the body; waits while the app takes nothing."""
        if data:
            self._wire.put(self._piece(data))
            if self._wire.paused:
                await self._wire.drain()

    def end(self) -> None:
        """End a body that came in pieces."""
        self.ended = True
        if self._chunked and not self._head_only:
            self._wire.put(b"0\r\n\r\n")

    def fail(self, error: PublicError) -> None:
        """End with an error: whole if nothing was written, else as the last event of the stream.

        The body is ended properly, since some clients ask again by themselves after a cut one; what tells an app is
        the event, and that `[DONE]` never came. The connection stays: an app keeps it for its next request, which
        would be lost on a connection that closes without having said so in its head.
        """
        if not self.started:
            self.refuse(error)
        elif not self.ended:
            if self.events:
                self._wire.put(self._piece(error.event()))
                self.end()
            else:
                self.keep = False  # nothing but the end of the connection can say that this is not the whole
            self.ended = True

    def _piece(self, data: bytes) -> bytes:
        if self._head_only:
            return b""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _head(self, status: int, content_type: str, headers: Headers, framing: bytes) -> bytes:
        lines = [
            b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"")),
            _CLOCK.line(),
            b"content-type: " + clean_header_value(content_type).encode("ascii") + b"\r\n",
            framing,
            _ALWAYS,
        ]
        for name, value in headers:
            lines.append(f"{name}: {clean_header_value(value)}\r\n".encode("ascii"))
        if not self.keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

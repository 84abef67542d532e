"""A link: one admitted connection to one member, and the streams that this side opens on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sealmesh.identity.admission import Admitted, Role
from sealmesh.limits import STREAM_OPEN_TIMEOUT_S
from sealmesh.mesh.admission import CloseCode
from sealmesh.transport.base import Connection, PathKind, Stream
from sealmesh.wire.framing import StreamKind


class Link:
    """An admitted connection to one member."""

    def __init__(self, connection: Connection, admitted: Admitted, *, dialled: bool, since: float) -> None:
        self._connection = connection
        self.admitted = admitted
        self.dialled = dialled
        self.since = since
        self.alive = True

    def __repr__(self) -> str:
        return f"<Link to {self.peer_id.hex()[:12]}>"

    @property
    def peer_id(self) -> bytes:
        """The member's endpoint id (32 bytes), as the transport's handshake proved it."""
        return self._connection.remote_id

    @property
    def roles(self) -> Role:
        """What the member took of what it was granted."""
        return self.admitted.roles

    @property
    def rtt_ms(self) -> float | None:
        """Round-trip time in milliseconds, if measured."""
        return self._connection.rtt_ms

    @property
    def path(self) -> PathKind:
        """How packets reach the member."""
        return self._connection.path

    async def open_stream(self, kind: StreamKind, *, wait: bool = False) -> Stream:
        """Open a stream; its kind byte goes out at once, so that the peer's clock for it starts with ours.

        Args:
            kind: What the stream is for.
            wait: Let the kind byte go out with the first write: one write less for who writes at once.

        Raises:
            TransportTimeoutError: No stream became free in time.
            TransportError: The link is gone.
        """
        stream = await self._connection.open(timeout_s=STREAM_OPEN_TIMEOUT_S)
        if wait:
            return _BegunStream(stream, bytes([kind]))
        try:
            await stream.write(bytes([kind]))
        except BaseException:
            await stream.reset()
            raise
        return stream

    async def closed(self) -> str:
        """Wait until the link is gone, return why in words."""
        return await self._connection.closed()

    def close(self, code: CloseCode, reason: str) -> None:
        """Close it and every stream on it; the peer is told why."""
        self.alive = False
        self._connection.close(code, reason)


class _BegunStream(Stream):
    """A stream whose first bytes wait for the first write."""

    def __init__(self, inner: Stream, first: bytes) -> None:
        self._inner = inner
        self._first = first
        self.read = inner.read  # type: ignore[method-assign]  # nothing is to be done there, and it is the hot way

    async def read(self, max_bytes: int) -> bytes:
        """See `Stream.read`."""
        return await self._inner.read(max_bytes)

    async def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        first, self._first = self._first, b""
        await self._inner.write(first + data if first else data)

    async def finish(self) -> None:
        """See `Stream.finish`."""
        await self._inner.finish()

    async def delivered(self) -> None:
        """See `Stream.delivered`."""
        await self._inner.delivered()

    async def reset(self, code: int = 1) -> None:
        """See `Stream.reset`."""
        await self._inner.reset(code)


StreamHandler = Callable[[Link, Stream], Awaitable[None]]
LinkHook = Callable[[Link], None]
LostHook = Callable[[Link, str], None]

"""Writes down every byte of chosen streams, as whoever carries them would see them (above QUIC, below the seal).

Used by the demo and by tests, which then search the recording for plaintext instead of asserting that there is
none. It records ciphertext only: it sits where a relay would.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

from sealmesh.transport.base import Connection, Endpoint, EndpointAddress, PathKind, Stream

#: Called with the stream's number (in order of opening), the direction, and the bytes.
Recorder = Callable[[int, Literal["sent", "received"], bytes], None]


class RecordingStream(Stream):
    """A stream whose bytes go to a recorder as well."""

    def __init__(self, inner: Stream, number: int, record: Recorder) -> None:
        self._inner = inner
        self._number = number
        self._record = record

    async def read(self, max_bytes: int) -> bytes:
        """See `Stream.read`."""
        data = await self._inner.read(max_bytes)
        if data:
            self._record(self._number, "received", data)
        return data

    async def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        self._record(self._number, "sent", data)
        await self._inner.write(data)

    async def finish(self) -> None:
        """See `Stream.finish`."""
        await self._inner.finish()

    async def delivered(self) -> None:
        """See `Stream.delivered`."""
        await self._inner.delivered()

    async def reset(self, code: int = 1) -> None:
        """See `Stream.reset`."""
        await self._inner.reset(code)


class RecordingConnection(Connection):
    """A connection whose streams are recorded."""

    def __init__(self, inner: Connection, numbers: itertools.count[int], record: Recorder) -> None:
        self._inner = inner
        self._numbers = numbers
        self._record = record

    @property
    def remote_id(self) -> bytes:
        """See `Connection.remote_id`."""
        return self._inner.remote_id

    async def open(self, *, timeout_s: float) -> Stream:
        """See `Connection.open`."""
        return RecordingStream(await self._inner.open(timeout_s=timeout_s), next(self._numbers), self._record)

    async def accept(self) -> Stream:
        """See `Connection.accept`."""
        return RecordingStream(await self._inner.accept(), next(self._numbers), self._record)

    def allow_streams(self, count: int) -> None:
        """See `Connection.allow_streams`."""
        self._inner.allow_streams(count)

    def close(self, code: int = 0, reason: str = "") -> None:
        """See `Connection.close`."""
        self._inner.close(code, reason)

    async def closed(self) -> str:
        """See `Connection.closed`."""
        return await self._inner.closed()

    @property
    def received_bytes(self) -> int:
        """See `Connection.received_bytes`."""
        return self._inner.received_bytes

    @property
    def rtt_ms(self) -> float | None:
        """See `Connection.rtt_ms`."""
        return self._inner.rtt_ms

    @property
    def path(self) -> PathKind:
        """See `Connection.path`."""
        return self._inner.path


class RecordingEndpoint(Endpoint):
    """An endpoint whose connections are recorded.

    Args:
        inner: The real endpoint.
        record: Gets every byte of every stream, both ways.
    """

    def __init__(self, inner: Endpoint, record: Recorder) -> None:
        self._inner = inner
        self._numbers = itertools.count()
        self._record = record

    @property
    def endpoint_id(self) -> bytes:
        """See `Endpoint.endpoint_id`."""
        return self._inner.endpoint_id

    def address(self) -> EndpointAddress:
        """See `Endpoint.address`."""
        return self._inner.address()

    async def connect(self, address: EndpointAddress, *, timeout_s: float) -> Connection:
        """See `Endpoint.connect`."""
        connection = await self._inner.connect(address, timeout_s=timeout_s)
        return RecordingConnection(connection, self._numbers, self._record)

    async def accept(self) -> Connection:
        """See `Endpoint.accept`."""
        return RecordingConnection(await self._inner.accept(), self._numbers, self._record)

    async def close(self) -> None:
        """See `Endpoint.close`."""
        await self._inner.close()

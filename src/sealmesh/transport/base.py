"""The contract that every transport keeps; `tests/unit/transport/test_contract.py` runs it against all of them.

A stream is two byte pipes. It ends properly only by `finish`; every other way out, cancellation and exceptions
included, resets it, so that the peer never takes a cut for an end (PROTOCOL.md, Streams).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

PathKind = Literal["direct", "relayed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAddress:
    """Where an endpoint may be reached.

    Attributes:
        endpoint_id: Ed25519 public key, 32 bytes.
        addresses: `ip:port` or `[ip]:port`, tried by the transport in any order.
        relay_url: A transport-level relay of the operator's choice, if any.
    """

    endpoint_id: bytes
    addresses: tuple[str, ...] = ()
    relay_url: str | None = None


class Stream(abc.ABC):
    """One bidirectional stream. Use it as an async context manager: leaving without `finish` resets it.

    One task reads and one task writes at a time. A read that is cancelled loses no bytes: what had arrived is
    returned by the next read.
    """

    @abc.abstractmethod
    async def read(self, max_bytes: int) -> bytes:
        """Return what is there, at least one byte and at most `max_bytes`; `b""` once the peer has finished.

        Raises:
            StreamResetError: The peer reset the stream, or this side did.
            ConnectionLostError: The connection is gone.
        """

    @abc.abstractmethod
    async def write(self, data: bytes) -> None:
        """Hand over all of `data`; waits while the peer does not read (back-pressure).

        Raises:
            StreamResetError: The peer stopped reading or reset, or this side did.
            ConnectionLostError: The connection is gone.
        """

    @abc.abstractmethod
    async def finish(self) -> None:
        """End this side's writing properly. Reading goes on. A second call does nothing.

        Raises:
            StreamResetError: The stream was reset before.
            ConnectionLostError: The connection is gone.
        """

    @abc.abstractmethod
    async def delivered(self) -> None:
        """Wait until the peer's side has all that was written and finished.

        A connection that is closed before may take the end of an answer with it. Returns also when the stream or its
        connection is gone. Never raises.
        """

    @abc.abstractmethod
    async def reset(self, code: int = 1) -> None:
        """Abandon both directions: the peer's reads and writes fail. Never raises; a second call does nothing.

        A direction that was ended properly before (own `finish` done, or the peer's end read) is left as it is.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # [TR-2] Also after a proper finish: whatever direction has not ended is not wanted any more.
        await self.reset()


class Connection(abc.ABC):
    """An authenticated connection to one endpoint."""

    @property
    @abc.abstractmethod
    def remote_id(self) -> bytes:
        """The peer's endpoint id (32 bytes), as the transport's own handshake proved it."""

    @abc.abstractmethod
    async def open(self, *, timeout_s: float) -> Stream:
        """Open a bidirectional stream. Nothing is sent until the first write.

        Raises:
            TransportTimeoutError: No stream became free in time.
            ConnectionLostError: The connection is gone.
        """

    @abc.abstractmethod
    async def accept(self) -> Stream:
        """Wait for the peer's next stream (it shows up with its first byte).

        Raises:
            ConnectionLostError: The connection is gone.
        """

    @abc.abstractmethod
    def allow_streams(self, count: int) -> None:
        """How many bidirectional streams the peer may have open at once on this connection."""

    @abc.abstractmethod
    def close(self, code: int = 0, reason: str = "") -> None:
        """Close the connection and every stream on it. A second call does nothing."""

    @abc.abstractmethod
    async def closed(self) -> str:
        """Wait until the connection is gone, return why in words."""

    @property
    @abc.abstractmethod
    def received_bytes(self) -> int:
        """How much has come in on this connection so far, read or not; overhead may count."""

    @property
    @abc.abstractmethod
    def rtt_ms(self) -> float | None:
        """Round-trip time in milliseconds, if measured."""

    @property
    @abc.abstractmethod
    def path(self) -> PathKind:
        """Whether packets go straight to the peer or by a transport-level relay."""


class Endpoint(abc.ABC):
    """This node on the network: accepts and makes connections under one endpoint id."""

    @property
    @abc.abstractmethod
    def endpoint_id(self) -> bytes:
        """Ed25519 public key, 32 bytes."""

    @abc.abstractmethod
    def address(self) -> EndpointAddress:
        """Where others may reach this endpoint now."""

    @abc.abstractmethod
    async def connect(self, address: EndpointAddress, *, timeout_s: float) -> Connection:
        """Connect to exactly that endpoint id.

        Raises:
            TransportTimeoutError: Nobody with that id answered in time.
            TransportError: The attempt failed.
        """

    @abc.abstractmethod
    async def accept(self) -> Connection:
        """Wait for the next inbound connection.

        Raises:
            ConnectionLostError: The endpoint was closed.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Close every connection and the socket. A second call does nothing."""

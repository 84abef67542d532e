"""A network in memory that keeps the transport contract and breaks on demand.

It is a transport like any other, not a stand-in for one: the same contract suite runs against it. What it adds is
a hand on the cables: `MemoryNetwork.plan` makes the next fitting stream end, reset, stall or take the connection
with it after a number of bytes, `drop`, `refuse` and `heal` work on connections, `delay_s` on everything. Nothing is
random, and time comes from the clock that is passed in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from sealmesh.errors import (
    ConnectionLostError,
    LocalProtocolError,
    StreamResetError,
    TransportError,
    TransportTimeoutError,
)
from sealmesh.limits import KIB
from sealmesh.transport.base import Connection, Endpoint, EndpointAddress, PathKind, Stream
from sealmesh.transport.pipes import Clock, Fault, FaultKind, Pipe, RealClock, Wires
from sealmesh.transport.words import one_line

__all__ = ["Clock", "Fault", "FaultKind", "MemoryEndpoint", "MemoryNetwork", "RealClock"]

#: What a peer may open before `allow_streams` says otherwise; QUIC's own default.
_STREAMS_AT_FIRST: Final = 100


class MemoryStream(Stream):
    """One side's view of two pipes."""

    def __init__(self, connection: MemoryConnection, incoming: Pipe, outgoing: Pipe, *, opener: bool) -> None:
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._opener = opener
        self._shown = not opener  # whether the peer has seen that this stream exists
        self._abandoned = False
        self._ended = False
        self._finished = False
        self._read_failure: TransportError | None = None
        self._write_failure: TransportError | None = None
        self.other: MemoryStream

    async def read(self, max_bytes: int) -> bytes:
        """See the contract."""
        if max_bytes < 1:
            raise LocalProtocolError("a read takes at least one byte")
        if self._ended:
            return b""
        if self._read_failure is not None:
            raise self._read_failure
        data = await self._incoming.get(max_bytes)
        self._ended = not data
        self._connection._settle(self)
        return data

    async def write(self, data: bytes) -> None:
        """See the contract."""
        start = 0
        try:
            while start < len(data):
                self._check_writable()
                self._show(data[:1])
                taken = self._put(data[start:])
                start += taken
                self._connection.other._received += taken
                if start < len(data):
                    await self._outgoing.changed()
            self._check_writable()
        except asyncio.CancelledError:
            self._write_failure = self._write_failure or StreamResetError("a write was cut short on this side")
            raise

    def _check_writable(self) -> None:
        if self._write_failure is not None:
            raise self._write_failure
        if self._finished:
            raise LocalProtocolError("written after the end of the stream")
        if self._outgoing.failure is not None:
            raise self._outgoing.failure

    def _show(self, first: bytes) -> None:
        if not self._shown:
            self._shown = True
            self._connection._show(self, first)

    def _put(self, data: bytes) -> int:
        pipe = self._outgoing
        fault = pipe.fault
        if pipe.stalled:
            return len(data)
        if fault is None:
            return pipe.put(data)
        room = max(0, fault.after - pipe.passed)
        taken = pipe.put(data[:room])
        if pipe.passed >= fault.after and taken < len(data):
            pipe.fault = None
            self._break(fault.then)
            self._check_writable()
            return len(data) if pipe.stalled else taken
        return taken

    def _break(self, then: FaultKind) -> None:
        pipe = self._outgoing
        match then:
            case FaultKind.END:
                pipe.ended = True
                pipe.ring()
                self._write_failure = StreamResetError("the peer reset the stream")
            case FaultKind.RESET:
                pipe.fail(StreamResetError("the peer reset the stream"), discard=True)
            case FaultKind.DROP:
                self._connection._lose("the connection was dropped", discard=True)
            case FaultKind.STALL:
                pipe.stalled = True

    async def finish(self) -> None:
        """See the contract."""
        if self._finished:
            return
        self._check_writable()
        self._show(b"")
        self._finished = True
        self._outgoing.ended = True
        self._outgoing.ring()
        self._connection._settle(self)

    async def delivered(self) -> None:
        """See the contract. What was written lies at the peer's side already, and a close leaves it there."""

    async def reset(self, code: int = 1) -> None:  # noqa: ARG002  # nothing here shows codes
        """See the contract."""
        if self._abandoned:
            return
        self._abandoned = True
        mine = StreamResetError("the stream was reset on this side")
        theirs = StreamResetError("the peer reset the stream")
        if not self._finished or self._write_failure is not None:
            self._write_failure = self._write_failure or self._outgoing.failure or mine
            self._outgoing.fail(theirs, discard=True)
        if not self._ended:
            self._read_failure = self._incoming.failure or mine
            self._incoming.fail(theirs, discard=True)
        self._connection._settle(self)


class MemoryConnection(Connection):
    """One side of a connection."""

    def __init__(self, network: MemoryNetwork, local_id: bytes, remote_id: bytes) -> None:
        self._network = network
        self.local_id = local_id
        self._remote_id = remote_id
        self._allowed = _STREAMS_AT_FIRST
        self._opened: set[MemoryStream] = set()  # by this side, not over yet
        self._inbound: deque[MemoryStream] = deque()
        self._bell: list[asyncio.Future[None]] = []
        self._lost = ""
        self._received = 0
        self.other: MemoryConnection

    @property
    def remote_id(self) -> bytes:
        """See the contract."""
        return self._remote_id

    async def open(self, *, timeout_s: float) -> Stream:
        """See the contract."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._lost and len(self._opened) >= self.other._allowed:
                    await self._changed()
        except TimeoutError as error:
            raise TransportTimeoutError("no stream to this peer became free in time") from error
        self._check()
        there, back = Pipe(self._network.wires), Pipe(self._network.wires)
        stream = MemoryStream(self, back, there, opener=True)
        stream.other = MemoryStream(self.other, there, back, opener=False)
        stream.other.other = stream
        self._opened.add(stream)
        return stream

    async def accept(self) -> Stream:
        """See the contract."""
        while not self._inbound:
            self._check()
            await self._changed()
        return self._inbound.popleft()

    def allow_streams(self, count: int) -> None:
        """See the contract."""
        self._allowed = count
        self.other._ring()

    def close(self, code: int = 0, reason: str = "") -> None:
        """See the contract."""
        if not self._lost:
            self._lose("closed", there=one_line(f"closed by peer: {reason} (code {code})"))

    async def closed(self) -> str:
        """See the contract."""
        while not self._lost:
            await self._changed()
        return self._lost

    @property
    def received_bytes(self) -> int:
        """See the contract."""
        return self._received

    @property
    def rtt_ms(self) -> float | None:
        """See the contract."""
        return self._network.wires.delay_s * 2000.0

    @property
    def path(self) -> PathKind:
        """See the contract."""
        return "direct"

    def _check(self) -> None:
        if self._lost:
            raise ConnectionLostError(self._lost)

    def _ring(self) -> None:
        bell, self._bell = self._bell, []
        for future in bell:
            if not future.done():
                future.set_result(None)

    async def _changed(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bell.append(future)
        await future

    def _show(self, stream: MemoryStream, first: bytes) -> None:
        """The opener sent something: the peer's `accept` sees the stream, and a fault may be planned for it."""
        self._network._arm(self, stream, first)
        self.other._inbound.append(stream.other)
        self.other._ring()

    def _settle(self, stream: MemoryStream) -> None:
        """Give the stream's place back once both its directions are over."""
        if stream._incoming.over and stream._outgoing.over:
            for side, one in ((self, stream), (self.other, stream.other)):
                side._opened.discard(one)
                side._ring()

    def _lose(self, here: str, *, there: str = "", discard: bool = False) -> None:
        for side, words in ((self, here), (self.other, there or here)):
            if side._lost:
                continue
            side._lost = words
            self._network._forget(side)
            failure = ConnectionLostError(words)
            for stream in side._opened:
                for pipe in (stream._incoming, stream._outgoing):
                    pipe.fail(failure, discard=discard)
            side._opened.clear()
            side._ring()


class MemoryEndpoint(Endpoint):
    """An endpoint of a `MemoryNetwork`; `MemoryNetwork.endpoint` makes it."""

    def __init__(self, network: MemoryNetwork, endpoint_id: bytes, address: str) -> None:
        self._network = network
        self._endpoint_id = endpoint_id
        self._address = address
        self._inbound: asyncio.Queue[MemoryConnection | None] = asyncio.Queue()
        self._closed = False

    @property
    def endpoint_id(self) -> bytes:
        """See the contract."""
        return self._endpoint_id

    def address(self) -> EndpointAddress:
        """See the contract."""
        return EndpointAddress(endpoint_id=self._endpoint_id, addresses=(self._address,))

    async def connect(self, address: EndpointAddress, *, timeout_s: float) -> Connection:  # noqa: ARG002
        """See the contract. What would time out does so at once."""
        if self._closed:
            raise TransportError("cannot connect: the endpoint is closed")
        await asyncio.sleep(0)  # as in a real network, others run in between
        return self._network._connect(self, address)

    async def accept(self) -> Connection:
        """See the contract."""
        connection = await self._inbound.get()
        if connection is None:
            self._inbound.put_nowait(None)  # for whoever else waits
            raise ConnectionLostError("the endpoint is closed")
        return connection

    async def close(self) -> None:
        """See the contract."""
        if not self._closed:
            self._closed = True
            self._network._close(self)
            self._inbound.put_nowait(None)


class MemoryNetwork:
    """Endpoints that reach each other, and what goes wrong between them.

    Args:
        clock: Time for `delay_s`; the event loop's without it.
        window: How many bytes of one direction of a stream may be on their way, as QUIC's flow control allows.
        delay_s: How long bytes take from one side to the other, in seconds.
    """

    def __init__(self, *, clock: Clock | None = None, window: int = 256 * KIB, delay_s: float = 0.0) -> None:
        self.wires = Wires(clock=clock or RealClock(), window=window, delay_s=delay_s)
        self._endpoints: dict[str, MemoryEndpoint] = {}
        self._connections: list[MemoryConnection] = []
        self._refused: set[tuple[bytes, bytes]] = set()
        self._faults: list[Fault] = []
        self._next_port = 4001

    def endpoint(self, endpoint_id: bytes) -> MemoryEndpoint:
        """Add an endpoint to the network. The id need not be a real key: nobody proves it here."""
        address = f"192.0.2.1:{self._next_port}"  # [RFC 5737] for documentation, so never a real machine
        self._next_port += 1
        endpoint = self._endpoints[address] = MemoryEndpoint(self, endpoint_id, address)
        return endpoint

    def plan(self, fault: Fault) -> None:
        """Break the next stream that fits. A plan is used up by the first stream that fits it."""
        self._faults.append(fault)

    def drop(self, one: bytes, other: bytes) -> int:
        """Lose every connection between two endpoints, bytes on their way included; return how many there were."""
        found = [held for held in self._connections if held.local_id == one and held.remote_id == other]
        for connection in found:
            connection._lose("the connection was dropped", discard=True)
        return len(found)

    def refuse(self, one: bytes, other: bytes) -> None:
        """Let no new connection come about between two endpoints, until `heal`."""
        self._refused |= {(one, other), (other, one)}

    def heal(self, one: bytes, other: bytes) -> None:
        """Undo `refuse`."""
        self._refused -= {(one, other), (other, one)}

    def connections(self) -> int:
        """Return how many connections are up."""
        return len(self._connections) // 2

    def _connect(self, origin: MemoryEndpoint, address: EndpointAddress) -> MemoryConnection:
        found = [self._endpoints[at] for at in address.addresses if at in self._endpoints]
        if not found or (origin.endpoint_id, address.endpoint_id) in self._refused:
            raise TransportTimeoutError("nobody with that id answered in time")
        target = next((one for one in found if one.endpoint_id == address.endpoint_id), None)
        if target is None:
            raise TransportError("another endpoint answered")
        here = MemoryConnection(self, origin.endpoint_id, target.endpoint_id)
        there = MemoryConnection(self, target.endpoint_id, origin.endpoint_id)
        here.other, there.other = there, here
        self._connections += (here, there)
        target._inbound.put_nowait(there)
        return here

    def _arm(self, connection: MemoryConnection, stream: MemoryStream, first: bytes) -> None:
        ends = (
            (connection.local_id, connection.remote_id, stream._outgoing),
            (connection.remote_id, connection.local_id, stream._incoming),
        )
        for sender, receiver, pipe in ends:
            for fault in self._faults:
                fits = fault.kind is None or first == bytes([fault.kind])
                if fits and (fault.sender, fault.receiver) == (sender, receiver):
                    pipe.fault = fault
                    self._faults.remove(fault)
                    break

    def _forget(self, connection: MemoryConnection) -> None:
        self._connections = [held for held in self._connections if held is not connection]

    def _close(self, endpoint: MemoryEndpoint) -> None:
        self._endpoints = {at: one for at, one in self._endpoints.items() if one is not endpoint}
        for connection in list(self._connections):
            if connection.local_id == endpoint.endpoint_id:
                connection._lose("closed", there="closed by peer:  (code 0)")

"""Streams over QUIC by `iroh`: the only module that imports it, and none of its exceptions leaves here.

Four facts shape this file, all found by running iroh 1.2 (docs/explain/transport.md):

- Dropping a stream shows the peer a clean end, and keeping it shows nothing; so every way out calls `reset`.
- A read that follows a reset returns `b""`, as after a clean end; so a failure is remembered and raised again.
- Cancelling a native call whose result is ready loses the result; so native calls are never cancelled by a
  cancelled wait, they are kept for the next one (`NativeCall`).
- A native half of a stream is locked while a call on it runs; so `reset` first drops the call that is waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Coroutine
from typing import Any, Final

import iroh
from iroh import iroh_ffi

from sealmesh.errors import (
    ConnectionLostError,
    LocalProtocolError,
    StreamResetError,
    TransportError,
    TransportTimeoutError,
)
from sealmesh.limits import CONNECT_TIMEOUT_S, HANDSHAKES_MAX, READ_CHUNK, WRITE_CHUNK
from sealmesh.transport.base import Connection, Endpoint, EndpointAddress, PathKind, Stream
from sealmesh.transport.binding import NativeCall, install_fast_calls, install_fast_copy, install_late_ends
from sealmesh.transport.words import one_line
from sealmesh.wire.framing import ALPN

_log = logging.getLogger("sealmesh.transport")

#: SHA-256 of the source of the code that is replaced below and of what it leans on, as iroh 1.2 ships it.
BUILDER_SOURCE: Final = "2c92b0e57e70b6d9273aaa81659a55a95d3e9228905ea68b5c8076260fe7e3e4"
CALLS_SOURCE: Final = "513dc55f6ac2a9c0587bb867664588b7e6678e348a1d7720bf46e82e3a0ea797"

#: Everything that the binding raises: its own errors, and panics of the library below as `InternalError`.
_NATIVE_ERRORS: Final = (iroh.IrohError, iroh_ffi.InternalError)

#: So many reads or writes in a row may end without a turn of the event loop; then everybody else has one.
_TURN_EVERY: Final = 16

#: How long `Endpoint.close` waits for the library to say goodbye to peers: it needs milliseconds, but hangs on for
#: seconds when an attempt to connect was given up before.
_CLOSE_TIMEOUT_S: Final = 1.0


#: Whether the replacements are in force; False after an update of iroh until somebody has looked at it again.
FAST_COPY: Final = install_fast_copy(iroh_ffi, known=BUILDER_SOURCE)
FAST_CALLS: Final = install_fast_calls(iroh_ffi, known=CALLS_SOURCE)
#: Whether the library's objects end where no lock of its own is held.
LATE_ENDS: Final = install_late_ends(iroh_ffi) > 0


class IrohStream(Stream):
    """A QUIC stream. See `sealmesh.transport.base.Stream`."""

    def __init__(self, native: iroh.Connection, pair: iroh.BiStream) -> None:
        self._native = native
        self._sending = pair.send()
        self._receiving = pair.recv()
        self._reading: NativeCall[bytes] | None = None
        self._writing: NativeCall[Any] | None = None
        self._unturned = 0
        self._held = b""  # of a kept read that had asked for more than the next one
        self._ended = False
        self._finished = False
        self._abandoned = False
        self._read_failure: TransportError | None = None
        self._write_failure: TransportError | None = None

    async def read(self, max_bytes: int) -> bytes:
        """See the contract."""
        if max_bytes < 1:
            raise LocalProtocolError("a read takes at least one byte")
        if self._read_failure is not None:
            raise self._read_failure
        if self._held:
            data, self._held = self._held[:max_bytes], self._held[max_bytes:]
            return data
        if self._ended:
            return b""
        if self._reading is None:
            await self._take_turns()
            # A call costs more than the bytes: what a short read leaves is there for the next one.
            self._reading = NativeCall(self._receiving.read(max(max_bytes, READ_CHUNK)))
        try:
            data = await self._reading.wait()
        except _NATIVE_ERRORS as error:
            self._read_failure = self._failure(error)
            raise self._read_failure from error
        except StreamResetError as error:
            self._read_failure = error
            raise
        self._reading = None
        if not data:
            self._ended = True
        if len(data) > max_bytes:
            data, self._held = data[:max_bytes], data[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        """See the contract."""
        if len(data) <= WRITE_CHUNK:
            await self._write(data)
            return
        view = memoryview(data)  # the binding copies what it is given twice: bounded pieces bound the copies
        for start in range(0, len(view), WRITE_CHUNK):
            await self._write(bytes(view[start : start + WRITE_CHUNK]))

    async def _write(self, data: bytes) -> None:
        if self._write_failure is not None:
            raise self._write_failure
        if self._finished:
            raise LocalProtocolError("written after the end of the stream")
        if not data:
            return
        try:
            await self._take_turns()
            self._writing = NativeCall(self._sending.write_all(data))
            await self._writing.wait()
        except _NATIVE_ERRORS as error:
            self._write_failure = self._failure(error)
            raise self._write_failure from error
        except BaseException:
            # Nobody knows how much went out: nothing may follow, least of all a clean end.
            self._write_failure = StreamResetError("a write was cut short on this side")
            if self._writing is not None:
                self._writing.drop()
            raise
        finally:
            self._writing = None

    async def _take_turns(self) -> None:
        """Yield now and then: calls that are ready never do, and a flood would hold up everybody else."""
        self._unturned += 1
        if self._unturned >= _TURN_EVERY:
            self._unturned = 0
            await asyncio.sleep(0)
            if self._abandoned:  # meanwhile, by another task
                raise StreamResetError("the stream was reset on this side")

    async def finish(self) -> None:
        """See the contract."""
        if self._write_failure is not None:
            raise self._write_failure
        if self._finished:
            return
        self._finished = True  # the library ends the stream in the first step of the call
        try:
            await NativeCall(self._sending.finish()).wait()
        except _NATIVE_ERRORS as error:
            self._write_failure = self._failure(error)
            raise self._write_failure from error

    async def delivered(self) -> None:
        """See the contract."""
        if not self._finished or self._write_failure is not None or self._writing is not None:
            return
        # The library's call ends when the peer has acknowledged everything, or wants no more.
        self._writing = call = NativeCall(self._sending.stopped())
        try:
            with contextlib.suppress(StreamResetError, *_NATIVE_ERRORS):
                await call.wait()
        finally:
            call.drop()
            self._writing = None

    async def reset(self, code: int = 1) -> None:
        """See the contract."""
        if self._abandoned:
            return
        self._abandoned = True
        for waiting in (self._reading, self._writing):
            if waiting is not None:
                waiting.drop()  # it holds the lock of its half
        read_failure, write_failure = self._read_failure, self._write_failure
        if not self._ended:
            self._read_failure = read_failure or StreamResetError("the stream was reset on this side")
            self._held = b""
        if not self._finished or self._write_failure is not None:
            self._write_failure = write_failure or StreamResetError("the stream was reset on this side")
        # Each call does its work in its first step, so that even a cancelled reset resets.
        calls = []
        if not self._finished:
            calls.append(NativeCall(self._sending.reset(code)))
        if not self._ended:
            calls.append(NativeCall(self._receiving.stop(code)))
        for call in calls:
            with contextlib.suppress(*_NATIVE_ERRORS):  # it had ended already, one way or another
                await call.wait()

    def _failure(self, error: Exception) -> TransportError:
        return _translated(self._native, error)


class IrohConnection(Connection):
    """A QUIC connection. See `sealmesh.transport.base.Connection`."""

    def __init__(self, native: iroh.Connection) -> None:
        self._native = native
        self._remote_id: bytes = native.remote_id().to_bytes()
        self._accepting: NativeCall[iroh.BiStream] | None = None

    @property
    def remote_id(self) -> bytes:
        """See the contract."""
        return self._remote_id

    async def open(self, *, timeout_s: float) -> Stream:
        """See the contract."""
        try:
            async with asyncio.timeout(timeout_s):
                pair = await self._native.open_bi()
        except TimeoutError as error:
            raise TransportTimeoutError("no stream to this peer became free in time") from error
        except _NATIVE_ERRORS as error:
            raise _translated(self._native, error) from error
        return IrohStream(self._native, pair)

    async def accept(self) -> Stream:
        """See the contract."""
        if self._accepting is None:
            self._accepting = NativeCall(self._native.accept_bi())
        try:
            pair = await self._accepting.wait()
        except _NATIVE_ERRORS as error:
            self._accepting = None
            raise _translated(self._native, error) from error
        self._accepting = None
        return IrohStream(self._native, pair)

    def allow_streams(self, count: int) -> None:
        """See the contract. The library starts with 100, and takes back nothing that it has allowed."""
        self._native.set_max_concurrent_bi_streams(count)

    def close(self, code: int = 0, reason: str = "") -> None:
        """See the contract."""
        with contextlib.suppress(*_NATIVE_ERRORS):
            if self._native.close_reason() is None:  # else the library forgets why the peer closed
                self._native.close(code, reason.encode())

    async def closed(self) -> str:
        """See the contract."""
        return one_line(await self._native.closed())

    @property
    def received_bytes(self) -> int:
        """See the contract."""
        return int(self._native.stats().udp_rx_bytes)

    @property
    def rtt_ms(self) -> float | None:
        """See the contract. The library counts whole milliseconds."""
        rtt = self._native.rtt()
        return None if rtt is None else float(rtt)

    @property
    def path(self) -> PathKind:
        """See the contract."""
        for path in self._native.paths():
            if path.is_selected:
                return "relayed" if path.is_relay else "direct"
        return "unknown"


class IrohEndpoint(Endpoint):
    """A QUIC endpoint. Make one with `bind`."""

    def __init__(self, native: iroh.Endpoint, *, loopback: bool) -> None:
        self._native = native
        self._loopback = loopback  # whether this endpoint is for its own machine only
        self._endpoint_id: bytes = native.id().to_bytes()
        self._accepted: asyncio.Queue[IrohConnection | None] = asyncio.Queue()
        self._handshakes = asyncio.Semaphore(HANDSHAKES_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._spawn(self._accept_all())

    @classmethod
    async def bind(cls, *, seed: bytes, bind: str = "0.0.0.0:0", relay_url: str | None = None) -> IrohEndpoint:
        """Open the sockets: one on `bind`, and one of the other IP family that is no wider (see `other_family`).

        Args:
            seed: Ed25519 seed of the endpoint key, 32 bytes.
            bind: `ip:port` or `[ip]:port` to listen on; port 0 takes a free one.
            relay_url: A transport-level relay of the operator's choice; without it, none is ever used.

        Raises:
            TransportError: The address cannot be bound, or an argument is malformed.
        """
        wanted, other = other_family(bind)
        try:
            return cls(await _bind_native(seed, relay_url, bind, other), loopback=wanted.is_loopback)
        except _NATIVE_ERRORS:
            pass  # a machine without the other family has no such socket, and the library then does without
        try:
            return cls(await _bind_native(seed, relay_url, bind), loopback=wanted.is_loopback)
        except _NATIVE_ERRORS as error:
            raise TransportError(f"cannot listen on {bind}: {_words(error)}") from error

    @property
    def endpoint_id(self) -> bytes:
        """See the contract."""
        return self._endpoint_id

    def address(self) -> EndpointAddress:
        """See the contract."""
        native = self._native.addr()
        return EndpointAddress(
            endpoint_id=self._endpoint_id,
            addresses=tuple(one for one in native.direct_addresses() if self._loopback or not _is_loopback(one)),
            relay_url=native.relay_url(),
        )

    async def connect(self, address: EndpointAddress, *, timeout_s: float) -> Connection:
        """See the contract."""
        try:
            target = iroh.EndpointAddr(
                iroh.EndpointId.from_bytes(address.endpoint_id), address.relay_url, list(address.addresses)
            )
            async with asyncio.timeout(timeout_s):
                connection = IrohConnection(await self._native.connect(target, ALPN))
        except TimeoutError as error:
            raise TransportTimeoutError("nobody with that id answered in time") from error
        except _NATIVE_ERRORS as error:
            raise TransportError(f"cannot connect: {_words(error)}") from error
        if connection.remote_id != address.endpoint_id:  # [TR-1]
            connection.close(1, "wrong endpoint")
            raise TransportError("another endpoint answered")
        return connection

    async def accept(self) -> Connection:
        """See the contract."""
        connection = await self._accepted.get()
        if connection is None:
            self._accepted.put_nowait(None)  # for whoever else waits
            raise ConnectionLostError("the endpoint is closed")
        self._handshakes.release()
        return connection

    async def close(self) -> None:
        """See the contract."""
        if self._closing:
            return
        self._closing = True
        for task in self._tasks:
            task.cancel()
        self._accepted.put_nowait(None)
        with contextlib.suppress(TimeoutError, *_NATIVE_ERRORS):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._native.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept_all(self) -> None:
        """Take what knocks; each handshake in a task of its own, so that a slow one holds up nobody."""
        while True:
            await self._handshakes.acquire()
            try:
                incoming = await self._native.accept_next()
            except _NATIVE_ERRORS:
                incoming = None
            if incoming is None:
                return
            if len(self._tasks) > HANDSHAKES_MAX // 2 and await self._prove_address(incoming):
                self._handshakes.release()
                continue
            self._spawn(self._handshake(incoming))

    async def _prove_address(self, incoming: iroh.Incoming) -> bool:
        """Have whoever knocks show that it is where it says, one round trip more; whether it must knock again.

        Otherwise a stranger that lies about its address takes every place with a packet each, and keeps members out.
        """
        with contextlib.suppress(*_NATIVE_ERRORS):
            if await incoming.remote_addr_validated():
                return False
            await incoming.retry()
        return True

    async def _handshake(self, incoming: iroh.Incoming) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                accepting = await incoming.accept()
                connection = IrohConnection(await accepting.connect())
        except (TimeoutError, *_NATIVE_ERRORS) as error:
            _log.debug("an inbound handshake failed: %s", type(error).__name__)
            self._handshakes.release()
        else:
            self._accepted.put_nowait(connection)  # keeps its place until it is taken, so the queue is bounded too


def other_family(bind: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]:
    """Return the address in `bind`, and where the socket of the other IP family belongs.

    Left alone, the library opens that one on all interfaces, whatever was asked for the first: a node that was told to
    stay on 127.0.0.1 would listen on `[::]`. So it is as wide as the first where that is as wide as can be, and on
    loopback otherwise.

    Raises:
        TransportError: It is not `ip:port`.
    """
    host, colon, port = bind.rpartition(":")
    try:
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host) != host.startswith("["):
            raise ValueError
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise TransportError(f"cannot listen on {one_line(bind)}: not an address like 0.0.0.0:4433") from None
    if address.version == 4:
        return address, "[::]:0" if address.is_unspecified else "[::1]:0"
    return address, "0.0.0.0:0" if address.is_unspecified else "127.0.0.1:0"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


async def _bind_native(seed: bytes, relay_url: str | None, *addresses: str) -> iroh.Endpoint:
    builder = iroh.EndpointBuilder()  # type: ignore[no-untyped-call]  # the binding leaves it out
    builder.apply_minimal()  # no discovery, no relays, nobody else's servers
    builder.relay_mode(iroh.RelayMode.custom_from_urls([relay_url]) if relay_url else iroh.RelayMode.disabled())
    builder.secret_key(seed)
    builder.alpns([ALPN])
    for address in addresses:
        builder.bind_addr(address)
    return await builder.bind()


def _translated(native: iroh.Connection, error: Exception) -> TransportError:
    """Return the error of ours for one of the library's, which tells lost and reset apart only in words."""
    words = _words(error)
    reason = native.close_reason()
    if reason is not None or words.startswith("ConnectionLost") or _is_kind(error, iroh.IrohErrorKind.CONNECTION):
        return ConnectionLostError(one_line(reason or "the connection is gone"))
    if words.startswith(("Reset", "Stopped")):
        return StreamResetError("the peer reset the stream")
    if words.startswith("ClosedStream"):
        return StreamResetError("the stream was reset on this side")
    return TransportError(words)


def _is_kind(error: Exception, kind: iroh.IrohErrorKind) -> bool:
    return isinstance(error, iroh.IrohError) and error.kind() == kind


def _words(error: Exception) -> str:
    text = error.message() if isinstance(error, iroh.IrohError) else str(error)
    return one_line(text.splitlines()[0] if text else type(error).__name__)

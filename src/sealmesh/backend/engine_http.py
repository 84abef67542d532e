"""HTTP/1.1 to an engine: raw streams and httptools, a few connections kept, nothing decoded that need not be."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httptools

from sealmesh import limits
from sealmesh.errors import BackendError, ConfigError

_WRITE_CHUNK: Final = 256 * limits.KIB  # so that a transport never holds a second copy of a large body
_FINAL_STATUS: Final = 200  # lower ones are interim answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an engine listens.

    Attributes:
        host: Name or address, or the path of a socket file.
        port: TCP port, 0 for a socket file.
        tls: Whether to speak TLS.
        unix: Whether `host` is the path of a socket file.
        prefix: What stands before `/chat/completions`, e.g. `/v1`.
    """

    host: str
    port: int
    tls: bool
    unix: bool
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Return the address of a URL, with or without `/v1` at its end.

        Raises:
            ConfigError: The URL cannot be used.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"the engine's URL cannot be read: {error}") from error
        if parts.username is not None or parts.password is not None:
            raise ConfigError("the engine's URL must not hold credentials: give its API key by itself")
        if parts.query or parts.fragment or not url.isprintable() or " " in url:
            raise ConfigError("the engine's URL must end with its path: no query, no fragment, no spaces")
        if parts.scheme == "unix":
            path = unquote(parts.path)
            if not path.startswith("/") or parts.netloc:
                raise ConfigError("an engine on a socket file is named unix:/path/to/socket")
            return cls(host=path, port=0, tls=False, unix=True, prefix="/v1")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("an engine is named http://host:port, https://host or unix:/path")
        prefix = parts.path.rstrip("/")
        if not prefix.endswith("/v1"):
            prefix += "/v1"
        tls = parts.scheme == "https"
        return cls(host=parts.hostname, port=port or (443 if tls else 80), tls=tls, unix=False, prefix=prefix)

    @property
    def local(self) -> bool:
        """Whether the engine is surely on this machine: a loopback address, `localhost`, or a socket file.

        Other names may lead anywhere, at another time too, and count as remote.
        """
        if self.unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        if self.unix:
            return "localhost"
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


class Response:
    """What the parser has seen of one answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[bytes, bytes] = {}
        self.body: deque[bytes] = deque()
        self.status = 0
        self.head_done = False
        self.complete = False
        self.excess = False
        self.framed = False
        self.keep_alive = False
        self._head_size = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the engine.

        Raises:
            BackendError: They are not HTTP, or the head is too large.
        """
        if self.complete:
            self.excess = True
            return
        if not self.head_done:
            self._head_size += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise _broken("The engine's answer is not HTTP that can be read.") from error
        if not self.head_done and self._head_size > limits.BACKEND_HEAD_MAX:
            raise _broken("The head of the engine's answer is too large.")

    def on_message_begin(self) -> None:
        """Called by the parser: a message begins."""
        self.excess = self.excess or self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser: one header."""
        if self.head_done:
            return  # trailers say nothing that we need
        self.headers[name.lower()] = value
        if sum(map(len, self.headers)) + sum(map(len, self.headers.values())) > limits.BACKEND_HEAD_MAX:
            raise ValueError

    def on_headers_complete(self) -> None:
        """Called by the parser: the head has ended, perhaps an interim one."""
        self.status = self.parser.get_status_code()
        if self.status < _FINAL_STATUS:
            self.headers.clear()
            return
        self.head_done = True
        self.keep_alive = self.parser.should_keep_alive()
        self.framed = (
            b"content-length" in self.headers or b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        )

    def on_body(self, data: bytes) -> None:
        """Called by the parser: a part of the body."""
        if self.head_done and not self.excess:
            self.body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser: the message is whole."""
        if self.head_done:
            self.complete = True


def _broken(message: str) -> BackendError:
    return BackendError(502, "engine_broken", message)


def _lost(message: str) -> BackendError:
    return BackendError(502, "engine_lost", message)


@dataclass(slots=True, eq=False)
class Connection:
    """One connection to the engine, used by one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0
    used: bool = field(default=False)

    def abort(self) -> None:
        """Close at once, whatever is in flight: this is what stops the engine."""
        self.writer.transport.abort()

    async def send(self, head: bytes, body: bytes) -> None:
        """Write a request; a large body in parts, each once the one before has left.

        Raises:
            ConnectionError: The engine has closed, perhaps because it has answered already.
            TimeoutError: It takes nothing.
        """
        self.writer.write(head)
        view = memoryview(body)
        for at in range(0, len(view), _WRITE_CHUNK):
            self.writer.write(bytes(view[at : at + _WRITE_CHUNK]) if len(view) > _WRITE_CHUNK else body)
            async with asyncio.timeout(limits.RESPONSE_BODY_TIMEOUT_S):
                await self.writer.drain()

    async def read_into(self, response: Response, timeout: float) -> bool:
        """Feed what has come to the parser; False if the engine has closed.

        Raises:
            BackendError: Not HTTP, or nothing within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                data = await self.reader.read(limits.READ_CHUNK)
        except TimeoutError:
            raise BackendError(504, "engine_too_slow", "The engine has said nothing for too long.") from None
        except OSError:
            return False
        if not data:
            return False
        response.feed(data)
        return True


class Pool:
    """Connections to one engine, a bounded number kept open between requests.

    Args:
        address: Where it listens.
        connections_max: Connections at once; more requests wait.
    """

    def __init__(self, address: Address, *, connections_max: int) -> None:
        self._address = address
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._room = asyncio.Semaphore(connections_max)
        self._tls: ssl.SSLContext | None = None
        if address.tls:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])

    async def take(self, *, fresh: bool = False) -> Connection:
        """Return a connection: a kept one, or a new one.

        Raises:
            BackendError: The engine cannot be reached.
        """
        await self._room.acquire()
        try:
            connection = None if fresh else self._kept()
            connection = connection or await self._connect()
        except BaseException:
            self._room.release()
            raise
        self._busy.add(connection)
        return connection

    def _kept(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            ended = connection.reader.at_eof() or connection.writer.is_closing()
            if not ended and now - connection.idle_since < limits.BACKEND_IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        address = self._address
        try:
            async with asyncio.timeout(limits.BACKEND_CONNECT_TIMEOUT_S):
                if address.unix:
                    reader, writer = await asyncio.open_unix_connection(address.host, limit=limits.READ_CHUNK)
                else:
                    reader, writer = await asyncio.open_connection(
                        address.host, address.port, ssl=self._tls, limit=limits.READ_CHUNK
                    )
        except TimeoutError:
            raise self._unreachable("it does not answer") from None
        except ssl.SSLCertVerificationError as error:
            raise self._unreachable(f"its certificate does not hold ({error.verify_message})") from error
        except OSError as error:
            raise self._unreachable(error.strerror or type(error).__name__) from error
        return Connection(reader, writer)

    def _unreachable(self, why: str) -> BackendError:
        return BackendError(
            503,
            "backend_unavailable",
            f"The engine at {self._address.authority} cannot be reached: {why}. Is it running?",
            retry_after_s=5,
        )

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """End the use of a connection: keep it, or close it at once. A second call does nothing."""
        if connection not in self._busy:
            return
        self._busy.discard(connection)
        self._room.release()
        if reusable and len(self._idle) < limits.BACKEND_IDLE_CONNECTIONS_MAX and not connection.writer.is_closing():
            connection.idle_since = asyncio.get_running_loop().time()
            connection.used = True
            self._idle.append(connection)
        else:
            connection.abort()

    async def close(self) -> None:
        """Close all connections at once."""
        connections: list[Any] = [*self._idle, *self._busy]
        self._idle.clear()
        for connection in connections:
            connection.abort()
        for connection in connections:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.writer.wait_closed()


async def exchange(pool: Pool, head: bytes, body: bytes, *, head_timeout: float) -> tuple[Connection, Response]:
    """Send one request; return once the head of the answer is there.

    A kept connection that the engine closed at the same moment, before any byte of an answer, is tried once more on a
    new one.

    Args:
        pool: Where connections come from.
        head: The request's head, whole.
        body: The request's body.
        head_timeout: Seconds without a byte before it counts as too slow.

    Raises:
        BackendError: The engine cannot be reached, or broke the protocol.
    """
    connection = await pool.take()
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):  # it may have answered and closed: read first
            await connection.send(head, body)
        response = Response()
        while not response.head_done:
            if await connection.read_into(response, head_timeout):
                continue
            if not connection.used or response.status or response.headers:
                raise _lost("The engine closed the connection without an answer.")
            pool.give_back(connection, reusable=False)
            connection = await pool.take(fresh=True)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await connection.send(head, body)
            response = Response()
    except BaseException:
        pool.give_back(connection, reusable=False)
        raise
    return connection, response

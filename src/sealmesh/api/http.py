"""The HTTP/1.1 server below the API and the console: listens, counts, and ends in order.

It stands on asyncio and httptools alone. uvicorn's ASGI path is as fast on the way of tokens, as
`benchmarks/api_chunks.py` shows, but it bounds neither heads nor headers nor their time, and to add that, the checks at
the door, lingering refusals and an ordered end, nearly every callback of its protocol class would be overridden.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

from sealmesh.api.bodies import Budget
from sealmesh.api.connection import Handler, HttpConnection, HttpLimits
from sealmesh.api.doors import Doorkeeper
from sealmesh.api.errors import CODES, where_from
from sealmesh.errors import ConfigError

_LOG: Final = logging.getLogger("sealmesh.api")
_BACKLOG: Final = 512
_END_TIMEOUT_S: Final = 2.0  # what ended requests get to write their last words and close


def cannot_listen(address: str, port: int, error: OSError | OverflowError) -> ConfigError:
    """The error for an address that cannot be listened on."""
    # The event loop's own words say everything twice.
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return ConfigError(f"cannot listen on {address} port {port}: {why}; choose another port, or 0 for any")


def try_port(address: str, port: int) -> None:
    """Say at once that a port is taken, where the server itself starts only after much work (a model's loading).

    Args:
        address: An address literal.
        port: 0 is always free.

    Raises:
        ConfigError: It is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            tried.bind((address, port))
    except OSError as error:
        raise cannot_listen(address, port, error) from error


class HttpServer:
    """A listening server.

    Args:
        handler: Answers the requests.
        address: To listen on, an address literal.
        port: 0 picks a free one.
        doorkeeper: Checks Host, Origin and key.
        bounds: What apps may send and hold.
        tls: Context for TLS.
        on_result: Called with each request's result code; it gets no other word of the request.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        address: str,
        port: int,
        doorkeeper: Doorkeeper,
        bounds: HttpLimits | None = None,
        tls: ssl.SSLContext | None = None,
        on_result: Callable[[str], None] | None = None,
    ) -> None:
        self.handler = handler
        self.doorkeeper = doorkeeper
        self.limits = bounds or HttpLimits()
        self.bodies = Budget(self.limits.bodies_total_max)
        self.connections: set[HttpConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.results: Counter[str] = Counter()
        self.closing = False
        self.loop: asyncio.AbstractEventLoop
        self._address = address
        self._port = port
        self._tls = tls
        self._on_result = on_result
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()

    async def start(self) -> str:
        """Listen, and return the base URL, without a path.

        Raises:
            ConfigError: The port is taken or may not be used.
        """
        self.loop = asyncio.get_running_loop()
        try:
            self._server = await self.loop.create_server(
                lambda: HttpConnection(self),
                self._address,
                self._port,
                ssl=self._tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=self.limits.head_timeout_s if self._tls else None,
            )
        except (OSError, OverflowError) as error:
            raise cannot_listen(self._address, self._port, error) from error
        port = self._server.sockets[0].getsockname()[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._address, self._address)  # noqa: S104 - only named
        host = f"[{shown}]" if ":" in shown else shown
        return f"{'https' if self._tls else 'http'}://{host}:{port}"

    async def shutdown(self, grace_s: float) -> None:
        """Take nothing new, let running answers end within the grace, then end them with an error."""
        if self._server is None:
            return
        self.closing = True
        self._server.close()
        for connection in tuple(self.connections):
            connection.stop_when_idle()
        if self.tasks:
            await asyncio.wait(tuple(self.tasks), timeout=grace_s)
        for connection in tuple(self.connections):
            connection.end_with(CODES["shutting_down"])
        if self.tasks:
            await asyncio.wait(tuple(self.tasks), timeout=_END_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._until_empty()
        for connection in tuple(self.connections):
            connection.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._until_empty()
                await self._server.wait_closed()
        if self.tasks:
            _LOG.warning("%d requests did not end in time", len(self.tasks))

    async def _until_empty(self) -> None:
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    def forget(self, connection: HttpConnection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def count(self, code: str) -> None:
        """Count a result."""
        self.results[code] += 1
        if self._on_result is not None:
            try:
                self._on_result(code)
            except Exception as error:  # who listens cannot break an answer
                _LOG.error("on_result failed: %s", where_from(error))

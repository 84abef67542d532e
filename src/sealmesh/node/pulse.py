"""Finds out within seconds that the other end of a connection is a new process that knows nothing of it.

A host that is killed and started again answers on the same port, but not on the old connection: QUIC takes about 30 s
to give that up, and as long every request to the host would be lost. So a dialled connection that is silent for longer
than the library's own heartbeat is doubted: if the peer answers a new one at once and the old one not even then, the
old one is dead and is closed. A peer that answers neither is just away: QUIC itself finds back to it when the network
is there again, faster than any new connection would.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from sealmesh.errors import TransportError
from sealmesh.mesh.admission import CloseCode
from sealmesh.transport.base import Connection, Endpoint, EndpointAddress

#: Between two looks at a connection.
LOOK_S: Final = 1.0
#: Looks in a row without a byte that make a connection doubtful: iroh lets one be heard of every 5 s.
QUIET_LOOKS: Final = 6
#: Looks that the old connection gets to answer when the new one has: many times what the new one took.
ANSWER_LOOKS: Final = 2
#: For the new connection; a peer that is there needs a few round trips.
PROBE_TIMEOUT_S: Final = 2.0


class PulseEndpoint(Endpoint):
    """An endpoint that closes those of its dialled connections whose peer has forgotten them.

    Run it for as long as the endpoint is used.

    Args:
        inner: The real endpoint.
        sleep: Waits so many seconds.
    """

    def __init__(self, inner: Endpoint, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._inner = inner
        self._sleep = sleep
        self._new: asyncio.Queue[tuple[Connection, EndpointAddress]] = asyncio.Queue()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                connection, address = await self._new.get()
                group.create_task(self._watch(connection, address))

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
        self._new.put_nowait((connection, address))
        return connection

    async def accept(self) -> Connection:
        """See `Endpoint.accept`. Who dialled watches: it alone knows where to ask."""
        return await self._inner.accept()

    async def close(self) -> None:
        """See `Endpoint.close`."""
        await self._inner.close()

    async def _watch(self, connection: Connection, address: EndpointAddress) -> None:
        closed = asyncio.ensure_future(connection.closed())
        try:
            heard, quiet = connection.received_bytes, 0
            while True:
                await self._sleep(LOOK_S)
                if closed.done():
                    return
                if connection.received_bytes != heard:
                    heard, quiet = connection.received_bytes, 0
                    continue
                quiet += 1
                if quiet >= QUIET_LOOKS and await self._is_forgotten(connection, address):
                    connection.close(CloseCode.LEAVING, "the other side has started anew")
                    return
        finally:
            closed.cancel()

    async def _is_forgotten(self, connection: Connection, address: EndpointAddress) -> bool:
        """Whether the peer answers a new connection, and not this one even when it is asked."""
        heard = connection.received_bytes
        try:
            fresh = await self._inner.connect(address, timeout_s=PROBE_TIMEOUT_S)
        except TransportError:
            return False
        try:
            await _nudge(connection)
            for _ in range(ANSWER_LOOKS):
                await self._sleep(LOOK_S)
                if connection.received_bytes != heard:
                    return False
            return True
        finally:
            fresh.close(CloseCode.LEAVING, "only asked whether this node is there")


async def _nudge(connection: Connection) -> None:
    """Send what a peer must acknowledge, and nothing that it would act on: a stream that is reset unused."""
    with contextlib.suppress(TransportError):
        stream = await connection.open(timeout_s=LOOK_S)
        await stream.reset()

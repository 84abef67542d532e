"""The sending half of one exchange at the host: in one order, some frame each second, and never for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from sealmesh.errors import TransportTimeoutError
from sealmesh.limits import (
    FIRST_FRAME_TIMEOUT_S,
    HOST_ASKER_STALL_S,
    HOST_REQUEST_IDLE_S,
    HOST_REQUEST_TIMEOUT_S,
    HOST_SILENCE_S,
    PING_INTERVAL_S,
    WRITE_CHUNK,
)
from sealmesh.sealed.answering import AnsweringEnd
from sealmesh.sealed.exchange import Load, ResponseHead, SealedError, Trailer
from sealmesh.transport.base import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """How long an asker may take, in seconds.

    Attributes:
        first_frame: Until its first frame has authenticated.
        silence: Between two frames of the request, pings included [EX-61].
        request_idle: Without any of the body: pings extend nothing else.
        request: For the whole request.
        ping: At least so often the host says something [EX-60].
        stall: Without taking anything of the answer.
    """

    first_frame: float = FIRST_FRAME_TIMEOUT_S
    silence: float = HOST_SILENCE_S
    request_idle: float = HOST_REQUEST_IDLE_S
    request: float = HOST_REQUEST_TIMEOUT_S
    ping: float = PING_INTERVAL_S
    stall: float = HOST_ASKER_STALL_S


class AnswerSender:
    """Seals and writes.

    Frames must go out in the order in which they were sealed, so sealing and writing are one step under a lock.

    Args:
        stream: Where to.
        exchange: Seals.
        times: See `HostTimes`.
        load: What this host has to do; each ping says it.
    """

    def __init__(self, stream: Stream, exchange: AnsweringEnd, times: HostTimes, *, load: Callable[[], Load]) -> None:
        self._stream = stream
        self._exchange = exchange
        self._times = times
        self._load = load
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._wrote_at = float("-inf")
        self._writing_since: float | None = None
        self._pinger: asyncio.Task[None] | None = None
        self._held: list[bytes] = []  # sealed, and waiting for what follows at once
        self._held_size = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        """HEAD has authenticated: from now on the asker hears from us each second [EX-60].

        When the asker has left, or takes nothing any more, the pinger fails and ends the group, and with it the
        answer, also in a long prefill.
        """
        self._pinger = group.create_task(self._ping(), name="sealmesh-ping")

    async def send_head(self, head: ResponseHead, *, more: bool = False) -> None:
        """Send how the answer begins.

        Args:
            head: Status and headers.
            more: More follows at once: it goes out together, for a write costs more than its bytes.
        """
        await self._send(lambda: self._exchange.send_head(head), more=more)

    async def send_body(self, data: bytes, *, more: bool = False) -> None:
        """Send some of the answer; `more` as for `send_head`."""
        await self._send(lambda: self._exchange.send_body(data), more=more)

    async def finish(self, trailer: Trailer) -> None:
        """End the answer well."""
        await self.stop_pings()
        await self.end_with(self._exchange.finish(trailer))

    async def send_error(self, error: SealedError) -> None:
        """End the answer otherwise; nothing is sent if it has ended."""
        await self.stop_pings()
        if not self._exchange.ended:
            await self.end_with(self._exchange.send_error(error))

    async def end_with(self, last: bytes) -> None:
        """Write the last bytes, end the stream properly, and wait a while until the asker's side has them.

        Raises:
            TransportError: The asker has left, or takes nothing.
        """
        try:
            async with asyncio.timeout(self._times.stall):
                await self._stream.write(self._take_held(last))
                await self._stream.finish()
        except TimeoutError as error:
            raise TransportTimeoutError("the asker takes nothing") from error
        # A node that stops closes its connections when no exchange is open: not before the end has arrived.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.silence):
                await self._stream.delivered()

    async def stop_pings(self) -> None:
        """No more pings. Never in the middle of one: half a frame would spoil the stream."""
        pinger, self._pinger = self._pinger, None
        if pinger is not None:
            async with self._lock:
                pinger.cancel()

    def _take_held(self, last: bytes) -> bytes:
        if not self._held:
            return last
        self._held.append(last)
        data = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        return data

    async def _send(self, seal: Callable[[], bytes], *, more: bool = False) -> None:
        async with self._lock:
            data = seal()
            if more and self._held_size + len(data) <= WRITE_CHUNK:
                self._held.append(data)
                self._held_size += len(data)
                return
            data = self._take_held(data)
            self._writing_since = self._loop.time()
            try:
                await self._stream.write(data)
            finally:
                self._writing_since = None
                self._wrote_at = self._loop.time()

    async def _ping(self) -> None:
        # The first goes out at once, so that the asker knows within a round trip that its request was opened.
        times = self._times
        while True:
            now = self._loop.time()
            if self._writing_since is not None:
                # What is being written says more than a ping; here it is only watched, without a timer a token.
                if now - self._writing_since >= times.stall:
                    raise TransportTimeoutError("the asker takes nothing")
                await asyncio.sleep(min(times.ping, self._writing_since + times.stall - now))
            elif (wait := self._wrote_at + times.ping - now) > 0:
                await asyncio.sleep(wait)
            else:
                try:
                    async with asyncio.timeout(times.stall):
                        await self._send(lambda: self._exchange.send_ping(self._load()))
                except TimeoutError as error:
                    raise TransportTimeoutError("the asker takes nothing") from error

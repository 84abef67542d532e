"""One inbound sealed exchange: open it, hand it to this host's own backend, seal what comes back.

A sealed request is never routed onward: the only thing that this module can reach is the backend it was given
(DESIGN.md section 4; A09).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from sealmesh.backend.base import Backend, BackendRequest, Usage
from sealmesh.errors import BackendError, RemoteProtocolError, TransportError
from sealmesh.host.openings import OpeningRates
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.limits import FIRST_FRAME_TIMEOUT_S, HOST_SILENCE_S, PING_INTERVAL_S, READ_CHUNK
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    HostExchange,
    Opened,
    RequestHead,
    ResponseHead,
    SealedError,
    Trailer,
)
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.transport.base import Stream

_log = logging.getLogger("sealmesh.host")

#: So many requests wait for each slot of the engine; beyond, the host says busy and the asker goes elsewhere.
_QUEUE_PER_SLOT: Final = 8


class HostCounters:
    """What this host served: counts only."""

    def __init__(self) -> None:
        self.open = 0
        self.done = 0
        self.refused: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0


class SealedService:
    """Serves sealed exchanges from this host's own backend.

    Args:
        endpoint_id: This host's own id, 32 bytes.
        keyring: The epochs' keys.
        backend: The engine; the only place an opened prompt goes.
        now: Unix seconds.
        monotonic: Seconds of a clock that never jumps.
        random: Random bytes.
        counters: Counts exchanges and tokens.
    """

    def __init__(
        self,
        *,
        endpoint_id: bytes,
        keyring: KeyRing,
        backend: Backend,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        random: Callable[[int], bytes],
        counters: HostCounters,
    ) -> None:
        self._endpoint_id = endpoint_id
        self._keyring = keyring
        self._backend = backend
        self._now = now
        self._monotonic = monotonic
        self._random = random
        self._counters = counters
        self._rates = OpeningRates()
        self._names = frozenset(model.name for model in backend.models())
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open_exchanges(self) -> int:
        """How many exchanges are running."""
        return self._counters.open

    async def drain(self, grace_s: float) -> None:
        """Refuse what is new as busy; wait until what runs has ended, at most `grace_s`."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Serve one stream whose kind byte, 0xE1, has been read.

        Args:
            peer: The endpoint id that is connected; it is charged for the opening.
            stream: The stream, reset on every way out but the proper one.
        """
        async with stream:
            if self._draining or not self._has_room():
                await self._refuse(stream, Refusal.BUSY)
                return
            if not self._rates.take(peer, self._monotonic()):
                await self._refuse(stream, Refusal.BUSY)
                return
            self._counters.open += 1
            self._idle.clear()
            try:
                await self._exchange(stream)
            finally:
                self._counters.open -= 1
                if self._counters.open == 0:
                    self._idle.set()

    def _has_room(self) -> bool:
        slots = self._backend.parallel
        return slots == 0 or self._counters.open < slots * (1 + _QUEUE_PER_SLOT)

    async def _refuse(self, stream: Stream, code: Refusal) -> None:
        self._counters.refused[code.name.lower()] += 1
        with contextlib.suppress(TransportError):
            await stream.write(encode_refusal(code))
            await stream.finish()

    async def _exchange(self, stream: Stream) -> None:
        exchange = HostExchange(self._keyring, endpoint_id=self._endpoint_id, random=self._random, kind_read=True)
        sender = _Sender(stream, exchange)
        try:
            async with asyncio.TaskGroup() as group:
                # When the asker has left, a ping fails, and the group then stops the answer, also in a long prefill.
                await self._run(stream, exchange, sender, group)
                await sender.stop_pings()
        except* TransportError:
            _log.debug("an asker left before its answer was whole")
        finally:
            exchange.wipe()

    async def _run(
        self, stream: Stream, exchange: HostExchange, sender: _Sender, group: asyncio.TaskGroup
    ) -> None:
        try:
            request = await self._receive(stream, exchange, sender, group)
            await self._answer(sender, request)
        except RemoteProtocolError as error:
            await sender.stop_pings()
            _log.info("an exchange broke the protocol: %s", error.reason)
            self._counters.refused[_refusal_name(error.code)] += 1
            if exchange.refusal is not None:
                await stream.write(exchange.refusal)
                await stream.finish()
        except TimeoutError:
            await sender.stop_pings()
            _log.info("an asker fell silent before its request was whole")
        except BackendError as error:
            self._counters.refused[error.code] += 1
            await sender.send_error(
                SealedError(
                    status=error.status,
                    code=error.code,
                    message=error.message,
                    retry_after_s=error.retry_after_s,
                )
            )

    async def _receive(
        self, stream: Stream, exchange: HostExchange, sender: _Sender, group: asyncio.TaskGroup
    ) -> BackendRequest:
        """Read the request to its authenticated end and rebuild it; nothing was acted on before (PROTOCOL.md)."""
        head: RequestHead | None = None
        body = bytearray()  # grows in place: pieces that are joined would be held twice
        heard = 0
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(FIRST_FRAME_TIMEOUT_S) as silence:
            while True:
                data = await stream.read(READ_CHUNK)
                if not data:
                    exchange.receive_eof_untrusted()
                    raise RemoteProtocolError("the request ended without its authenticated end")
                for event in exchange.receive_untrusted(data, self._now()):
                    match event:
                        case Opened():
                            sender.start(group)
                        case HeadEvent():
                            head = event.head
                        case BodyEvent():
                            body += event.data
                        case ErrorEvent():
                            raise TransportError("the asker gave up")
                        case EndEvent():
                            if head is None:
                                raise RemoteProtocolError("the request ended without a head")
                            return rebuild_request_untrusted(head, body, serves=self._names.__contains__)
                if exchange.heard != heard:
                    # Only what authenticates is a sign of life: a byte a second keeps nothing open [EX-62].
                    heard = exchange.heard
                    silence.reschedule(loop.time() + HOST_SILENCE_S)

    async def _answer(self, sender: _Sender, request: BackendRequest) -> None:
        async with await self._backend.ask(request) as answer:
            await sender.send_head(ResponseHead(status=answer.status, headers=answer.headers))
            while chunk := await answer.read():
                await sender.send_body(chunk)
            usage = answer.usage or Usage()
        await sender.finish(
            Trailer(
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                cached_tokens=usage.cached_tokens,
            )
        )
        self._counters.done += 1
        self._counters.prompt_tokens += usage.prompt_tokens
        self._counters.completion_tokens += usage.completion_tokens


def _refusal_name(code: int) -> str:
    """Under which name a broken exchange is counted."""
    return Refusal(code).name.lower() if code else "protocol_violation"


class _Sender:
    """Seals and writes in one order, and sees to it that some frame goes out at least each second.

    Frames must go out in the order in which they were sealed, so sealing and writing are one step under a lock.
    """

    def __init__(self, stream: Stream, exchange: HostExchange) -> None:
        self.started = False
        self._stream = stream
        self._exchange = exchange
        self._lock = asyncio.Lock()
        self._sent_since_ping = False
        self._pinger: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """HEAD has authenticated: from now on the asker hears from us each second."""
        self.started = True
        self._pinger = group.create_task(self._ping(), name="sealmesh-ping")

    async def _ping(self) -> None:
        # The first goes out at once, so that the asker knows within a round trip that its request was opened.
        while True:
            if not self._sent_since_ping:
                async with self._lock:
                    await self._stream.write(self._exchange.send_ping())
            self._sent_since_ping = False
            await asyncio.sleep(PING_INTERVAL_S)

    async def send_head(self, head: ResponseHead) -> None:
        async with self._lock:
            self._sent_since_ping = True
            await self._stream.write(self._exchange.send_head(head))

    async def send_body(self, data: bytes) -> None:
        async with self._lock:
            self._sent_since_ping = True
            await self._stream.write(self._exchange.send_body(data))

    async def finish(self, trailer: Trailer) -> None:
        await self.stop_pings()
        await self._end(self._exchange.finish(trailer))

    async def send_error(self, error: SealedError) -> None:
        await self.stop_pings()
        await self._end(self._exchange.send_error(error))

    async def _end(self, last: bytes) -> None:
        await self._stream.write(last)
        await self._stream.finish()
        # A node that stops closes its connections when no exchange is open: not before the end has arrived.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOST_SILENCE_S):
                await self._stream.delivered()

    async def stop_pings(self) -> None:
        """No more pings. Never in the middle of one: half a frame would spoil the stream."""
        pinger, self._pinger = self._pinger, None
        if pinger is not None:
            async with self._lock:
                pinger.cancel()

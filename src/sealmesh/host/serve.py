"""One inbound exchange: open it, hand it to this host's own backend, seal what comes back.

A node without a key does the same with what is not sealed (docs/spec/plain.md); one service never does both. A request
is never routed onward: the only thing that this module can reach is the backend it was given
(DESIGN.md section 4; A09).
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Required, TypedDict, Unpack

from sealmesh.backend.base import Backend, BackendRequest, Usage
from sealmesh.errors import BackendError, RemoteProtocolError, TransportError, TransportTimeoutError
from sealmesh.host.openings import BodyBudget, OpeningRates, Places
from sealmesh.host.queue import FairQueue
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.host.sender import AnswerSender, HostTimes
from sealmesh.limits import ERROR_MESSAGE_MAX, HOST_QUEUE_WAIT_S, KIB, READ_CHUNK, TOKENS_MAX
from sealmesh.sealed.answering import AnsweringEnd
from sealmesh.sealed.bare import PlainHostExchange
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    HostExchange,
    Load,
    Opened,
    RequestHead,
    ResponseHead,
    SealedError,
    Trailer,
)
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.messages import UnacceptableRequestError, check_error
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.transport.base import Stream

_log = logging.getLogger("sealmesh.host")

#: A larger body is parsed beside the event loop: other askers must hear from this host each second.
_INLINE_MAX: Final = 256 * KIB


class HostCounters:
    """What this host served: counts only."""

    def __init__(self) -> None:
        self.open = 0
        self.done = 0
        self.refused: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        #: Answers, prompt and completion tokens by model: only this host's own models are ever answered for.
        self.models: dict[str, tuple[int, int, int]] = {}

    def answered(self, model: str, *, prompt_tokens: int, completion_tokens: int) -> None:
        """An exchange came to its end with these counts."""
        self.done += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        done, prompt, completion = self.models.get(model, (0, 0, 0))
        self.models[model] = (done + 1, prompt + prompt_tokens, completion + completion_tokens)


class ServiceParts(TypedDict, total=False):
    """What every `ExchangeService` is made of; its docstring says what each is."""

    backend: Required[Backend]
    now: Required[Callable[[], float]]
    monotonic: Required[Callable[[], float]]
    counters: Required[HostCounters]
    times: HostTimes | None
    rates: OpeningRates | None
    bodies: BodyBudget | None
    queue_wait_s: float


class ExchangeService(abc.ABC):
    """Serves exchanges from this host's own backend.

    Args:
        backend: The engine; the only place an opened prompt goes.
        now: Unix seconds.
        monotonic: Seconds of a clock that never jumps.
        counters: Counts exchanges and tokens.
        times: How long askers may take.
        rates: How many openings a peer has.
        bodies: How much memory requests have.
        queue_wait_s: How long a request waits for its turn at most.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        counters: HostCounters,
        times: HostTimes | None = None,
        rates: OpeningRates | None = None,
        bodies: BodyBudget | None = None,
        queue_wait_s: float = HOST_QUEUE_WAIT_S,
    ) -> None:
        self._backend = backend
        self._now = now
        self._monotonic = monotonic
        self._counters = counters
        self._times = times or HostTimes()
        self._rates = OpeningRates() if rates is None else rates
        self._bodies = BodyBudget() if bodies is None else bodies
        self._places = Places(backend.parallel)
        self._queue = FairQueue(backend.parallel)
        self._queue_wait_s = queue_wait_s
        self._names = frozenset(model.name for model in backend.models())
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @abc.abstractmethod
    def _begin(self) -> AnsweringEnd:
        """This host's end of a new exchange, its stream's kind byte read."""

    def load(self) -> Load:
        """How much this host has to do: told to askers, for the order in which they try hosts [EX-63]."""
        return Load(slots=self._backend.parallel, taken=self._places.open)

    async def take_turn(self, peer: bytes) -> None:
        """Wait for a turn at the engine, which `end_turn` gives back.

        Raises:
            BackendError: None came in time.
        """
        if self._queue.take():
            return
        try:
            async with asyncio.timeout(self._queue_wait_s):
                await self._queue.acquire(peer)
        except TimeoutError as error:
            raise BackendError(503, "busy", "the host has had no room for too long", retry_after_s=1) from error

    def end_turn(self) -> None:
        """Let the next one have its turn."""
        self._queue.release()

    @property
    def open_exchanges(self) -> int:
        """How many exchanges are running."""
        return self._places.open

    async def drain(self, grace_s: float) -> None:
        """Refuse what is new as busy; wait until what runs has ended, at most `grace_s`."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Serve one stream whose kind byte has been read. What goes wrong on it ends here.

        Args:
            peer: The endpoint id that is connected; it is charged for the opening.
            stream: The stream, reset on every way out but the proper one.
        """
        async with stream:
            # First the peer's own account: who floods is charged also while there is no room.
            if not self._rates.take(peer, self._monotonic()) or self._draining or not self._places.take(peer):
                await self._refuse(stream, Refusal.BUSY)
                return
            self._counters.open += 1
            self._idle.clear()
            try:
                await _Exchange(self, peer, stream).run()
            finally:
                self._places.give_back(peer)
                self._counters.open -= 1
                if self._places.open == 0:
                    self._idle.set()

    async def _refuse(self, stream: Stream, code: Refusal) -> None:
        self._counters.refused[code.name.lower()] += 1
        with contextlib.suppress(TransportError, TimeoutError):
            async with asyncio.timeout(self._times.silence):
                await stream.write(encode_refusal(code))
                await stream.finish()


class SealedService(ExchangeService):
    """Serves sealed exchanges.

    Args:
        endpoint_id: This host's own id, 32 bytes.
        keyring: The epochs' keys.
        random: Random bytes.
        more: See `ExchangeService`.
    """

    def __init__(
        self, *, endpoint_id: bytes, keyring: KeyRing, random: Callable[[int], bytes], **more: Unpack[ServiceParts]
    ) -> None:
        super().__init__(**more)
        self._endpoint_id = endpoint_id
        self._keyring = keyring
        self._random = random

    def _begin(self) -> AnsweringEnd:
        return HostExchange(self._keyring, endpoint_id=self._endpoint_id, random=self._random, kind_read=True)


class PlainService(ExchangeService):
    """Serves exchanges that are not sealed, at a node that has no key at all [PL-2].

    Args:
        random: Random bytes.
        more: See `ExchangeService`.
    """

    def __init__(self, *, random: Callable[[int], bytes], **more: Unpack[ServiceParts]) -> None:
        super().__init__(**more)
        self._random = random

    def _begin(self) -> AnsweringEnd:
        return PlainHostExchange(random=self._random, kind_read=True)


class _Exchange:
    """One exchange of a service, from its first byte to its end."""

    def __init__(self, service: ExchangeService, peer: bytes, stream: Stream) -> None:
        self._service = service
        self._peer = peer
        self._stream = stream
        self._sealed = service._begin()
        self._sender = AnswerSender(stream, self._sealed, service._times, load=service.load)
        self._held = 0  # bytes of the body, taken from the service's budget

    async def run(self) -> None:
        """Run it to its end, whichever that is."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._answer_or_say_why(group)
                await self._sender.stop_pings()
        except* TransportError as failures:
            _log.debug("an exchange ended early: %s", failures.exceptions[0])
        finally:
            self._sealed.wipe()
            self._service._bodies.give_back(self._peer, self._held)

    async def _answer_or_say_why(self, group: asyncio.TaskGroup) -> None:
        refused = self._service._counters.refused
        try:
            request = await self._receive(group)
            await self._answer(request)
        except TransportError:
            raise
        except RemoteProtocolError as error:
            _log.info("an exchange broke the protocol: %s", error.reason)
            refused[_refusal_name(error)] += 1
            if self._sealed.refusal is None:
                raise TransportError("an exchange broke the protocol") from error  # the stream is reset
            await self._sender.stop_pings()
            await self._sender.end_with(self._sealed.refusal)
        except BackendError as error:
            refused[error.code] += 1
            await self._sender.send_error(sealed_error(error))
        except Exception as error:
            # A bug of ours: named, so that it is found; without its words, which may be somebody's.
            _log.error("an exchange failed in this host: %s", type(error).__name__)
            refused["internal_error"] += 1
            await self._sender.send_error(
                SealedError(status=500, code="internal_error", message="The host made a mistake.")
            )

    async def _receive(self, group: asyncio.TaskGroup) -> BackendRequest:
        """Read the request to its authenticated end and rebuild it; nothing was acted on before [EX-38].

        Raises:
            RemoteProtocolError: It broke the protocol, or ended without its end.
            TransportError: The asker left, gave up, fell silent or was too slow.
            BackendError: It is one that this host does not answer.
        """
        service, times = self._service, self._service._times
        head: RequestHead | None = None
        body = bytearray()  # grows in place: pieces that are joined would be held twice
        heard = 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + times.request
        idle_at = loop.time() + times.request_idle
        try:
            async with asyncio.timeout(times.first_frame) as silence:
                while True:
                    data = await self._stream.read(READ_CHUNK)
                    if not data:
                        self._sealed.receive_eof_untrusted()
                        raise RemoteProtocolError("the request ended without its authenticated end")
                    for event in self._sealed.receive_untrusted(data, service._now()):
                        match event:
                            case Opened():
                                self._sender.start(group)
                            case HeadEvent():
                                head = event.head
                            case BodyEvent():
                                self._hold(len(event.data))
                                body += event.data
                                idle_at = loop.time() + times.request_idle
                            case ErrorEvent():
                                raise TransportError("the asker gave up")
                            case EndEvent():
                                silence.reschedule(None)
                                return await self._rebuild(head, body)
                    if self._sealed.heard != heard:
                        # Only what authenticates is a sign of life: a byte a second keeps nothing open [EX-61].
                        heard = self._sealed.heard
                        silence.reschedule(min(loop.time() + times.silence, idle_at, deadline))
        except TimeoutError as error:
            raise TransportTimeoutError("the asker fell silent before its request was whole") from error

    def _hold(self, length: int) -> None:
        """Take memory for some of the body.

        Raises:
            BackendError: There is none now.
        """
        if not self._service._bodies.take(self._peer, length):
            raise BackendError(503, "busy", "the host holds as many requests as it can", retry_after_s=1)
        self._held += length

    async def _rebuild(self, head: RequestHead | None, body: bytearray) -> BackendRequest:
        if head is None:  # the table of frames does not allow it
            raise RemoteProtocolError("the request ended without a head")
        serves = self._service._names.__contains__
        if len(body) <= _INLINE_MAX:
            return rebuild_request_untrusted(head, body, serves=serves)
        return await asyncio.to_thread(rebuild_request_untrusted, head, body, serves=serves)

    async def _answer(self, request: BackendRequest) -> None:
        await self._service.take_turn(self._peer)
        try:
            async with await self._service._backend.ask(request) as answer:
                head = ResponseHead(status=answer.status, headers=answer.headers)
                await self._sender.send_head(head, more=answer.ready)
                while chunk := await answer.read():
                    await self._sender.send_body(chunk, more=answer.ready)
                usage = answer.usage or Usage()
        finally:
            self._service.end_turn()
        trailer = trailer_of(usage)
        await self._sender.finish(trailer)
        self._service._counters.answered(
            request.model, prompt_tokens=trailer.prompt_tokens, completion_tokens=trailer.completion_tokens
        )


def trailer_of(usage: Usage) -> Trailer:
    """What an engine counted, within what a trailer takes [EX-35]: a wrong count must not spoil a whole answer."""
    return Trailer(
        prompt_tokens=min(max(0, usage.prompt_tokens), TOKENS_MAX),
        completion_tokens=min(max(0, usage.completion_tokens), TOKENS_MAX),
        cached_tokens=min(max(0, usage.cached_tokens), TOKENS_MAX),
    )


def sealed_error(error: BackendError) -> SealedError:
    """Say an engine's error in a form that travels [EX-36]; what does not fit is replaced."""
    said = SealedError(
        status=error.status,
        code=error.code,
        message=error.message.encode("utf-8", "replace")[:ERROR_MESSAGE_MAX].decode("utf-8", "ignore"),
        retry_after_s=error.retry_after_s,
    )
    if check_error(said) is None:
        return said
    status = error.status if 400 <= error.status <= 599 else 502
    return SealedError(status=status, code="backend_error", message="The host's engine failed.")


def _refusal_name(error: RemoteProtocolError) -> str:
    """Under which name a broken exchange is counted."""
    if isinstance(error, UnacceptableRequestError):
        return error.error.code
    return Refusal(error.code).name.lower() if error.code else "protocol_violation"

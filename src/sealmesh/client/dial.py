"""One request's life at the asker: choose, seal, send, and read the answer to its authenticated end.

Other hosts are tried until the head of an answer has come; from then on the answer is this host's or an error
(DESIGN.md section 9). No failure of any kind leads to anything but another sealed try or an error
(PROTOCOL.md: "Nothing here ever leads to plaintext").
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from sealmesh.attestation.verified import VerifiedHost
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing, SealedBy
from sealmesh.client.counters import Counters
from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    HostTooSlowError,
    LocalProtocolError,
    RemoteProtocolError,
    SealmeshError,
    TransportError,
    VerificationError,
)
from sealmesh.limits import (
    CACHE_KEY_MAX,
    CLIENT_SILENCE_S,
    READ_CHUNK,
    RESPONSE_BODY_TIMEOUT_S,
    RESPONSE_HEAD_TIMEOUT_S,
)
from sealmesh.routing.choose import order
from sealmesh.routing.directory import Candidate, Directory
from sealmesh.sealed.exchange import (
    BodyEvent,
    ClientExchange,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    PingEvent,
    RefusedEvent,
    RequestHead,
)
from sealmesh.sealed.refusal import Refusal
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Stream

_log = logging.getLogger("sealmesh.client")

_T = TypeVar("_T")

_SEALED_BY: Final[dict[Suite, SealedBy]] = {Suite.X25519: "x25519", Suite.XWING: "xwing"}

#: A body up to this size goes out in one write together with its head; a larger one has a task of its own, so that a
#: host's early refusal is heard.
_ONE_WRITE: Final = 256 * 1024


class HostKeys(Protocol):
    """What the dialer needs of the verifier."""

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        """The host to seal to at `now`, or None."""

    def suite_for(self, host: VerifiedHost) -> Suite:
        """The best suite of the signed statement; never a weaker one than was seen before."""

    async def refresh(self, endpoint_id: bytes) -> VerifiedHost | None:
        """Fetch the host's keys part anew; a host only if it is newer than before and verified in full."""


#: Opens a stream of the sealed kind to a host, connecting first where needed; the kind byte goes out by itself.
#: Raises TransportError.
OpenStream = Callable[[bytes], Awaitable[Stream]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an answer may take, in seconds. Pings extend only `silence`."""

    silence: float = CLIENT_SILENCE_S
    head: float = RESPONSE_HEAD_TIMEOUT_S
    body: float = RESPONSE_BODY_TIMEOUT_S


class _RefusedError(SealmeshError):
    """The host answered `0xE0`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with code {code}")
        self.code = code


class Dialer(Asker):
    """Seals requests of apps to verified hosts.

    Args:
        directory: Who offers which model, and who may be used.
        keys: Verdicts and keys, ahead of need.
        open_stream: Opens a sealed stream to an endpoint id.
        rtt_ms: Round-trip time to a connected host, else None.
        now: Unix seconds.
        random: Random bytes.
        counters: Counts requests and tokens.
        timeouts: See `Timeouts`.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        keys: HostKeys,
        open_stream: OpenStream,
        rtt_ms: Callable[[bytes], float | None],
        now: Callable[[], float],
        random: Callable[[int], bytes],
        counters: Counters,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._open_stream = open_stream
        self._rtt_ms = rtt_ms
        self._now = now
        self._random = random
        self._counters = counters
        self._timeouts = timeouts or Timeouts()
        # Salts the cache key of a conversation: no host can tell which session name the app used.
        self._cache_salt = random(32)

    def models(self) -> tuple[ModelListing, ...]:
        """See `Asker.models`."""
        now = self._now()
        listings = []
        for name in self._directory.model_names():
            found = self._directory.candidates(name, now)
            usable = found.usable
            listings.append(
                ModelListing(
                    name=name,
                    context_length=max((candidate.context_length for candidate in usable), default=0),
                    hosts=len(usable) + len(found.refused),
                    usable=bool(usable),
                    best_tier=max((candidate.host.tier for candidate in usable)).label if usable else "none",
                    refused={host.hex(): reason for host, reason in found.refused.items()},
                )
            )
        return tuple(listings)

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        candidates = order(self._directory, request.model, self._now(), rtt_ms=self._rtt_ms)
        self._counters.asked(request.model)
        try:
            return await self._ask_in_turn(request, candidates)
        except BaseException as error:
            self._counters.failed(error)
            raise

    async def _ask_in_turn(self, request: AppRequest, candidates: Sequence[Candidate]) -> Answer:
        last: Exception = BusyError("every host that could answer is busy")
        for position, candidate in enumerate(candidates):
            endpoint_id = candidate.offer.endpoint_id
            final_try = position == len(candidates) - 1
            try:
                answer = await self._try_host(request, candidate.host)
            except BusyError as error:
                last = error
                continue
            except (TransportError, RemoteProtocolError, VerificationError) as error:
                last = error
                self._directory.note_failure(endpoint_id, self._now())
                _log.warning("host %s failed before its answer: %s", endpoint_id.hex()[:12], type(error).__name__)
                continue
            except BackendError as error:
                last = error
                if error.status < 500:
                    raise
                continue
            if answer.status >= 500 and not final_try:
                # The host's engine is down; nothing has been shown to the app, so the next host may answer.
                await answer.close()
                continue
            return answer
        if isinstance(last, VerificationError):
            raise HostLostError("the host's keys ended before they could be used") from last
        raise last

    async def _try_host(self, request: AppRequest, host: VerifiedHost) -> _SealedAnswer:
        """Ask one host; once more with fresh keys if it says that it cannot open ours (PROTOCOL.md, 0xE0 codes)."""
        try:
            return await self._exchange(request, host)
        except _RefusedError as refusal:
            if refusal.code == Refusal.BUSY:
                raise BusyError("the host is busy") from refusal
            fresh = await self._keys.refresh(host.endpoint_id)
            if fresh is None or fresh.epoch_digest == host.epoch_digest:
                raise HostLostError("the host cannot open requests sealed to its keys") from refusal
            try:
                return await self._exchange(request, fresh)
            except _RefusedError as again:
                if again.code == Refusal.BUSY:
                    raise BusyError("the host is busy") from again
                raise HostLostError("the host cannot open requests sealed to its newest keys") from again

    async def _exchange(self, request: AppRequest, host: VerifiedHost) -> _SealedAnswer:
        """Seal and send; return once the answer's head has authenticated."""
        suite = self._keys.suite_for(host)
        stream = await self._open_stream(host.endpoint_id)
        exchange = ClientExchange(host, suite=suite, now=self._now(), random=self._random, kind_sent=True)
        answer = _SealedAnswer(
            stream=stream,
            exchange=exchange,
            host=host,
            suite=suite,
            timeouts=self._timeouts,
            directory=self._directory,
            counters=self._counters,
            now=self._now,
            model=request.model,
        )
        try:
            await answer.send(
                RequestHead(
                    operation=request.operation,
                    headers=request.headers,
                    padding=0,
                    cache_key=self._cache_key(request.session),
                ),
                request.body,
            )
            await answer.wait_for_head()
        except BaseException:
            await answer.close()
            raise
        return answer

    def _cache_key(self, session: str) -> bytes:
        if not session:
            return b""
        return hashlib.sha256(self._cache_salt + session.encode()).digest()[:CACHE_KEY_MAX]


class _SealedAnswer(Answer):
    """An answer that arrives sealed on one stream."""

    def __init__(
        self,
        *,
        stream: Stream,
        exchange: ClientExchange,
        host: VerifiedHost,
        suite: Suite,
        timeouts: Timeouts,
        directory: Directory,
        counters: Counters,
        now: Callable[[], float],
        model: str,
    ) -> None:
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.proof = AnswerProof(
            host=host.endpoint_id.hex(),
            sealed=_SEALED_BY[suite],
            tier=host.tier.label,
            evidence=host.evidence_digest.hex(),
            exchange=exchange.exchange_id.hex(),
        )
        self._stream = stream
        self._exchange = exchange
        self._host = host
        self._directory = directory
        self._counters = counters
        self._now = now
        self._model = model
        self._health = directory.health(host.endpoint_id)
        self._health.open_exchanges += 1
        self._pending: list[bytes] = []
        self._sender: asyncio.Task[None] | None = None
        self._watch = _Watchdog(timeouts, self._cut)
        self._heard = 0
        self._closed = False
        self._complete = False
        self._failed = False

    async def send(self, head: RequestHead, body: bytes) -> None:
        """Send the whole request: in one write where it is small, else from a task beside the reading."""
        if len(body) <= _ONE_WRITE:
            sealed = [self._exchange.send_head(head), self._exchange.send_body(body), self._exchange.finish()]
            self._watch.start()
            await self._guarded(self._send_all(sealed))
        else:
            first = self._exchange.send_head(head)
            self._watch.start()
            self._sender = asyncio.create_task(self._send_large(first, body), name="sealmesh-request-body")

    async def _send_all(self, sealed: list[bytes]) -> None:
        await self._stream.write(b"".join(sealed))
        await self._stream.finish()

    async def _send_large(self, first: bytes, body: bytes) -> None:
        try:
            await self._stream.write(first)
            for frame in self._exchange.body_frames(body):
                await self._stream.write(frame)
            await self._stream.write(self._exchange.finish())
            await self._stream.finish()
        except (TransportError, LocalProtocolError):
            # The host stopped listening, or has ended the exchange already; why, the reading side will learn (a
            # refusal, a sealed error, a loss).
            _log.debug("the host stopped reading the request")

    async def wait_for_head(self) -> None:
        """Read until the response's HEAD has authenticated."""
        while not self.status:
            await self._step()
            if self._complete and not self.status:
                raise RemoteProtocolError("the answer ended without a head")
        self._watch.head_came()

    async def read(self) -> bytes:
        """See `Answer.read`."""
        while True:
            if self._pending:
                data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
                self._pending.clear()
                self._watch.body_came()
                return data
            if self._complete:
                return b""
            try:
                await self._step()
            except BaseException as error:
                self._fail(error)
                raise

    async def _step(self) -> None:
        """Read once from the stream and take in what came: a whole short answer may come at once."""
        data = await self._guarded(self._stream.read(READ_CHUNK))
        if not data:
            self._exchange.receive_eof_untrusted()
            raise HostLostError("the stream ended before the answer's authenticated end")
        for event in self._exchange.receive_untrusted(data):
            match event:
                case BodyEvent():
                    self._pending.append(event.data)
                case HeadEvent():
                    self.status = event.head.status
                    self.headers = event.head.headers
                case EndEvent():
                    self._finish(event)
                case ErrorEvent():
                    error = event.error
                    raise BackendError(
                        error.status, error.code, error.message, retry_after_s=error.retry_after_s
                    )
                case RefusedEvent():
                    raise _RefusedError(event.code)
                case PingEvent():
                    pass
        if self._exchange.heard != self._heard:
            # Only what authenticates is a sign of life: a byte a second keeps nothing open [EX-61].
            self._heard = self._exchange.heard
            self._watch.heard()

    async def _guarded(self, awaitable: Awaitable[_T]) -> _T:
        """Await with the silence clock running; what the clock cut becomes the reason that it cut for."""
        self._watch.waiting(True)
        try:
            return await awaitable
        except TransportError as error:
            if self._watch.expired is not None:
                raise self._watch.expired from error
            raise
        finally:
            self._watch.waiting(False)

    def _finish(self, end: EndEvent) -> None:
        self._complete = True
        self._watch.stop()
        self._directory.note_success(self._host.endpoint_id)
        self._counters.done(
            self._model,
            prompt_tokens=end.trailer.prompt_tokens,
            completion_tokens=end.trailer.completion_tokens,
        )

    def _fail(self, error: BaseException) -> None:
        self._failed = True
        if isinstance(error, (TransportError, RemoteProtocolError)):
            self._directory.note_failure(self._host.endpoint_id, self._now())
        self._counters.failed(error)

    def _cut(self) -> None:
        # The reset wakes the pending read or write, which then raises the watchdog's reason.
        self._closing = asyncio.ensure_future(self._stream.reset())

    async def close(self) -> None:
        """See `Answer.close`."""
        if self._closed:
            return
        self._closed = True
        if self.status and not self._complete and not self._failed:
            self._counters.left()
        self._watch.stop()
        self._health.open_exchanges -= 1
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(self._sender, return_exceptions=True))
        self._exchange.wipe()
        await self._stream.reset()


class _Watchdog:
    """Cuts an answer whose host falls silent, or pings without answering (PROTOCOL.md, Liveness).

    The clock runs only while this side waits: an app that reads slowly costs the host nothing. One timer an
    answer, looked at a few times in its period: no timer is touched on the way of a token.
    """

    def __init__(self, timeouts: Timeouts, cut: Callable[[], None]) -> None:
        self.expired: TransportError | None = None
        self._timeouts = timeouts
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._waiting = False
        self._heard_at = 0.0
        self._progress_at = 0.0
        self._paused_at = 0.0
        self._progress_timeout = timeouts.head

    def start(self) -> None:
        self._heard_at = self._progress_at = self._paused_at = self._loop.time()
        self._look()

    def waiting(self, on: bool) -> None:
        now = self._loop.time()
        if on:
            # What the app took to read is its own time: the host's clocks stood still meanwhile.
            away = now - self._paused_at
            self._heard_at += away
            self._progress_at += away
        self._paused_at = now
        self._waiting = on

    def heard(self) -> None:
        self._heard_at = self._loop.time()

    def head_came(self) -> None:
        self._progress_at = self._loop.time()
        self._progress_timeout = self._timeouts.body

    def body_came(self) -> None:
        self._progress_at = self._loop.time()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        now = self._loop.time()
        if self._waiting and now - self._heard_at >= self._timeouts.silence:
            self.expired = HostLostError(f"the host was silent for {self._timeouts.silence:g} s")
        elif self._waiting and now - self._progress_at >= self._progress_timeout:
            self.expired = HostTooSlowError(f"the host gave no answer for {self._progress_timeout:g} s")
        if self.expired is not None:
            self._handle = None
            self._cut()
            return
        self._handle = self._loop.call_later(self._timeouts.silence / 10, self._look)

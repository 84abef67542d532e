"""One exchange at the asker, sealed or not: the request goes out, the answer comes in to its authenticated end.

It either ends with `b""` from `read`, after FINAL, or with one error, again and again: never with both, and nothing
is released after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from sealmesh.client.asker import Answer, AnswerProof
from sealmesh.client.counters import OpenRequest
from sealmesh.client.watch import AnswerWatch, Timeouts
from sealmesh.errors import (
    BackendError,
    HostLostError,
    LocalProtocolError,
    RemoteProtocolError,
    StreamResetError,
    TransportError,
)
from sealmesh.limits import BACKEND_ERROR_BODY_MAX, KIB, READ_CHUNK
from sealmesh.routing.directory import Directory
from sealmesh.sealed.asking import AskingEnd
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    PingEvent,
    RefusedEvent,
    RequestHead,
    Trailer,
)
from sealmesh.sealed.refusal import Refusal
from sealmesh.transport.base import Stream

_log = logging.getLogger("sealmesh.client")

_T = TypeVar("_T")

#: A body up to this size goes out in one write together with its head; a larger one has a task of its own, so that
#: a host's early refusal and its pings are heard.
ONE_WRITE: Final = 64 * KIB


class HostRefusedError(RemoteProtocolError):
    """The host answered `0xE0`: a hint, which anyone on the path can write [EX-46].

    Args:
        code: What it gave as the reason.
    """

    def __init__(self, code: Refusal) -> None:
        super().__init__(f"the host refused: {code.name.lower()}", code=code)


def is_host_failure(error: BaseException) -> bool:
    """Whether an error speaks against the host: others are tried first for a while."""
    if isinstance(error, BackendError):
        return is_engine_failure(error.status)
    return isinstance(error, (TransportError, RemoteProtocolError))


def is_engine_failure(status: int) -> bool:
    """Whether a status says that the host's engine is down: 503 says that it is busy, 501 that it never learnt that."""
    return status >= 500 and status not in (501, 503)


class HostAnswer(Answer):
    """An answer that arrives on one stream. Close it on every way out.

    Args:
        stream: Its kind byte has been written.
        exchange: With the host, sealed to it or not.
        endpoint_id: Who answers.
        proof: What was checked, and how it is sealed.
        timeouts: See `Timeouts`.
        directory: Told how the host behaves.
        now: Unix seconds.
    """

    def __init__(
        self,
        *,
        stream: Stream,
        exchange: AskingEnd,
        endpoint_id: bytes,
        proof: AnswerProof,
        timeouts: Timeouts,
        directory: Directory,
        now: Callable[[], float],
    ) -> None:
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.proof = proof
        self._stream = stream
        self._exchange = exchange
        self._endpoint_id = endpoint_id
        self._directory = directory
        self._now = now
        self._pending: list[bytes] = []
        self._trailer: Trailer | None = None
        self._error: Exception | None = None
        self._sender: asyncio.Task[None] | None = None
        self._cutter: asyncio.Task[None] | None = None
        self._watch = AnswerWatch(timeouts, self._cut, asyncio.get_running_loop())
        self._heard = 0
        self._closed = False
        self._counted: OpenRequest | None = None
        directory.exchange_opened(endpoint_id)

    @property
    def endpoint_id(self) -> bytes:
        """Who answers, 32 bytes."""
        return self._endpoint_id

    # --- before the app has it ----------------------------------------------------------------------------------------

    async def send(self, head: RequestHead, body: bytes) -> None:
        """Send the whole request: in one write where it is small, else from a task beside the reading.

        Raises:
            LocalProtocolError: The head or body is one that no host takes.
        """
        if len(body) <= ONE_WRITE:
            sealed = [self._exchange.send_head(head), self._exchange.send_body(body), self._exchange.finish()]
            self._watch.start()
            await self._waiting_for_host(self._send_small(b"".join(sealed)))
        else:
            first = self._exchange.send_head(head)
            frames = self._exchange.body_frames(body)
            first += next(frames)  # a body that no host takes fails here, and not in a task
            self._watch.start()
            self._sender = asyncio.create_task(self._send_large(first, frames), name="sealmesh-request-body")

    async def _send_small(self, sealed: bytes) -> None:
        with contextlib.suppress(TransportError):  # why, the reading will say: a refusal, a sealed error, a loss
            await self._stream.write(sealed)
            await self._stream.finish()

    async def _send_large(self, first: bytes, frames: Iterator[bytes]) -> None:
        try:
            await self._stream.write(first)
            for frame in frames:
                await self._stream.write(frame)
            await self._stream.write(self._exchange.finish())
            await self._stream.finish()
        except (TransportError, LocalProtocolError) as error:
            # The host stopped listening, or has ended the exchange already; why, the reading side will learn.
            _log.debug("the host stopped reading the request (%s)", type(error).__name__)

    async def wait_for_head(self) -> None:
        """Read until the answer's HEAD has authenticated.

        Raises:
            HostRefusedError: The host said `0xE0`.
            BackendError: It sealed an error instead of an answer.
            TransportError, RemoteProtocolError: As `Answer.read`.
        """
        while not self.status:
            await self._step()
        self._watch.head_came()

    async def says(self, code: str) -> bool:
        """Whether this answer is an error object with that code. What is read for it is kept for `read`.

        Raises:
            TransportError, RemoteProtocolError, BackendError: As `Answer.read`.
        """
        while self._trailer is None and sum(map(len, self._pending)) <= BACKEND_ERROR_BODY_MAX:
            await self._step()
        self._pending = [b"".join(self._pending)] if self._pending else []
        if self._trailer is None or not self._pending:
            return False
        try:
            said = msgspec.json.decode(self._pending[0], type=dict[str, dict[str, Any]])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return said.get("error", {}).get("code") == code

    def hand_over(self, counted: OpenRequest) -> None:
        """The app gets this answer: from now on there is no other, and this one's end is the request's end."""
        self._counted = counted
        counted.answered_by(self.proof)
        if self._trailer is not None:
            self._count_done(self._trailer)

    # --- at the app ---------------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """See `Answer.read`."""
        while True:
            if self._error is not None:
                raise self._error
            if self._pending:
                data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
                self._pending.clear()
                self._watch.body_came()
                if self._counted is not None:
                    self._counted.began()
                return data
            if self._trailer is not None:
                return b""
            if self._closed:
                raise LocalProtocolError("an answer was read after it was closed")
            await self._step()

    async def _step(self) -> None:
        """Read once from the stream and take in what came: a whole short answer may come at once."""
        try:
            await self._take_in()
        except Exception as error:  # a read that is cancelled has lost nothing, and may be tried again
            self._fail(error)
            raise

    async def _take_in(self) -> None:
        data = await self._waiting_for_host(self._stream.read(READ_CHUNK))
        if not data:
            try:
                self._exchange.receive_eof_untrusted()
            except RemoteProtocolError as error:
                raise HostLostError("the stream ended before the answer's authenticated end") from error
            raise HostLostError("the stream ended without an answer")
        for event in self._exchange.receive_untrusted(data):
            match event:
                case BodyEvent():
                    self._pending.append(event.data)
                case HeadEvent():
                    self.status = event.head.status
                    self.headers = event.head.headers
                case EndEvent():
                    self._finish(event.trailer)
                case ErrorEvent():
                    said = event.error
                    raise BackendError(said.status, said.code, said.message, retry_after_s=said.retry_after_s)
                case RefusedEvent():
                    raise HostRefusedError(event.code)
                case PingEvent():
                    if (load := event.load) is not None:
                        self._directory.note_load(
                            self._endpoint_id, slots=load.slots, taken=load.taken, now=self._now()
                        )
        if self._exchange.heard != self._heard:
            # Only what authenticates is a sign of life: a byte a second keeps nothing open [EX-61].
            self._heard = self._exchange.heard
            self._watch.heard()

    async def _waiting_for_host(self, awaitable: Awaitable[_T]) -> _T:
        """Await with the clocks running; what they cut becomes the reason that they cut for."""
        self._watch.wait()
        try:
            return await awaitable
        except TransportError as error:
            if self._watch.expired is not None:
                raise self._watch.expired from error
            if isinstance(error, StreamResetError):
                raise HostLostError("the stream was reset before the answer's authenticated end") from error
            raise
        finally:
            self._watch.pause()

    def _finish(self, trailer: Trailer) -> None:
        self._trailer = trailer
        self._watch.stop()
        if is_engine_failure(self.status):
            self._directory.note_failure(self._endpoint_id, self._now())
        else:
            self._directory.note_success(self._endpoint_id)
        self._count_done(trailer)

    def _count_done(self, trailer: Trailer) -> None:
        if self._counted is not None:
            self._counted.done(prompt_tokens=trailer.prompt_tokens, completion_tokens=trailer.completion_tokens)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._pending.clear()
        self._watch.stop()
        if self._counted is not None:  # before that, whoever tries the next host judges
            if is_host_failure(error):
                self._directory.note_failure(self._endpoint_id, self._now())
            self._counted.failed(error)

    def _cut(self) -> None:
        # The reset wakes the pending read or write, which then raises the watch's reason.
        self._cutter = asyncio.create_task(self._stream.reset(), name="sealmesh-cut")

    async def close(self) -> None:
        """See `Answer.close`."""
        if self._closed:
            return
        self._closed = True
        if self._counted is not None:
            self._counted.left()  # changes nothing where it has ended
        self._watch.stop()
        self._directory.exchange_closed(self._endpoint_id)
        tasks = [task for task in (self._sender, self._cutter) if task is not None]
        if self._sender is not None:
            self._sender.cancel()
        try:
            await self._stream.reset()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self._exchange.wipe()

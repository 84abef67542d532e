"""One HTTP/1.1 connection of an app: an `asyncio.Protocol`, bounded in everything that can be sent or left open.

One request is answered at a time; what an app sends ahead waits, unparsed, up to a bound.

States of a connection::

    HEAD ── whole head ──▶ BODY ── whole body ──▶ ANSWERING ── answered, kept open ──▶ HEAD
      └────── refused ──────┴────────────────────▶ LINGERING (reads and drops, so that no reset eats the refusal)
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from sealmesh import limits
from sealmesh.api.bodies import ChunkedBody, Holder, LengthBody
from sealmesh.api.errors import CODES, PublicError, public_error, refusal, where_from
from sealmesh.api.heads import RequestHead, check_unfinished_head_untrusted, find_head_end, parse_head_untrusted
from sealmesh.api.reply import Reply
from sealmesh.errors import LocalProtocolError, SealmeshError

if TYPE_CHECKING:
    from sealmesh.api.http import HttpServer

_LOG: Final = logging.getLogger("sealmesh.api")

_REFUSED_AT_ONCE_MAX: Final = 64  # connections beyond the bound that still get a word before they close

OK: Final = "ok"
APP_LEFT: Final = "app_left"
APP_STALLED: Final = "app_stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The bounds of one server; the defaults are those of `limits`. Times in seconds, sizes in bytes."""

    head_max: int = limits.HTTP_HEAD_MAX
    head_timeout_s: float = limits.HTTP_HEAD_TIMEOUT_S
    body_max: int = limits.HTTP_BODY_MAX
    bodies_total_max: int = limits.HTTP_BODIES_TOTAL_MAX
    body_idle_s: float = limits.HTTP_BODY_IDLE_S
    keepalive_s: float = limits.HTTP_KEEPALIVE_S
    ahead_max: int = limits.HTTP_AHEAD_MAX
    linger_s: float = limits.HTTP_LINGER_S
    write_stall_s: float = limits.HTTP_WRITE_STALL_S
    connections_max: int = limits.HTTP_CONNECTIONS_MAX


class HttpRequest:
    """A whole request. The body can be dropped as soon as it was handed on, so that a long answer holds no memory."""

    __slots__ = ("_holder", "body", "head")

    def __init__(self, head: RequestHead, holder: Holder | None = None) -> None:
        self.head = head
        self.body = b"" if holder is None else holder.take()
        self._holder = holder

    def drop_body(self) -> None:
        """Let the body go. A second call does nothing."""
        self.body = b""
        if self._holder is not None:
            self._holder.release()
            self._holder = None


class Handler(Protocol):
    """What a server does with requests."""

    def check_head(self, head: RequestHead) -> None:
        """Refuse early, before any body is read.

        Raises:
            RequestError: The refusal.
        """

    async def respond(self, request: HttpRequest, reply: Reply) -> str:
        """Answer, and return the result's code for the counters. A `SealmeshError` raised becomes the answer."""


class _State(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWERING = enum.auto()
    LINGERING = enum.auto()


class HttpConnection(asyncio.Protocol):
    """One connection of an app."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._local = ("", 0)
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._searched = 0
        self._head: RequestHead | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress = 0.0
        self._reading_paused = False
        self._resumed: asyncio.Future[None] | None = None
        self._ended_by: PublicError | None = None
        self._first = True
        self.paused = False
        self.gone = False

    # --- what the event loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first head, or refuse when the house is full."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("sockname")
        self._local = (str(name[0]), int(name[1]))
        self._server.connections.add(self)
        over = len(self._server.connections) - self._limits.connections_max
        if over > _REFUSED_AT_ONCE_MAX:
            self.cut()
        elif over > 0:
            self._refuse(CODES["busy"])
        elif self._server.closing:
            self._close()
        else:
            self._arm(self._limits.head_timeout_s, self._head_too_slow)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the app."""
        if self._state is _State.LINGERING or self.gone:
            return
        self._buffer += data
        if self._state is _State.ANSWERING:
            self._keep_ahead()
        else:
            self._advance()

    def eof_received(self) -> bool:
        """The app closed its side: it is gone, and so is its request (a half-close is not told apart from leaving)."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it was lost changes nothing
        """Forget the connection and end what runs for it."""
        self._leave()
        self._disarm()
        self._buffer.clear()
        self._server.forget(self)

    def pause_writing(self) -> None:
        """The app takes nothing now."""
        self.paused = True

    def resume_writing(self) -> None:
        """The app takes bytes again."""
        self.paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # --- what a reply needs ------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Write bytes; drops them if the app is gone."""
        if data and self._transport is not None and not self.gone:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the app takes bytes again; one that takes none for too long is cut."""
        while self.paused and not self.gone and self._transport is not None:
            unsent = self._transport.get_write_buffer_size()
            self._resumed = self._loop.create_future()
            try:
                async with asyncio.timeout(self._limits.write_stall_s):
                    await self._resumed
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= unsent:
                    self._server.count(APP_STALLED)
                    self.cut()
            finally:
                self._resumed = None
        if self.gone:
            await asyncio.sleep(0)  # where the cancelled request stops, even if its answer never waits

    # --- reading -----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on with what lies in the buffer."""
        try:
            if self._state is _State.HEAD:
                self._read_head()
            if self._state is _State.BODY and self._head is not None and self._body is not None:
                self._read_body(self._head, self._body)
        except SealmeshError as error:
            self._refuse(public_error(error))
        except Exception as error:  # a bug: the event loop would log its words, which may be the app's
            _LOG.error("reading failed: %s", where_from(error))
            self._refuse(CODES["internal_error"])

    def _read_head(self) -> None:
        while self._searched == 0 and self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]  # blank lines before a request are let pass [RFC 9112 2.2]
        if not self._buffer:
            return
        if self._searched == 0 and not self._first:
            self._arm(self._limits.head_timeout_s, self._head_too_slow)
        end = find_head_end(self._buffer, self._searched)
        if end > self._limits.head_max or (end < 0 and len(self._buffer) > self._limits.head_max):
            raise refusal("head_too_large")
        if end < 0:
            check_unfinished_head_untrusted(self._buffer, self._searched)
            self._searched = len(self._buffer)
            return
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = 0
        self._first = False
        self._disarm()
        self._head = None
        head = self._head = parse_head_untrusted(data)
        self._server.doorkeeper.check(head, local=self._local)
        self._server.handler.check_head(head)
        if self._server.closing:
            self._refuse(CODES["shutting_down"])
            return
        if head.length is not None and head.length > self._limits.body_max:
            raise refusal("request_too_large")
        if not head.has_body:
            self._answer(HttpRequest(head))
            return
        holder = Holder(limit=self._limits.body_max, budget=self._server.bodies)
        self._body = ChunkedBody(holder) if head.length is None else LengthBody(head.length, holder)
        self._state = _State.BODY
        if head.expects_continue and not self._buffer:
            self.put(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._arm(self._limits.body_idle_s, self._body_too_slow)

    def _read_body(self, head: RequestHead, body: LengthBody | ChunkedBody) -> None:
        self._progress = self._loop.time()
        body.feed_untrusted(self._buffer)
        if body.done:
            self._disarm()
            request = HttpRequest(head, body.holder)
            self._body = None
            self._answer(request)

    def _keep_ahead(self) -> None:
        """Hold back what an app pipelines; beyond the bound it is left in the socket."""
        if len(self._buffer) > self._limits.ahead_max and not self._reading_paused and self._transport is not None:
            self._transport.pause_reading()
            self._reading_paused = True

    # --- answering ---------------------------------------------------------------------------------------------------

    def _answer(self, request: HttpRequest) -> None:
        self._state = _State.ANSWERING
        head = request.head
        keep = head.wants_more_requests and not self._server.closing
        self._reply = Reply(self, head_only=head.method == "HEAD", keep=keep, chunked=head.version == "1.1")
        self._task = self._loop.create_task(self._run(request, self._reply))
        self._server.tasks.add(self._task)
        self._task.add_done_callback(self._answered)
        self._keep_ahead()

    async def _run(self, request: HttpRequest, reply: Reply) -> None:
        """Run the handler; whatever happens in it, the app gets an answer and the log no content."""
        result = "internal_error"
        try:
            result = await self._server.handler.respond(request, reply)
            if not reply.ended:
                raise LocalProtocolError("a handler returned without ending its reply")
            await self.drain()
        except asyncio.CancelledError:
            if self._ended_by is None or self.gone:
                result = APP_LEFT
                raise
            result = self._ended_by.code
            reply.fail(self._ended_by)
        except Exception as error:  # the seam where a bug must become a 500, not a hang
            public = public_error(error)
            result = public.code
            if public.code == "internal_error":
                _LOG.error("answering failed: %s", where_from(error))
            reply.fail(public)
        finally:
            self._server.count(result)
            request.drop_body()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._server.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # taken: asyncio would log its words
            _LOG.error("a request's task failed: %s", where_from(error))
        reply, self._reply, self._task = self._reply, None, None
        if self.gone:
            return
        if reply is None or not reply.ended or not reply.keep or self._server.closing:
            self._close()
            return
        self._next_request()

    def _next_request(self) -> None:
        self._state = _State.HEAD
        self._searched = 0
        self._arm(self._limits.keepalive_s, self._close)
        if self._reading_paused and self._transport is not None:
            self._transport.resume_reading()
            self._reading_paused = False
        if self._buffer:
            self._advance()

    def _refuse(self, public: PublicError) -> None:
        """Answer without the handler; a connection whose framing is in doubt, or whose body is unread, is not kept."""
        self._server.count(public.code)
        head = self._head if self._state is _State.HEAD else None
        keep = head is not None and not head.has_body and head.wants_more_requests and not self._server.closing
        Reply(self, head_only=head is not None and head.method == "HEAD", keep=keep).refuse(public)
        self._head = None
        if keep:
            self._state = _State.ANSWERING
            self._loop.call_soon(self._next_if_open)  # not from here: a long pipeline would recurse
        else:
            self._linger()

    def _next_if_open(self) -> None:
        if not self.gone and self._state is _State.ANSWERING and self._task is None:
            self._next_request()

    # --- ending ------------------------------------------------------------------------------------------------------

    def end_with(self, error: PublicError) -> None:
        """End what runs with an error (shutdown). An idle connection just closes."""
        if self._task is not None:
            if self._ended_by is None:
                self._ended_by = error
                self._task.cancel()
        elif self._state is not _State.LINGERING:
            self._close()

    def stop_when_idle(self) -> None:
        """Close now if no request is under way, else after its answer."""
        if self._task is None and self._state is _State.HEAD:
            self._close()
        elif self._state is _State.BODY:
            self._refuse(CODES["shutting_down"])

    def cut(self) -> None:
        """Close at once, with what is still unsent dropped."""
        if self._transport is not None:
            self._transport.abort()
        self._leave()

    def _leave(self) -> None:
        """The app is gone: stop its request at once, wherever it waits."""
        if self.gone:
            return
        self.gone = True
        if self._body is not None:
            self._body.holder.release()
            self._body = None
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def _close(self) -> None:
        """Close after what was written is sent, within the linger time."""
        self._disarm()
        self._state = _State.LINGERING
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._timer = self._loop.call_later(self._limits.linger_s, self.cut)

    def _linger(self) -> None:
        """Read and drop for a moment before closing: a socket closed over unread bytes resets, and eats the answer."""
        self._state = _State.LINGERING
        self._buffer.clear()
        if self._body is not None:
            self._body.holder.release()
            self._body = None
        if self._transport is not None and self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the app left, and the event loop has not said so yet
                self._transport.write_eof()
        self._arm(self._limits.linger_s, self._close)

    # --- clocks ------------------------------------------------------------------------------------------------------

    def _arm(self, delay_s: float, action: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._loop.call_later(delay_s, action)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_too_slow(self) -> None:
        if self._buffer:
            self._head = None
            self._refuse(CODES["request_timeout"])
        else:
            self._close()  # connected and said nothing: there is nothing to answer

    def _body_too_slow(self) -> None:
        left = self._progress + self._limits.body_idle_s - self._loop.time()
        if left > 0:
            self._arm(left, self._body_too_slow)
        else:
            self._refuse(CODES["request_timeout"])

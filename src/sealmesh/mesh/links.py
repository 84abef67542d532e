"""Links: one admitted connection per member, its streams handed to whoever serves their kind.

`Links` owns the endpoint. It accepts and dials, lets nobody past admission, keeps at most one link per member, and
runs each inbound stream in a task that can fail without harm to anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from sealmesh.errors import (
    ConnectionLostError,
    LocalProtocolError,
    NotAdmittedError,
    RemoteProtocolError,
    SealmeshError,
    TransportError,
    TransportTimeoutError,
    VerificationError,
)
from sealmesh.identity.admission import Admitted
from sealmesh.limits import (
    ADMISSION_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    HANDSHAKES_MAX,
    RECONNECT_MAX_S,
    RECONNECT_MIN_S,
    SIMULTANEOUS_S,
    STREAM_KIND_TIMEOUT_S,
    STREAMS_PER_MEMBER_MAX,
)
from sealmesh.mesh.admission import CloseCode, admit_each_other, cut_floods
from sealmesh.mesh.link import Link, LinkHook, LostHook, StreamHandler
from sealmesh.mesh.shunned import CutOff, Shunned
from sealmesh.transport.base import Connection, Endpoint, EndpointAddress, Stream
from sealmesh.wire.framing import StreamKind

_log = logging.getLogger("sealmesh.mesh")

#: These streams live as long as their link: nothing waits for their end.
_LASTING: Final = frozenset({StreamKind.RECORDS})


class Links:
    """All links of this node. Run it for as long as the node lives, and `close` it at the end.

    Args:
        endpoint: This node on the network; closed by `close`.
        credentials: This node's own, encoded.
        admit: Judges (encoded credentials, endpoint id, Unix seconds); raises VerificationError.
        handlers: Who serves which kind of inbound stream; others are reset.
        now: Unix seconds.
        on_link: Called for every new link.
        on_link_lost: Called when a link is gone, with the reason in words.
        sleep: Waits so many seconds.
        elapsed: Seconds of a clock that nobody sets.
        admission_timeout_s: For the whole of admission on one connection.
        kind_timeout_s: For the first byte of a stream.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        credentials: bytes,
        admit: Callable[[bytes, bytes, float], Admitted],
        now: Callable[[], float],
        handlers: Mapping[StreamKind, StreamHandler] | None = None,
        on_link: LinkHook | None = None,
        on_link_lost: LostHook | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        elapsed: Callable[[], float] = time.monotonic,
        admission_timeout_s: float = ADMISSION_TIMEOUT_S,
        kind_timeout_s: float = STREAM_KIND_TIMEOUT_S,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._admit = admit
        self._now = now
        self._handlers = dict(handlers or {})
        self._watchers: list[tuple[LinkHook | None, LostHook | None]] = [(on_link, on_link_lost)]
        self._sleep = sleep
        self._admission_timeout_s = admission_timeout_s
        self._kind_timeout_s = kind_timeout_s
        self._links: dict[bytes, Link] = {}
        self._dials: dict[bytes, asyncio.Task[Link | SealmeshError]] = {}
        self._keepers: dict[bytes, asyncio.Task[None]] = {}
        self._kept: dict[bytes, EndpointAddress] = {}
        self._shunned = Shunned()
        self._elapsed = elapsed
        self._group: asyncio.TaskGroup | None = None
        self._leaving = False
        self._working = 0  # handlers whose streams end
        self._idle = asyncio.Event()
        self._idle.set()

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many links are up."""
        return len(self.all())

    def all(self) -> tuple[Link, ...]:
        """Every link that is up."""
        return tuple(link for link in self._links.values() if link.alive)

    def get(self, peer_id: bytes) -> Link | None:
        """The link to a member, if there is one."""
        link = self._links.get(peer_id)
        return link if link is not None and link.alive else None

    def handle(self, kind: StreamKind, handler: StreamHandler) -> None:
        """Let `handler` serve inbound streams of a kind; it may return early or raise: the stream is then reset."""
        self._handlers[kind] = handler

    def watch(self, *, on_link: LinkHook | None = None, on_link_lost: LostHook | None = None) -> None:
        """Add hooks. Call it before `run`."""
        self._watchers.append((on_link, on_link_lost))

    async def connect(self, address: EndpointAddress) -> Link:
        """Return the link to a member, made now if there is none. Callers at the same time share one attempt.

        Raises:
            NotAdmittedError: One side refused the other.
            TransportError: It was not reached, or this node is leaving.
        """
        peer_id = address.endpoint_id
        if peer_id == self.endpoint.endpoint_id:
            raise TransportError("this is this node's own address")
        link = self.get(peer_id)
        if link is not None:
            return link
        dial = self._dials.get(peer_id)
        if dial is None:
            dial = self._dials[peer_id] = self._spawn(self._dial(address))
            dial.add_done_callback(lambda _: self._dials.pop(peer_id, None))
        await asyncio.wait({dial})  # who gives up waiting does not take the attempt from the others
        if dial.cancelled():
            raise ConnectionLostError("this node is leaving")
        result = dial.result()
        if isinstance(result, SealmeshError):
            raise result
        return result

    def keep(self, address: EndpointAddress) -> None:
        """Stay connected to a member until `forget`: dial now, and again whenever the link is lost."""
        self._kept[address.endpoint_id] = address
        if self._group is not None:
            self._start_keeper(address.endpoint_id)

    def forget(self, peer_id: bytes) -> None:
        """Undo `keep`; a link that is up stays."""
        self._kept.pop(peer_id, None)
        keeper = self._keepers.pop(peer_id, None)
        if keeper is not None:
            keeper.cancel()

    def recheck(self, check: Callable[[Admitted], None]) -> int:
        """Disconnect every member that is out now [AD-23] [TR-13]; `check` raises VerificationError for one.

        To be called when the policy changed, and from time to time because grants end. Returns how many were cut.
        """
        cut = 0
        for link in self.all():
            try:
                check(link.admitted)
            except VerificationError as error:
                _log.info("cutting %s: %s", link.peer_id.hex()[:12], error.factor)
                link.close(CloseCode.REMOVED, f"not admitted any more: {error.factor}")
                cut += 1
        return cut

    def shun(self, peer_id: bytes, reason: str) -> float:
        """Cut a member that misbehaves, and have nothing to do with it for a while [TR-13].

        Args:
            peer_id: Who.
            reason: What it did, in words.

        Returns:
            For how many seconds; twice as long each time.
        """
        seconds = self._shunned.add(peer_id, reason, self._elapsed())
        link = self.get(peer_id)
        if link is not None:
            link.close(CloseCode.MISBEHAVED, "misbehaved")
        return seconds

    def cut_off(self) -> tuple[CutOff, ...]:
        """Everybody whom this node has nothing to do with now, and why."""
        return self._shunned.now(self._elapsed())

    # --- one life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Accept and serve until `close`, or until cancelled."""
        if self._group is not None:
            raise LocalProtocolError("links run only once")
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for peer_id in self._kept:
                    self._start_keeper(peer_id)
                await self._accept_all()
        finally:
            self._leaving = True
            for link in self.all():
                link.close(CloseCode.LEAVING, "leaving")

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, and wait until the streams that are being served have ended, at most `grace_s`."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()

    async def close(self) -> None:
        """Tell every member that this node leaves, close every link and the endpoint; `run` then returns."""
        self._leaving = True
        for keeper in [*self._keepers.values(), *self._dials.values()]:
            keeper.cancel()
        for link in self.all():
            link.close(CloseCode.LEAVING, "leaving")
        await self.endpoint.close()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._group is None or self._leaving:
            work.close()
            raise ConnectionLostError("this node makes no links now")
        return self._group.create_task(work)

    # --- making links -------------------------------------------------------------------------------------------------

    async def _accept_all(self) -> None:
        slots = asyncio.Semaphore(HANDSHAKES_MAX)  # strangers can hold no more than these, each for a few seconds

        async def welcome(connection: Connection) -> None:
            try:
                await self._establish(connection, dialled=False)
            except SealmeshError as error:
                _log.info("no link from %s: %s", connection.remote_id.hex()[:12], error)
            finally:
                slots.release()

        while True:
            await slots.acquire()
            try:
                connection = await self.endpoint.accept()
                self._spawn(welcome(connection))
            except ConnectionLostError:
                return

    async def _dial(self, address: EndpointAddress) -> Link | SealmeshError:
        """Return instead of raising: a failed dial is no failure of the task group."""
        try:
            connection = await self.endpoint.connect(address, timeout_s=CONNECT_TIMEOUT_S)
            return await self._establish(connection, dialled=True)
        except RemoteProtocolError as error:
            return TransportError(f"the other side broke the protocol: {error.reason}")
        except ConnectionLostError as error:
            # Both dialled at once, and the peer has settled for its own connection.
            return self.get(address.endpoint_id) or error
        except SealmeshError as error:
            return error

    async def _establish(self, connection: Connection, *, dialled: bool) -> Link:
        """Bring a new connection through admission and make it the link, or close it.

        Raises:
            NotAdmittedError: One side refused the other.
            RemoteProtocolError: The peer sent something else than admission.
            TransportError: The connection failed, or another link is in use.
        """
        peer_id = connection.remote_id
        code: CloseCode | None = CloseCode.LEAVING
        reason = "leaving"
        try:
            self._check_welcome(peer_id)
            # [TR-10]
            async with asyncio.timeout(self._admission_timeout_s), cut_floods(connection):
                admitted = await admit_each_other(
                    connection,
                    dialled=dialled,
                    credentials=self._credentials,
                    admit=lambda data: self._admit(data, peer_id, self._now()),
                )
            link = Link(connection, admitted, dialled=dialled, since=asyncio.get_running_loop().time())
            in_use = self._links.get(peer_id)
            if in_use is not None and not self._replaces(link, in_use):
                code, reason = CloseCode.DUPLICATE, "another link is in use"
                return in_use
            self._spawn(self._serve(link, connection))
        except NotAdmittedError as error:
            code, reason = CloseCode.NOT_ADMITTED, str(error)
            raise
        except RemoteProtocolError as error:
            code, reason = CloseCode.PROTOCOL, error.reason
            raise
        except TimeoutError as error:
            code, reason = CloseCode.NOT_ADMITTED, "admission took too long"
            raise TransportTimeoutError(reason) from error
        else:
            code = None
            if in_use is not None:
                in_use.close(CloseCode.DUPLICATE, "another link is in use")
            self._links[peer_id] = link
            connection.allow_streams(STREAMS_PER_MEMBER_MAX)  # [TR-5]
            self._tell_new(link)
            return link
        finally:
            if code is not None:
                connection.close(code, reason)

    def _check_welcome(self, peer_id: bytes) -> None:
        """Refuse whom nothing can make a member of ours.

        Raises:
            NotAdmittedError: It is this node itself, or a member that misbehaved a moment ago.
        """
        if peer_id == self.endpoint.endpoint_id:
            raise NotAdmittedError("own_endpoint", by_peer=False)
        if self._shunned.holds(peer_id, self._elapsed()):
            raise NotAdmittedError("misbehaved", by_peer=False)

    def _replaces(self, new: Link, old: Link) -> bool:
        """Say which of two connections to one member stays; both sides come to the same answer [TR-11].

        Nobody dials who sees a link. So the peer sees the old one dead, unless both dialled at the same time.
        """
        if not old.alive or new.dialled == old.dialled or new.since - old.since > SIMULTANEOUS_S:
            return True
        return new.dialled == (self.endpoint.endpoint_id < new.peer_id)

    def _tell_new(self, link: Link) -> None:
        _log.info("linked with %s (%s)", link.peer_id.hex()[:12], ", ".join(link.roles.names))
        for on_link, _ in self._watchers:
            if on_link is not None:
                on_link(link)

    def _tell_lost(self, link: Link, reason: str) -> None:
        _log.info("lost the link to %s: %s", link.peer_id.hex()[:12], reason)
        for _, on_link_lost in self._watchers:
            if on_link_lost is not None:
                on_link_lost(link, reason)

    def _start_keeper(self, peer_id: bytes) -> None:
        if peer_id not in self._keepers:
            self._keepers[peer_id] = self._spawn(self._keep(peer_id))

    async def _keep(self, peer_id: bytes) -> None:
        pause = RECONNECT_MIN_S
        while not self._leaving:
            try:
                link = await self.connect(self._kept[peer_id])
            except NotAdmittedError:
                pause = RECONNECT_MAX_S  # a moment later the answer is the same
            except SealmeshError:
                pause = min(pause * 2, RECONNECT_MAX_S)
            else:
                pause = RECONNECT_MIN_S
                await link.closed()
            await self._sleep(pause)

    # --- serving links ------------------------------------------------------------------------------------------------

    async def _serve(self, link: Link, connection: Connection) -> None:
        """Hand out a link's inbound streams until it is gone; what still works on them then is cancelled."""
        try:
            async with asyncio.TaskGroup() as streams:
                while True:
                    stream = await connection.accept()
                    streams.create_task(self._dispatch(link, stream))
        except* TransportError:
            pass
        finally:
            link.close(CloseCode.LEAVING, "leaving")
            if self._links.get(link.peer_id) is link:
                del self._links[link.peer_id]
            self._tell_lost(link, await _reason(link))

    async def _dispatch(self, link: Link, stream: Stream) -> None:
        """Serve one inbound stream; nothing that happens in it harms the link [TR-9]."""
        async with stream:
            kind = await self._read_kind_untrusted(stream)
            handler = None if kind is None or self._leaving else self._handlers.get(kind)
            if kind is None or handler is None:
                return
            if kind not in _LASTING:
                self._working += 1
                self._idle.clear()
            try:
                await handler(link, stream)
            except SealmeshError as error:
                _log.info("a %s stream of %s ended early: %s", kind.name, link.peer_id.hex()[:12], type(error).__name__)
            except Exception as error:
                # A bug of ours: named, so that it is found; without its words, which may be somebody's.
                _log.error("a %s handler failed: %s", kind.name, type(error).__name__)
            finally:
                if kind not in _LASTING:
                    self._working -= 1
                    if self._working == 0:
                        self._idle.set()

    async def _read_kind_untrusted(self, stream: Stream) -> StreamKind | None:
        """Read a stream's first byte; None if none came in time, or one that no protocol of ours has [TR-3] [TR-4]."""
        try:
            async with asyncio.timeout(self._kind_timeout_s):
                first = await stream.read(1)
            return StreamKind(first[0]) if first else None
        except (TimeoutError, TransportError, ValueError):
            return None


async def _reason(link: Link) -> str:
    """Why a link that is gone is gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            return await link.closed()
    return "gone"

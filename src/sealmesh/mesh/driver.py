"""Runs the gossip core over links: bytes and time in, messages and news out.

Each link has one lasting `0x01` stream, opened by the side that dialled; both sides write u32-length-prefixed
messages on it. What a slow reader does not take is dropped with its link, never kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import assert_never

from sealmesh.errors import RemoteProtocolError, TransportError
from sealmesh.gossip.actions import Action, BlessedChanged, Changed, Misbehaved, Overtaken, PolicyChanged, Send
from sealmesh.gossip.core import GossipCore
from sealmesh.limits import (
    GOSSIP_MESSAGE_MAX,
    GOSSIP_QUEUE_MAX,
    GOSSIP_STALL_S,
    READ_CHUNK,
    RECHECK_INTERVAL_S,
)
from sealmesh.mesh.admission import CloseCode
from sealmesh.mesh.link import Link
from sealmesh.mesh.links import Links
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import MessageReader, StreamKind, encode_message

_log = logging.getLogger("sealmesh.mesh")


class _Outbox:
    """Messages to one peer that wait to go out, in order."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._writing = False
        self._ticks = 0  # since what is being written began to go out
        self._messages: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self.emptied = asyncio.Event()
        self.emptied.set()

    def put(self, message: bytes) -> bool:
        """Add a message; False if the peer has left too many unread [TR-15]."""
        if len(self._messages) >= GOSSIP_QUEUE_MAX:
            return False
        self._messages.append(message)
        self._filled.set()
        self.emptied.clear()
        return True

    async def send_all(self, stream: Stream) -> None:
        """Write what comes, for as long as the stream lives."""
        while True:
            await self._filled.wait()
            while self._messages:
                self._writing, self._ticks = True, 0
                await stream.write(encode_message(self._messages.popleft(), maximum=GOSSIP_MESSAGE_MAX))
                self._writing = False
            self._filled.clear()
            self.emptied.set()

    def tick(self) -> bool:
        """A second has passed; False if the peer has taken nothing of a message for too long [TR-15]."""
        self._ticks += self._writing
        return self._ticks <= GOSSIP_STALL_S


class GossipDriver:
    """The gossip core, alive. Make it before `links.run`, and run it as long as the node lives.

    Args:
        core: The table and its rules.
        links: Where messages go; the driver serves their `0x01` streams and watches them come and go.
        now: Unix seconds.
        on_changed: Told of every endpoint whose record is new or has ended.
        on_policy_changed: Told when the issuer said something new, which is then to be kept.
        on_overtaken: Told the sequence above which this node must publish.
        on_blessed_changed: Told when a newer list of blessed builds is held, which is then to be kept.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        core: GossipCore,
        links: Links,
        *,
        now: Callable[[], float],
        on_changed: Callable[[bytes], None] | None = None,
        on_policy_changed: Callable[[], None] | None = None,
        on_overtaken: Callable[[int], None] | None = None,
        on_blessed_changed: Callable[[], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._core = core
        self._links = links
        self._now = now
        self._on_changed = on_changed
        self._on_policy_changed = on_policy_changed
        self._on_overtaken = on_overtaken
        self._on_blessed_changed = on_blessed_changed
        self._sleep = sleep
        self._outboxes: dict[bytes, _Outbox] = {}
        self._dialled: deque[Link] = deque()
        self._wake = asyncio.Event()
        self._next_check = 0.0
        links.handle(StreamKind.RECORDS, self._serve)
        links.watch(on_link=self._on_link, on_link_lost=self._on_link_lost)

    async def run(self) -> None:
        """Tick each second, and open the stream of each link that this node dialled, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick_all())
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._dialled:
                    group.create_task(self._open(self._dialled.popleft()))

    def publish(self, data: bytes, credentials: bytes) -> None:
        """Put this node's own summary in force and tell every peer.

        Raises:
            VerificationError: This node is a member no more.
            LocalProtocolError: The summary would be refused by everybody.
        """
        self._act(self._core.publish(data, credentials, self._now()))

    def policy_changed(self) -> None:
        """The policy was given something new on this node: apply it, cut who is out, tell every peer."""
        self._act(self._core.policy_changed(self._now()))

    def blessed_changed(self) -> None:
        """This node was given a newer list of blessed builds: apply it, tell every peer."""
        self._act(self._core.blessed_changed(self._now()))

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything said so far has been handed to the transport, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for outbox in list(self._outboxes.values()):
                    await outbox.emptied.wait()

    # --- links ----------------------------------------------------------------------------------------------------

    def _on_link(self, link: Link) -> None:
        if link.dialled:
            self._dialled.append(link)
            self._wake.set()

    def _on_link_lost(self, link: Link, reason: str) -> None:
        del reason
        self._leave(link)

    async def _open(self, link: Link) -> None:
        try:
            async with await link.open_stream(StreamKind.RECORDS) as stream:
                await self._talk(link, stream)
        except TransportError as error:
            _log.debug("no records with %s: %s", link.peer_id.hex()[:12], type(error).__name__)
        link.close(CloseCode.LEAVING, "no records stream")  # a link lives as long as this stream [TR-14]

    async def _serve(self, link: Link, stream: Stream) -> None:
        if link.dialled or (link.peer_id in self._outboxes and self._outboxes[link.peer_id].link is link):
            # Only who dialled opens it, and once [TR-14].
            link.close(CloseCode.PROTOCOL, "a second records stream")
            return
        await self._talk(link, stream)
        link.close(CloseCode.LEAVING, "no records stream")

    async def _talk(self, link: Link, stream: Stream) -> None:
        """Exchange messages over one stream until it ends."""
        outbox = self._outboxes[link.peer_id] = _Outbox(link)
        try:
            self._act(self._core.connected(link.peer_id, self._now()))
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(outbox.send_all(stream))
                await self._receive_untrusted(link, stream)
                sending.cancel()
        except* TransportError:
            pass  # the stream is gone, and soon the link is
        finally:
            self._leave(link)

    async def _receive_untrusted(self, link: Link, stream: Stream) -> None:
        reader = MessageReader(maximum=GOSSIP_MESSAGE_MAX)
        while data := await stream.read(READ_CHUNK):
            try:
                messages = reader.feed_untrusted(data)
            except RemoteProtocolError as error:
                self._act([Misbehaved(peer=link.peer_id, reason=error.reason)])
                return
            for message in messages:
                self._act(self._core.receive_untrusted(link.peer_id, message, self._now()))

    def _leave(self, link: Link) -> None:
        outbox = self._outboxes.get(link.peer_id)
        if outbox is not None and outbox.link is link:
            del self._outboxes[link.peer_id]
            outbox.emptied.set()
            self._core.disconnected(link.peer_id)

    # --- what the core says -----------------------------------------------------------------------------------------

    async def _tick_all(self) -> None:
        while True:
            now = self._now()
            self._act(self._core.tick(now))
            for outbox in list(self._outboxes.values()):
                if not outbox.tick():
                    outbox.link.close(CloseCode.MISBEHAVED, "does not read its records")
            if not self._next_check - RECHECK_INTERVAL_S <= now < self._next_check:  # also after a clock was set
                self._next_check = now + RECHECK_INTERVAL_S
                self._recheck()
            await self._sleep(1.0)

    def _recheck(self) -> None:
        now = self._now()
        self._links.recheck(lambda admitted: self._core.policy.check(admitted, now))

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    outbox = self._outboxes.get(action.peer)
                    if outbox is not None and not outbox.put(action.message):
                        outbox.link.close(CloseCode.MISBEHAVED, "does not read its records")
                case Changed():
                    if self._on_changed is not None:
                        self._on_changed(action.endpoint_id)
                case Misbehaved():
                    seconds = self._links.shun(action.peer, action.reason)
                    _log.warning("cut %s off for %.0f s: %s", action.peer.hex()[:12], seconds, action.reason)
                case PolicyChanged():
                    self._recheck()
                    if self._on_policy_changed is not None:
                        self._on_policy_changed()
                case BlessedChanged():
                    if self._on_blessed_changed is not None:
                        self._on_blessed_changed()
                case Overtaken():
                    if self._on_overtaken is not None:
                        self._on_overtaken(action.sequence)
                case _:
                    assert_never(action)

"""Gossip cores joined by links with delay, on a virtual clock. Nothing happens but what `run` makes happen."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count

from sealmesh.gossip.actions import Action, Misbehaved, Send
from sealmesh.gossip.core import GossipCore

#: Sees (sender, receiver, message) and returns what arrives instead.
Meddler = Callable[[bytes, bytes, bytes], Iterable[bytes]]


class Net:
    """Nodes and links between them.

    Args:
        now: Unix seconds at the beginning.
        delay_s: From one node to another.
        tick_s: Between two ticks of one node.
        phase: When in that time a node ticks, by its id; all at once where None.
    """

    def __init__(
        self,
        *,
        now: float,
        delay_s: float = 0.02,
        tick_s: float = 1.0,
        phase: Callable[[bytes], float] | None = None,
    ) -> None:
        self.now = self._start = now
        self.delay_s = delay_s
        self.tick_s = tick_s
        self.cores: dict[bytes, GossipCore] = {}
        self.peers: dict[bytes, set[bytes]] = {}
        self.meddlers: dict[bytes, Meddler] = {}
        self.messages = 0
        self.bytes = 0
        self._phase = phase
        self._ticket = count()
        self._queue: list[tuple[float, int, bytes, bytes, bytes]] = []
        self._ticks: list[tuple[float, int, bytes]] = []

    def put(self, core: GossipCore) -> None:
        """Start a node; one that was there under its id is gone."""
        fresh = core.own_id not in self.cores
        self.cores[core.own_id] = core
        self.peers.setdefault(core.own_id, set())
        if fresh:
            # Steps counted from the start, so that a tick is never late by a rounding error.
            phase = 0.0 if self._phase is None else self._phase(core.own_id)
            steps = -(-(self.now - self._start - phase) // self.tick_s)
            due = self._start + phase + max(0.0, steps) * self.tick_s
            heapq.heappush(self._ticks, (due, next(self._ticket), core.own_id))

    def remove(self, who: bytes) -> None:
        """A node is gone, and its links with it."""
        for peer in list(self.peers[who]):
            self.cut(who, peer)
        del self.cores[who], self.peers[who]

    def linked(self, left: bytes, right: bytes) -> bool:
        """Whether there is a link between the two."""
        return right in self.peers.get(left, ())

    def link(self, left: bytes, right: bytes) -> None:
        """Join two nodes; both begin to talk."""
        self.peers[left].add(right)
        self.peers[right].add(left)
        self.do(left, self.cores[left].connected(right, self.now))
        self.do(right, self.cores[right].connected(left, self.now))

    def cut(self, left: bytes, right: bytes) -> None:
        """Break a link; what is on the way on it never arrives."""
        self.peers[left].discard(right)
        self.peers[right].discard(left)
        self.cores[left].disconnected(right)
        self.cores[right].disconnected(left)

    def do(self, who: bytes, actions: list[Action]) -> None:
        """Carry out what a core asks for, and tell what it says."""
        for action in actions:
            if isinstance(action, Send):
                if action.peer not in self.peers[who]:
                    continue  # it was cut off by an earlier one of these
                meddler = self.meddlers.get(who)
                for message in [action.message] if meddler is None else meddler(who, action.peer, action.message):
                    self.inject(who, action.peer, message)
            else:
                self.told(who, action)

    def told(self, who: bytes, action: Action) -> None:
        """What a core says besides; for whoever watches."""

    def ticked(self, who: bytes) -> None:
        """A node has just ticked; for whoever dials."""

    def cut_off(self, who: bytes, action: Misbehaved) -> None:
        """What a driver does with a peer that misbehaves."""
        if self.linked(who, action.peer):
            self.cut(who, action.peer)

    def inject(self, sender: bytes, receiver: bytes, message: bytes) -> None:
        """Put a message on the way."""
        heapq.heappush(self._queue, (self.now + self.delay_s, next(self._ticket), sender, receiver, message))

    def run(self, seconds: float) -> None:
        """Let time pass: deliver what arrives, tick every node."""
        end = self.now + seconds
        while True:
            due = self._queue[0][0] if self._queue else end + 1
            tick = self._ticks[0][0] if self._ticks else end + 1
            if min(due, tick) > end:
                break
            if due <= tick:
                self.now, _, sender, receiver, message = heapq.heappop(self._queue)
                if not self.linked(sender, receiver):
                    continue
                self.messages += 1
                self.bytes += len(message)
                self.do(receiver, self.cores[receiver].receive_untrusted(sender, message, self.now))
            else:
                self.now, _, who = heapq.heappop(self._ticks)
                core = self.cores.get(who)
                if core is None:
                    continue
                heapq.heappush(self._ticks, (tick + self.tick_s, next(self._ticket), who))
                self.do(who, core.tick(self.now))
                self.ticked(who)
        self.now = end

    def converged(self) -> bool:
        """Whether all tables are the same."""
        return len({core.table.root() for core in self.cores.values()}) == 1

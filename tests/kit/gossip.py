"""Gossip cores joined by links with delay, on a virtual clock; and a link on which somebody lies."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count

from kit.people import NOW, Member, People, Randomness
from sealmesh.attestation.blessed import BlessedKeeper
from sealmesh.gossip.actions import Action, BlessedChanged, Changed, Misbehaved, Overtaken, PolicyChanged, Send
from sealmesh.gossip.core import GossipCore
from sealmesh.identity.admission import AdmissionPolicy

#: Sees (sender, receiver, message) and returns what arrives instead.
Meddler = Callable[[bytes, bytes, bytes], Iterable[bytes]]


class Net:
    """Nodes and links between them. Nothing happens but what `run` makes happen."""

    def __init__(self, people: People | None = None, *, delay_s: float = 0.02) -> None:
        self.people = people or People()
        self.now = NOW
        self.delay_s = delay_s
        self.cores: dict[bytes, GossipCore] = {}
        self.members: dict[bytes, Member] = {}
        self.links: set[frozenset[bytes]] = set()
        self.misbehaved: list[tuple[bytes, Misbehaved]] = []
        self.changed: list[tuple[bytes, bytes]] = []
        self.overtaken: list[tuple[bytes, int]] = []
        self.policy_changes: list[bytes] = []
        self.blessed_changes: list[bytes] = []
        self.messages = 0
        self.bytes = 0
        self.meddlers: dict[bytes, Meddler] = {}
        self._queue: list[tuple[float, int, bytes, bytes, bytes]] = []
        self._ticket = count()
        self._next_tick = NOW

    def add(
        self,
        member: Member | None = None,
        *,
        policy: AdmissionPolicy | None = None,
        blessed: BlessedKeeper | None = None,
        publish: bool = True,
    ) -> bytes:
        """Start a node; it publishes its record."""
        member = member or self.people.member()
        random = Randomness(member.id.hex())
        core = GossipCore(member.id, random=random, policy=policy or self.people.policy(), blessed=blessed)
        self.cores[member.id], self.members[member.id] = core, member
        if publish:
            self.publish(member.id)
        return member.id

    def publish(self, who: bytes, **changes: object) -> None:
        member = self.members[who]
        self.do(who, self.cores[who].publish(member.record(self.now, **changes), member.shown, self.now))

    def link(self, left: bytes, right: bytes) -> None:
        self.links.add(frozenset((left, right)))
        self.do(left, self.cores[left].connected(right, self.now))
        self.do(right, self.cores[right].connected(left, self.now))

    def cut(self, left: bytes, right: bytes) -> None:
        self.links.discard(frozenset((left, right)))
        self._queue = [item for item in self._queue if {item[2], item[3]} != {left, right}]
        heapq.heapify(self._queue)
        self.cores[left].disconnected(right)
        self.cores[right].disconnected(left)

    def do(self, who: bytes, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    assert frozenset((who, action.peer)) in self.links
                    arriving = self.meddlers[who](who, action.peer, action.message) if who in self.meddlers else None
                    for message in [action.message] if arriving is None else arriving:
                        self.inject(who, action.peer, message)
                case Changed():
                    self.changed.append((who, action.endpoint_id))
                case Misbehaved():
                    self.misbehaved.append((who, action))
                case Overtaken():
                    self.overtaken.append((who, action.sequence))
                case PolicyChanged():
                    self.policy_changes.append(who)
                case BlessedChanged():
                    self.blessed_changes.append(who)

    def inject(self, sender: bytes, receiver: bytes, message: bytes) -> None:
        """Put a message on the way."""
        heapq.heappush(self._queue, (self.now + self.delay_s, next(self._ticket), sender, receiver, message))

    def run(self, seconds: float) -> None:
        """Let time pass: deliver what arrives, tick every node each second."""
        end = self.now + seconds
        while True:
            due = self._queue[0][0] if self._queue else end + 1
            if min(due, self._next_tick) > end:
                break
            if due <= self._next_tick:
                self.now, _, sender, receiver, message = heapq.heappop(self._queue)
                self.messages += 1
                self.bytes += len(message)
                self.do(receiver, self.cores[receiver].receive_untrusted(sender, message, self.now))
            else:
                self.now = self._next_tick
                self._next_tick += 1.0
                for who, core in self.cores.items():
                    self.do(who, core.tick(self.now))
        self.now = end

    def converged(self) -> bool:
        return len({core.table.root() for core in self.cores.values()}) == 1

    def sees(self, who: bytes, owner: bytes) -> str | None:
        """Return the name in the owner's record as that node holds it."""
        entry = self.cores[who].table.get(owner)
        return entry.summary.name if entry is not None else None

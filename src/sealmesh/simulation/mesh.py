"""A simulated mesh: members with keys, each keeping links as a real node does, and a clock of when who learned what.

Simplified against real nodes, and said so in docs/reference/simulate.md: only hosts have records, everybody's address
is known to all, a link takes no time to make, and every message takes 20 ms.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from sealmesh.gossip.actions import Action, Changed, Misbehaved
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.overlay import Neighbours
from sealmesh.gossip.record import Model, Summary, next_sequence, record_digest
from sealmesh.identity.admission import AdmissionPolicy
from sealmesh.identity.grants import Role
from sealmesh.identity.keys import EndpointKey, IssuerKey
from sealmesh.identity.signed import SignatureMemo
from sealmesh.identity.ticket import make_ticket
from sealmesh.limits import GOSSIP_INTERVAL_S, SUMMARY_LIFETIME_S
from sealmesh.mesh.shunned import Shunned
from sealmesh.simulation.net import Net
from sealmesh.transport.base import EndpointAddress

START: Final = 1_800_000_000.0
_ADDRESS: Final = "192.0.2.1:4433"
_TICKET_S: Final = 30 * 86_400
_PHASES: Final = 1024  # a power of two: times stay exact in binary


class Seeded:
    """Bytes that look random, the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, length: int) -> bytes:
        """Return so many bytes."""
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(length)

    def below(self, end: int) -> int:
        """Return a whole number from 0, below `end`."""
        return int.from_bytes(self(8), "big") % end


@dataclass(slots=True, kw_only=True)
class Host:
    """A simulated host's secrets and everything that it ever signed, by digest."""

    key: EndpointKey
    credentials: bytes
    sequence: int = 0
    record: bytes = b""
    signed: dict[bytes, int]
    left: bool = False


class Mesh(Net):
    """Nodes that keep links with each other; `hosts` of them have a record.

    Args:
        seed: The same seed gives the same run.
    """

    def __init__(self, seed: int) -> None:
        self.random = Seeded(f"simulate {seed}")
        super().__init__(now=START, tick_s=GOSSIP_INTERVAL_S, phase=lambda _: self._any_phase())
        self.issuer = IssuerKey.generate(self.random)
        self.memo = SignatureMemo()
        self.hosts: dict[bytes, Host] = {}
        self.neighbours: dict[bytes, Neighbours] = {}
        self.side: dict[bytes, int] = {}  # where the network is split: who is on which side
        self.shunned: dict[bytes, Shunned] = {}  # by who shuns
        self.dialling = False
        self.misbehaved = 0
        self.wanted: dict[bytes, bytes] = {}  # host to the digest that everybody is to learn
        self.missing: dict[bytes, set[bytes]] = {}
        self.learned: dict[bytes, float] = {}  # node to when it had all that it lacked
        self.asked_at = START
        self._ids: set[bytes] = set()

    def _any_phase(self) -> float:
        return self.random.below(_PHASES) * GOSSIP_INTERVAL_S / _PHASES

    # --- members ------------------------------------------------------------------------------------------------------

    def add(self, *, host: bool) -> bytes:
        """Start a node that is linked with nobody; a host has a record from the start."""
        key = EndpointKey.generate(self.random)
        who = key.public
        self.put(GossipCore(who, random=Seeded(who.hex()), policy=AdmissionPolicy(self.issuer.public, memo=self.memo)))
        self.neighbours[who] = Neighbours(Seeded("neighbours " + who.hex()))
        self._ids.add(who)
        if host:
            inviter = EndpointAddress(endpoint_id=bytes(32), addresses=(_ADDRESS,))
            ticket = make_ticket(
                self.issuer,
                random=self.random,
                roles=Role.HOST,
                now=self.now,
                lifetime_s=_TICKET_S,
                inviter=inviter,
                mesh_name="simulated",
            )
            shown = ticket.join(who, Role.HOST).encode()
            self.hosts[who] = Host(key=key, credentials=shown, signed={})
            self.publish(who)
        return who

    def publish(self, who: bytes, *, leaving: bool = False) -> None:
        """Let a host sign a newer record and tell its peers."""
        host = self.hosts[who]
        host.sequence = next_sequence(host.sequence, self.now)
        host.left = leaving
        host.record = Summary(
            endpoint_id=who,
            sequence=host.sequence,
            issued=int(self.now),
            expires=int(self.now) + SUMMARY_LIFETIME_S,
            roles=Role.HOST,
            credentials_digest=record_digest(host.credentials),
            addresses=(_ADDRESS, "[2001:db8::1]:4433"),
            node_version="1.0",
            name="host",
            models=(Model(name="smollm2-135m", context_length=2048, digest=bytes(32)),),
            capabilities=("sealed:1", "sealed:2"),
            leaving=leaving,
        ).sign(host.key)
        host.signed[record_digest(host.record)] = host.sequence
        self.do(who, self.cores[who].publish(host.record, host.credentials, self.now))

    def gone(self, who: bytes) -> None:
        """A node's process ends."""
        self.remove(who)
        self._ids.discard(who)
        del self.neighbours[who]
        self.missing.pop(who, None)

    def settle(self) -> None:
        """Everybody holds every record and keeps its links: the state of a mesh that has run for a while."""
        admitted = {
            who: self.cores[who].policy.admit_untrusted(host.credentials, who, self.now)
            for who, host in self.hosts.items()
        }
        for who, core in self.cores.items():
            for owner, host in self.hosts.items():
                if owner != who:
                    core.table.add_untrusted(host.record, host.credentials, admitted[owner], self.now)
        self.dialling = True
        for who in list(self.cores):
            self.dial(who)
        self.run(2 * GOSSIP_INTERVAL_S)

    # --- links --------------------------------------------------------------------------------------------------------

    def dial(self, who: bytes) -> None:
        """Keep up this node's links, by the rule that real nodes go by."""
        neighbours = self.neighbours[who]
        known = self._ids - {who}
        neighbours.step(self.peers[who], known)
        for peer in neighbours.kept:
            if peer not in self.peers[who] and self._reachable(who, peer):
                self.link(who, peer)

    def _reachable(self, who: bytes, peer: bytes) -> bool:
        if peer not in self.cores or self.side.get(who, 0) != self.side.get(peer, 0):
            return False
        return not (self._shuns(who, peer) or self._shuns(peer, who))

    def _shuns(self, who: bytes, peer: bytes) -> bool:
        return who in self.shunned and self.shunned[who].holds(peer, self.now)

    def ticked(self, who: bytes) -> None:
        """See `Net.ticked`."""
        if self.dialling:
            self.dial(who)

    def split(self) -> None:
        """Part the network into two halves that do not reach each other."""
        for index, who in enumerate(sorted(self.cores)):
            self.side[who] = index % 2
        for who in list(self.cores):
            for peer in [peer for peer in self.peers[who] if self.side[peer] != self.side[who]]:
                self.cut(who, peer)

    # --- who learns what ------------------------------------------------------------

    def ask(self, owners: list[bytes]) -> None:
        """From now on, note when each node has the newest records of these hosts."""
        self.asked_at = self.now
        self.wanted = {owner: record_digest(self.hosts[owner].record) for owner in owners}
        self.learned, self.missing = {}, {}
        for who, core in self.cores.items():
            lacking = {
                owner
                for owner, digest in self.wanted.items()
                if (entry := core.table.get(owner)) is None or entry.digest != digest
            }
            if lacking:
                self.missing[who] = lacking

    def told(self, who: bytes, action: Action) -> None:
        """See `Net.told`."""
        match action:
            case Changed(endpoint_id=owner):
                lacking = self.missing.get(who)
                if lacking is not None and owner in lacking:
                    entry = self.cores[who].table.get(owner)
                    if entry is not None and entry.digest == self.wanted[owner]:
                        lacking.discard(owner)
                        if not lacking:
                            del self.missing[who]
                            self.learned[who] = self.now - self.asked_at
            case Misbehaved():
                self.misbehaved += 1
                self.shunned.setdefault(who, Shunned()).add(action.peer, action.reason, self.now)
                self.cut_off(who, action)
            case _:
                pass  # nothing else happens in a scenario

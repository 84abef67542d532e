"""The simulator's net with people in it: who misbehaved, what changed, what a node sees."""

from __future__ import annotations

from kit.people import NOW, Member, People, Randomness
from sealmesh.attestation.blessed import BlessedKeeper
from sealmesh.gossip import actions
from sealmesh.gossip.actions import Action, Misbehaved
from sealmesh.gossip.core import GossipCore
from sealmesh.identity.admission import AdmissionPolicy
from sealmesh.simulation.net import Meddler
from sealmesh.simulation.net import Net as BareNet

__all__ = ["Meddler", "Net"]


class Net(BareNet):
    """Nodes and links between them. Who misbehaves is noted and stays linked."""

    def __init__(self, people: People | None = None, *, delay_s: float = 0.02) -> None:
        super().__init__(now=NOW, delay_s=delay_s)
        self.people = people or People()
        self.members: dict[bytes, Member] = {}
        self.misbehaved: list[tuple[bytes, Misbehaved]] = []
        self.changed: list[tuple[bytes, bytes]] = []
        self.overtaken: list[tuple[bytes, int]] = []
        self.policy_changes: list[bytes] = []
        self.blessed_changes: list[bytes] = []

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
        self.put(GossipCore(member.id, random=random, policy=policy or self.people.policy(), blessed=blessed))
        self.members[member.id] = member
        if publish:
            self.publish(member.id)
        return member.id

    def publish(self, who: bytes, **changes: object) -> None:
        member = self.members[who]
        self.do(who, self.cores[who].publish(member.record(self.now, **changes), member.shown, self.now))

    def told(self, who: bytes, action: Action) -> None:
        match action:
            case actions.Changed():
                self.changed.append((who, action.endpoint_id))
            case Misbehaved():
                self.misbehaved.append((who, action))
            case actions.Overtaken():
                self.overtaken.append((who, action.sequence))
            case actions.PolicyChanged():
                self.policy_changes.append(who)
            case actions.BlessedChanged():
                self.blessed_changes.append(who)

    def sees(self, who: bytes, owner: bytes) -> str | None:
        """Return the name in the owner's record as that node holds it."""
        entry = self.cores[who].table.get(owner)
        return entry.summary.name if entry is not None else None

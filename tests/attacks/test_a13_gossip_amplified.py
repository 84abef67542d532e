"""A13: a few bytes that make a node work: a peer asks for the whole table again and again, and is sent nothing more."""

from __future__ import annotations

import pytest

from kit.people import NOW, Member, People, Randomness
from sealmesh.gossip.actions import Send
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.messages import Buckets, Listing, Message, Want, encode
from sealmesh.gossip.table import Entry, RecordTable
from sealmesh.limits import GOSSIP_SENT_BURST

EVERYTHING = tuple(range(256))


class CountingTable(RecordTable):
    """Counts how often a record is looked up to be sent."""

    looked_up = 0

    def get(self, endpoint_id: bytes) -> Entry | None:
        self.looked_up += 1
        return super().get(endpoint_id)

    def listing(self, buckets: object) -> list[tuple[bytes, int, bytes]]:
        found = super().listing(buckets)  # type: ignore[arg-type]
        self.looked_up += len(found)
        return found


def _questions(members: list[Member]) -> dict[str, Message]:
    return {
        "listing": Listing(buckets=EVERYTHING, items=()),
        "buckets": Buckets(digests=(b"x" * 16,) * 256, notices_digest=bytes(32)),
        "want": Want(endpoint_ids=tuple(sorted(member.id for member in members))),
    }


@pytest.mark.parametrize("question", ["listing", "buckets", "want"])
def test_who_has_had_its_share_costs_nothing_more(question: str) -> None:
    people = People()
    members = [people.member() for _ in range(130)]
    table = CountingTable()
    core = GossipCore(members[0].id, random=Randomness(), policy=people.policy())
    core.table = table
    for member in members:
        admitted = core.policy.admit_untrusted(member.shown, member.id, NOW)
        table.add_untrusted(member.record(), member.shown, admitted, NOW)
    peer = people.member().id
    core.connected(peer, NOW)
    message = encode(_questions(members)[question])
    sent = 0
    while True:
        answers = [action for action in core.receive_untrusted(peer, message, NOW) if isinstance(action, Send)]
        if not answers:
            break
        sent += sum(len(action.message) for action in answers)
    assert 0 < sent <= GOSSIP_SENT_BURST
    table.looked_up = 0
    for _ in range(100):
        assert core.receive_untrusted(peer, message, NOW) == []
    assert table.looked_up == 0
    # Later it is answered again.
    assert core.receive_untrusted(peer, message, NOW + 60) != []

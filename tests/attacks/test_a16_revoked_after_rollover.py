"""A16: somebody revoked stays in, because a node that joined after a change of issuer never takes the list."""

from __future__ import annotations

import itertools

import pytest

from kit.people import DAY, NOW, People, Randomness
from sealmesh.errors import VerificationError
from sealmesh.gossip.actions import PolicyChanged
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.messages import Notices, encode
from sealmesh.identity.admission import AdmissionPolicy, make_revocations, make_successor
from sealmesh.limits import ISSUERS_MAX


@pytest.mark.parametrize("junk", [b"", b"junk"])
@pytest.mark.parametrize("steps", [1, 2, ISSUERS_MAX - 1])
def test_the_list_of_revocations_is_taken_beside_statements_that_cannot_be_placed(steps: int, junk: bytes) -> None:
    """Peers that saw the change pass on every successor statement; who joined later knows the last issuer only."""
    generations = [People(f"issuer {number}") for number in range(steps + 1)]
    statements = tuple(
        make_successor(old.issuer, new.issuer, now=NOW, predecessor_until=NOW + DAY).encode() + junk
        for old, new in itertools.pairwise(generations)
    )
    people = generations[-1]
    revoked, peer = people.member(), people.member()
    revocations = make_revocations(people.issuer, previous=None, now=NOW, endpoint_ids=[revoked.id]).encode()

    policy = AdmissionPolicy(people.issuer.public)
    core = GossipCore(people.member().id, random=Randomness(), policy=policy)
    core.connected(peer.id, NOW)
    policy.admit_untrusted(revoked.shown, revoked.id, NOW)
    actions = core.receive_untrusted(peer.id, encode(Notices(revocations=revocations, successors=statements)), NOW)

    assert PolicyChanged() in actions
    with pytest.raises(VerificationError, match="revoked"):
        policy.admit_untrusted(revoked.shown, revoked.id, NOW)

"""A16: a stranger without a valid membership, or with a revoked, expired or copied one.

Here: what the pure parts decide. Who shows what on a connection is judged by `AdmissionPolicy`; a stranger's record
that a member passes on is judged by the same policy before it can enter any table.
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from kit.gossip import Net
from kit.people import DAY, NOW, Member, People, Randomness
from sealmesh.errors import VerificationError
from sealmesh.gossip.messages import Record, Records, encode
from sealmesh.gossip.record import record_digest
from sealmesh.identity.admission import (
    ALL_ROLES,
    Credentials,
    Factor,
    Grant,
    Membership,
    Role,
    make_revocations,
    mesh_id,
)
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey
from sealmesh.identity.signed import Label

PEOPLE = People()


def _stranger() -> Member:
    """Somebody of another mesh, whose credentials are all in order there."""
    return People("elsewhere").member()


def _self_made() -> Member:
    """Somebody that signs a grant of this mesh with a key of its own."""
    key = EndpointKey.generate(Randomness("self made"))
    issuer, bearer = IssuerKey.generate(Randomness("mint")), BearerKey.generate(Randomness("bearer"))
    grant = Grant(
        mesh_id=mesh_id(PEOPLE.issuer.public),
        serial=bytes(16),
        roles=ALL_ROLES,
        not_before=int(NOW),
        not_after=int(NOW) + DAY,
        bearer_key=bearer.public,
    )
    membership = Membership(mesh_id=grant.mesh_id, serial=grant.serial, endpoint_id=key.public, roles=ALL_ROLES)
    credentials = Credentials(
        grant=issuer.sign_part(Label.GRANT, grant.encode()),
        membership=bearer.sign_part(Label.MEMBER, membership.encode()),
    )
    return Member(key=key, credentials=credentials, roles=ALL_ROLES)


def _copied() -> Member:
    """Somebody that shows a member's own credentials with an endpoint of its own."""
    victim = PEOPLE.member()
    return Member(key=EndpointKey.generate(Randomness("thief")), credentials=victim.credentials, roles=ALL_ROLES)


def _own_membership_under_a_seen_grant() -> Member:
    """Somebody that saw a member's credentials, and signs a membership under its grant without the bearer key."""
    victim = PEOPLE.member()
    key, forger = EndpointKey.generate(Randomness("forger")), BearerKey.generate(Randomness("forged bearer"))
    grant = Grant.parse_untrusted(victim.credentials.grant.part)
    part = Membership(mesh_id=grant.mesh_id, serial=grant.serial, endpoint_id=key.public, roles=ALL_ROLES).encode()
    credentials = Credentials(grant=victim.credentials.grant, membership=forger.sign_part(Label.MEMBER, part))
    return Member(key=key, credentials=credentials, roles=ALL_ROLES)


def _no_credentials() -> Member:
    member = PEOPLE.member()

    class Nothing:
        def encode(self) -> bytes:
            return b""

    return dataclasses.replace(member, credentials=Nothing())  # type: ignore[type-var]


def _expired() -> Member:
    return dataclasses.replace(PEOPLE.member(ticket=PEOPLE.ticket(lifetime_s=1)))


def _climber() -> Member:
    """A client that says that it is a host."""
    bearer_ticket = PEOPLE.ticket(Role.CLIENT)
    key = EndpointKey.generate(Randomness("climber"))
    grant = bearer_ticket.granted
    part = Membership(mesh_id=grant.mesh_id, serial=grant.serial, endpoint_id=key.public, roles=ALL_ROLES).encode()
    credentials = Credentials(grant=bearer_ticket.grant, membership=bearer_ticket.bearer.sign_part(Label.MEMBER, part))
    return Member(key=key, credentials=credentials, roles=ALL_ROLES)


STRANGERS = {
    "of another mesh": (_stranger, Factor.WRONG_MESH),
    "with a grant of its own making": (_self_made, Factor.GRANT_SIGNATURE),
    "with copied credentials": (_copied, Factor.WRONG_ENDPOINT),
    "with a membership of its own making": (_own_membership_under_a_seen_grant, Factor.MEMBERSHIP_SIGNATURE),
    "with nothing": (_no_credentials, Factor.MALFORMED),
    "whose grant has expired": (_expired, Factor.EXPIRED),
    "with more roles than granted": (_climber, Factor.ROLE),
}


@pytest.mark.parametrize(("make", "factor"), STRANGERS.values(), ids=STRANGERS.keys())
def test_a16_a_stranger_is_not_let_in(make, factor):
    stranger = make()
    with pytest.raises(VerificationError) as caught:
        PEOPLE.policy().admit_untrusted(stranger.shown, stranger.id, NOW + 1)
    assert caught.value.factor == factor


@pytest.mark.parametrize(("make", "factor"), STRANGERS.values(), ids=STRANGERS.keys())
def test_a16_a_strangers_record_that_a_member_passes_on_enters_no_table(make, factor):
    net = Net(PEOPLE)
    accomplice, reader, far = (net.add() for _ in range(3))
    net.link(accomplice, reader)
    net.link(reader, far)
    net.run(1)
    stranger = make()
    record = Record(summary=stranger.record(net.now), credentials=stranger.shown)
    for push in (True, False):
        net.inject(accomplice, reader, encode(Records(records=(record,), push=push)))
        net.run(15)
    for node in (reader, far):
        table = net.cores[node].table
        assert table.get(stranger.id) is None
        assert table.highest_sequence(stranger.id) == 0
        assert len(table) == 3


def test_a16_a_strangers_record_does_not_enter_beside_a_members_credentials():
    net = Net(PEOPLE)
    accomplice, reader = net.add(), net.add()
    net.link(accomplice, reader)
    stranger = dataclasses.replace(_stranger(), credentials=net.members[accomplice].credentials)
    record = Record(summary=stranger.record(net.now), credentials=stranger.shown)
    net.inject(accomplice, reader, encode(Records(records=(record,), push=True)))
    net.run(15)
    assert net.cores[reader].table.get(stranger.id) is None
    assert len(net.cores[reader].table) == 2
    assert any(who == reader for who, _ in net.misbehaved)


@pytest.mark.parametrize("by", ["endpoint", "serial"])
def test_a16_the_revoked_are_out_everywhere_and_stay_out(by):
    net = Net(PEOPLE)
    nodes = [net.add() for _ in range(4)]
    for left, right in itertools.pairwise(nodes):
        net.link(left, right)
    net.run(30)
    outcast = net.members[nodes[3]]
    policy = net.cores[nodes[0]].policy
    admitted = policy.admit_untrusted(outcast.shown, outcast.id, net.now)
    serial = Grant.parse_untrusted(outcast.credentials.grant.part).serial
    what = {"endpoint_ids": [outcast.id]} if by == "endpoint" else {"serials": [serial]}
    signed = make_revocations(PEOPLE.issuer, previous=None, now=net.now, **what)
    policy.offer_revocations_untrusted(signed.encode(), net.now)
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.run(2)
    for node in nodes[:3]:
        policy = net.cores[node].policy
        with pytest.raises(VerificationError, match="revoked"):
            policy.check(admitted, net.now)  # what the driver asks for every open connection
        with pytest.raises(VerificationError, match="revoked"):
            policy.admit_untrusted(outcast.shown, outcast.id, net.now)
        assert net.cores[node].table.get(outcast.id) is None
    fresh = Record(summary=outcast.record(net.now), credentials=outcast.shown)
    net.inject(nodes[3], nodes[2], encode(Records(records=(fresh,), push=True)))
    net.run(30)
    assert all(net.cores[node].table.get(outcast.id) is None for node in nodes[:3])


def test_a16_a_record_ends_with_its_owners_grant():
    net = Net(PEOPLE)
    short = PEOPLE.member(ticket=PEOPLE.ticket(lifetime_s=100))
    net.add(short)
    other = net.add()
    net.link(short.id, other)
    net.run(30)
    assert net.sees(other, short.id) == "node"
    net.run(80)
    assert net.sees(other, short.id) is None


def test_a16_a_list_of_revocations_cannot_be_forged_or_rolled_back():
    policy = PEOPLE.policy()
    outcast, mallory = PEOPLE.member(), IssuerKey.generate(Randomness("mallory"))
    empty = make_revocations(PEOPLE.issuer, previous=None, now=NOW)
    policy.offer_revocations_untrusted(empty.encode(), NOW)
    real = make_revocations(PEOPLE.issuer, previous=policy.revocations, now=NOW, endpoint_ids=[outcast.id])
    policy.offer_revocations_untrusted(real.encode(), NOW)
    assert not policy.offer_revocations_untrusted(empty.encode(), NOW)
    later = dataclasses.replace(policy.revocations, sequence=99, endpoint_ids=frozenset()).encode()
    with pytest.raises(VerificationError):
        policy.offer_revocations_untrusted(mallory.sign_part(Label.REVOCATIONS, later).encode(), NOW)
    with pytest.raises(VerificationError, match="revoked_endpoint"):
        policy.admit_untrusted(outcast.shown, outcast.id, NOW)


def test_a16_credentials_are_bound_to_the_digest_in_the_record():
    member = PEOPLE.member()
    assert record_digest(member.shown) == member.summary().credentials_digest

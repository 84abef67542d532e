import dataclasses

import pytest

from kit.people import DAY, NOW, People, Randomness
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity._codec import admission_pb2
from sealmesh.identity.admission import (
    ALL_ROLES,
    AdmissionPolicy,
    Credentials,
    Factor,
    Grant,
    Membership,
    Role,
    make_grant,
    make_membership,
    make_revocations,
    make_successor,
    mesh_id,
)
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey
from sealmesh.identity.signed import Label, Signed

PEOPLE = People()
MEMBER = PEOPLE.member()
GRANT = Grant.parse_untrusted(MEMBER.credentials.grant.part)
BEARER = BearerKey.generate(Randomness("bearer"))


def _factor(data: bytes, *, policy: AdmissionPolicy | None = None, remote_id: bytes = b"", now: float = NOW) -> str:
    policy = policy or PEOPLE.policy()
    with pytest.raises(VerificationError) as caught:
        policy.admit_untrusted(data, remote_id or MEMBER.id, now)
    return caught.value.factor


def _grant(**changes) -> Signed:
    given = {
        "serial": bytes(16),
        "bearer_public": BEARER.public,
        "roles": ALL_ROLES,
        "not_before": int(NOW),
        "not_after": int(NOW) + DAY,
    } | changes
    return make_grant(given.pop("issuer", PEOPLE.issuer), **given)


def _credentials(grant: Signed, **changes) -> bytes:
    """Credentials whose membership says whatever it is told to."""
    granted = Grant.parse_untrusted(grant.part)
    membership = Membership(mesh_id=granted.mesh_id, serial=granted.serial, endpoint_id=MEMBER.id, roles=Role.CLIENT)
    part = dataclasses.replace(membership, **changes).encode()
    return Credentials(grant=grant, membership=BEARER.sign_part(Label.MEMBER, part)).encode()


def test_a_member_is_let_in():
    admitted = PEOPLE.policy().admit_untrusted(MEMBER.shown, MEMBER.id, NOW)
    assert admitted.endpoint_id == MEMBER.id
    assert admitted.roles is ALL_ROLES
    assert admitted.serial == GRANT.serial
    assert admitted.not_after == int(NOW) + 30 * DAY
    assert admitted.mesh_id == PEOPLE.policy().mesh_id == mesh_id(PEOPLE.issuer.public)
    assert admitted.mesh_name == "home"


def test_it_has_the_roles_that_it_took_and_no_more():
    data = _credentials(_grant(roles=Role.CLIENT | Role.HOST), roles=Role.HOST)
    assert PEOPLE.policy().admit_untrusted(data, MEMBER.id, NOW).roles is Role.HOST


def test_credentials_fit_their_limit_with_the_longest_name():
    assert len(_credentials(_grant(mesh_name="n" * 128))) <= 1024


# --- each refusal under its own name ----------------------------------------------------------------------------------


def test_too_long():
    assert _factor(MEMBER.shown + bytes(1024)) == Factor.TOO_LONG


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 10,
        MEMBER.shown[:-1],
        MEMBER.shown + b"\x18\x01",
        MEMBER.shown + MEMBER.shown,
        _credentials(_grant(), endpoint_id=bytes(31)),
        _credentials(_grant(), serial=bytes(15)),
        _credentials(_grant(), mesh_id=bytes(31)),
        _credentials(_grant(), roles=Role(0)),
    ],
)
def test_malformed(data):
    assert _factor(data) == Factor.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh_id": bytes(31)},
        {"serial": bytes(17)},
        {"bearer_key": bytes(31)},
        {"roles": 0},
        {"roles": 8},
        {"roles": 0xFFFFFFFF},
        {"not_before": int(NOW) + 2 * DAY},
        {"not_after": 2**63},
        {"mesh_name": "n" * 129},
    ],
)
def test_a_malformed_grant_is_refused_though_the_issuer_signed_it(changes):
    message = admission_pb2.Grant.FromString(_grant().part)
    for name, value in changes.items():
        setattr(message, name, value)
    signed = PEOPLE.issuer.sign_part(Label.GRANT, message.SerializeToString())
    data = Credentials(grant=signed, membership=MEMBER.credentials.membership).encode()
    assert _factor(data) == Factor.MALFORMED


def test_another_version():
    message = admission_pb2.Grant.FromString(_grant().part)
    message.version = 2
    signed = PEOPLE.issuer.sign_part(Label.GRANT, message.SerializeToString())
    assert _factor(Credentials(grant=signed, membership=MEMBER.credentials.membership).encode()) == Factor.VERSION


def test_wrong_mesh():
    assert _factor(MEMBER.shown, policy=People("other").policy()) == Factor.WRONG_MESH


def test_a_grant_that_another_key_signed():
    part = Grant.parse_untrusted(_grant().part).encode()
    forged = IssuerKey.generate(Randomness("stranger")).sign_part(Label.GRANT, part)
    assert _factor(_credentials(forged)) == Factor.GRANT_SIGNATURE


def test_a_grant_that_was_changed_after_signing():
    grant = _grant(roles=Role.CLIENT)
    richer = dataclasses.replace(Grant.parse_untrusted(grant.part), roles=ALL_ROLES).encode()
    data = _credentials(Signed(part=richer, signature=grant.signature), roles=Role.HOST)
    assert _factor(data) == Factor.GRANT_SIGNATURE


def test_a_membership_that_another_key_signed():
    grant = _grant(bearer_public=BearerKey.generate(Randomness("other bearer")).public)
    assert _factor(_credentials(grant)) == Factor.MEMBERSHIP_SIGNATURE


@pytest.mark.parametrize("changes", [{"serial": b"\x01" * 16}, {"mesh_id": b"\x01" * 32}])
def test_a_membership_of_another_grant(changes):
    assert _factor(_credentials(_grant(), **changes)) == Factor.MEMBERSHIP_GRANT


def test_somebody_elses_membership():
    assert _factor(MEMBER.shown, remote_id=PEOPLE.member().id) == Factor.WRONG_ENDPOINT


def test_a_role_that_was_not_granted():
    data = _credentials(_grant(roles=Role.CLIENT), roles=Role.CLIENT | Role.HOST)
    assert _factor(data) == Factor.ROLE


def test_its_time():
    data = _credentials(_grant())
    start, end = int(NOW), int(NOW) + DAY
    assert _factor(data, now=start - 61) == Factor.NOT_YET_VALID
    PEOPLE.policy().admit_untrusted(data, MEMBER.id, start - 60)
    PEOPLE.policy().admit_untrusted(data, MEMBER.id, end - 0.5)
    assert _factor(data, now=end) == Factor.EXPIRED


def test_a_revoked_grant_and_a_revoked_endpoint():
    policy = PEOPLE.policy()
    twin = dataclasses.replace(MEMBER, key=EndpointKey.generate(Randomness("twin")))
    admitted = policy.admit_untrusted(MEMBER.shown, MEMBER.id, NOW)
    only_endpoint = make_revocations(PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[MEMBER.id])
    assert policy.offer_revocations_untrusted(only_endpoint.encode(), NOW)
    assert _factor(MEMBER.shown, policy=policy) == Factor.REVOKED_ENDPOINT
    with pytest.raises(VerificationError, match="revoked_endpoint"):
        policy.check(admitted, NOW)
    other = PEOPLE.member()
    policy.admit_untrusted(other.shown, other.id, NOW)
    both = make_revocations(PEOPLE.issuer, previous=policy.revocations, now=NOW, serials=[GRANT.serial])
    assert policy.offer_revocations_untrusted(both.encode(), NOW)
    assert _factor(MEMBER.shown, policy=policy) == Factor.REVOKED_SERIAL
    assert policy.revocations.endpoint_ids == {MEMBER.id}  # the earlier one is carried on
    policy.admit_untrusted(other.shown, other.id, NOW)
    assert twin.id != MEMBER.id


def test_check_says_when_a_grant_has_ended():
    policy = PEOPLE.policy()
    admitted = policy.admit_untrusted(MEMBER.shown, MEMBER.id, NOW)
    policy.check(admitted, NOW)
    with pytest.raises(VerificationError, match="grant_expired"):
        policy.check(admitted, admitted.not_after)


def test_making_what_nobody_would_accept_is_refused():
    with pytest.raises(ConfigError):
        _grant(serial=b"short")
    with pytest.raises(ConfigError):
        make_membership(BEARER, MEMBER.credentials.grant, endpoint_id=MEMBER.id)
    with pytest.raises(ConfigError):
        AdmissionPolicy(b"short")


# --- revocations ------------------------------------------------------------------------------------------------------


def _offer(policy: AdmissionPolicy, data: bytes, now: float = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        policy.offer_revocations_untrusted(data, now)
    return caught.value.factor


def test_the_newest_list_wins_in_any_order():
    first = make_revocations(PEOPLE.issuer, previous=None, now=NOW, serials=[bytes(16)])
    policy = PEOPLE.policy()
    assert policy.offer_revocations_untrusted(first.encode(), NOW)
    second = make_revocations(PEOPLE.issuer, previous=policy.revocations, now=NOW + 1, serials=[b"\x01" * 16])
    for order in ([first, second], [second, first], [second, second, first]):
        policy = PEOPLE.policy()
        for signed in order:
            policy.offer_revocations_untrusted(signed.encode(), NOW + 1)
        assert policy.revocations.sequence == 2
        assert policy.revocations.serials == {bytes(16), b"\x01" * 16}
        assert policy.revocations_data == second.encode()
        assert not policy.offer_revocations_untrusted(first.encode(), NOW + 1)


def test_of_two_lists_with_one_sequence_all_take_the_same():
    lists = [make_revocations(PEOPLE.issuer, previous=None, now=NOW, serials=[bytes([i]) * 16]) for i in range(4)]
    lowest = min(lists, key=lambda signed: signed.digest)
    for order in (lists, lists[::-1]):
        policy = PEOPLE.policy()
        for signed in order:
            policy.offer_revocations_untrusted(signed.encode(), NOW)
        assert policy.revocations_data == lowest.encode()


def test_a_list_that_the_issuer_did_not_make():
    policy = PEOPLE.policy()
    signed = make_revocations(PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[MEMBER.id])
    stranger = IssuerKey.generate(Randomness("stranger"))
    assert _offer(policy, stranger.sign_part(Label.REVOCATIONS, signed.part).encode()) == "revocations_signature"
    assert _offer(policy, PEOPLE.issuer.sign_part(Label.GRANT, signed.part).encode()) == "revocations_signature"
    assert _offer(policy, make_revocations(stranger, previous=None, now=NOW).encode()) == "wrong_mesh"
    assert _offer(policy, signed.encode()[:-1]) == "revocations"
    assert _offer(policy, b"") == "revocations"
    assert _offer(policy, signed.encode(), now=NOW - 61) == "revocations"
    assert _offer(policy, bytes(512 * 1024 + 1)) == "revocations"
    assert policy.revocations is None
    policy.admit_untrusted(MEMBER.shown, MEMBER.id, NOW)


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"serials": [b"x"]}, {"endpoint_ids": [b"x"]}, {"mesh_id": b"x"}, {"issued": 2**60}]
)
def test_a_malformed_list(changes):
    fields = {"version": 1, "mesh_id": PEOPLE.policy().mesh_id, "sequence": 1, "issued": 1} | changes
    part = admission_pb2.Revocations(**fields).SerializeToString()
    signed = PEOPLE.issuer.sign_part(Label.REVOCATIONS, part)
    assert _offer(PEOPLE.policy(), signed.encode()) == "revocations"


def test_a_list_that_is_full_is_not_made():
    serials = [i.to_bytes(16, "big") for i in range(40_000)]
    with pytest.raises(ConfigError, match="full"):
        make_revocations(PEOPLE.issuer, previous=None, now=NOW, serials=serials)


# --- the issuer's successor -------------------------------------------------------------------------------------------

NEXT = IssuerKey.generate(Randomness("next issuer"))


def _rolled(until: float = NOW + DAY) -> AdmissionPolicy:
    policy = PEOPLE.policy()
    statement = make_successor(PEOPLE.issuer, NEXT, now=NOW, predecessor_until=until)
    assert policy.offer_successor_untrusted(statement.encode())
    assert not policy.offer_successor_untrusted(statement.encode())
    assert policy.successors_data == (statement.encode(),)
    return policy


def test_both_issuers_count_until_the_date_and_then_the_new_one_alone():
    new = _credentials(_grant(issuer=NEXT, not_after=int(NOW) + 9 * DAY))
    assert _factor(new) == Factor.WRONG_MESH
    policy = _rolled()
    old = policy.admit_untrusted(MEMBER.shown, MEMBER.id, NOW)
    policy.admit_untrusted(new, MEMBER.id, NOW)
    policy.admit_untrusted(new, MEMBER.id, NOW + 2 * DAY)
    assert _factor(MEMBER.shown, policy=policy, now=NOW + DAY) == Factor.WRONG_ISSUER
    with pytest.raises(VerificationError, match="wrong_issuer"):
        policy.check(old, NOW + DAY)
    assert _factor(new, policy=policy, now=NOW - 61) == Factor.WRONG_ISSUER


def test_the_new_issuers_list_outranks_the_old_ones():
    policy = _rolled()
    new = make_revocations(NEXT, previous=None, now=NOW, serials=[bytes(16)])
    late = make_revocations(PEOPLE.issuer, previous=None, now=NOW)
    for _ in range(3):  # however far the old key counts on
        policy_of_old = PEOPLE.policy()
        policy_of_old.offer_revocations_untrusted(late.encode(), NOW)
        late = make_revocations(PEOPLE.issuer, previous=policy_of_old.revocations, now=NOW)
    assert policy.offer_revocations_untrusted(late.encode(), NOW)
    assert policy.offer_revocations_untrusted(new.encode(), NOW)
    assert not policy.offer_revocations_untrusted(late.encode(), NOW)
    assert policy.revocations.serials == {bytes(16)}


def _refused(policy: AdmissionPolicy, data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        policy.offer_successor_untrusted(data)
    assert policy.successors_data == () or len(policy.successors_data) == 1
    return caught.value.factor


def test_a_successor_needs_both_signatures():
    statement = make_successor(PEOPLE.issuer, NEXT, now=NOW, predecessor_until=NOW + DAY)
    stranger = IssuerKey.generate(Randomness("stranger")).sign(Label.SUCCESSOR, statement.part)
    policy = PEOPLE.policy()
    for changed in (
        dataclasses.replace(statement, predecessor_signature=stranger),
        dataclasses.replace(statement, successor_signature=stranger),
        dataclasses.replace(statement, successor_signature=statement.predecessor_signature),
    ):
        assert _refused(policy, changed.encode()) == "successor_signature"
    for data in (b"", statement.encode()[:-1], statement.encode() + b"\x20\x01", bytes(2000)):
        assert _refused(policy, data) == "successor"
    short = dataclasses.replace(statement, successor_signature=b"x")
    assert _refused(policy, short.encode()) == "successor"


def test_one_issuer_has_one_successor_and_no_circle():
    other = IssuerKey.generate(Randomness("other"))
    policy = _rolled()
    second = make_successor(PEOPLE.issuer, other, now=NOW, predecessor_until=NOW + DAY)
    assert _refused(policy, second.encode()) == "successor"
    back = make_successor(NEXT, PEOPLE.issuer, now=NOW, predecessor_until=NOW + DAY)
    assert _refused(policy, back.encode()) == "successor"
    itself = make_successor(NEXT, NEXT, now=NOW, predecessor_until=NOW + DAY)
    assert _refused(policy, itself.encode()) == "successor"
    further = make_successor(NEXT, other, now=NOW, predecessor_until=NOW + DAY)
    assert policy.offer_successor_untrusted(further.encode())


def test_there_are_not_more_issuers_than_the_limit():
    policy, key = PEOPLE.policy(), PEOPLE.issuer
    for index in range(7):
        follower = IssuerKey.generate(Randomness(f"issuer {index}"))
        assert policy.offer_successor_untrusted(
            make_successor(key, follower, now=NOW, predecessor_until=NOW + DAY).encode()
        )
        key = follower
    last = make_successor(key, NEXT, now=NOW, predecessor_until=NOW + DAY)
    with pytest.raises(VerificationError, match="too many"):
        policy.offer_successor_untrusted(last.encode())


def test_a_successor_from_the_past_is_not_made():
    with pytest.raises(ConfigError):
        make_successor(PEOPLE.issuer, NEXT, now=NOW, predecessor_until=NOW - 1)


def test_roles_have_names():
    assert ALL_ROLES.names == ("client", "host", "relay")
    assert Role.from_names("host", "client") is Role.CLIENT | Role.HOST
    with pytest.raises(ConfigError):
        Role.from_names("king")

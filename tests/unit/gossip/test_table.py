import pytest

from kit.people import DAY, NOW, Member, People
from sealmesh.errors import VerificationError
from sealmesh.gossip.record import record_digest
from sealmesh.gossip.table import Outcome, RecordTable
from sealmesh.identity.admission import Role

PEOPLE = People()


def _add(table: RecordTable, member: Member, data: bytes, now: float = NOW) -> Outcome:
    admitted = PEOPLE.policy().admit_untrusted(member.shown, member.id, now)
    return table.add_untrusted(data, member.shown, admitted, now)


def _two_faces(member: Member, now: float = NOW, **changes) -> tuple[bytes, bytes]:
    """Two records with one sequence; the one with the lower digest first."""
    sequence = member.summary(now).sequence
    faces = [member.record(now, sequence=sequence, name=name, **changes) for name in ("one", "other")]
    first, second = sorted(faces, key=record_digest)
    return first, second


def test_new_newer_known_older():
    table, member = RecordTable(), PEOPLE.member()
    first, second = member.record(), member.record()
    assert _add(table, member, first) is Outcome.NEW
    assert _add(table, member, first) is Outcome.KNOWN
    assert _add(table, member, second) is Outcome.NEWER
    assert _add(table, member, first) is Outcome.OLDER
    assert table.get(member.id).data == second
    assert len(table) == 1
    assert [entry.data for entry in table.entries()] == [second]


def test_the_newest_wins_in_any_order():
    member = PEOPLE.member()
    records = [member.record() for _ in range(3)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        table = RecordTable()
        for index in order:
            _add(table, member, records[index])
        assert table.get(member.id).data == records[2]


def test_bytes_that_are_held_are_not_checked_again():
    """Known, though at this time they would not be taken any more."""
    table, member = RecordTable(), PEOPLE.member()
    data = member.record()
    _add(table, member, data)
    assert _add(table, member, data, NOW + 4000) is Outcome.KNOWN


def test_a_digest_is_known_only_once_its_signature_was_checked():
    table, member = RecordTable(), PEOPLE.member()
    data = member.record()
    forged = bytearray(data)
    forged[-1] ^= 1
    for _ in range(2):
        with pytest.raises(VerificationError, match="summary_signature"):
            _add(table, member, bytes(forged))
    assert table.get(member.id) is None
    assert table.highest_sequence(member.id) == 0
    assert _add(table, member, data) is Outcome.NEW


def test_a_forgery_with_a_higher_sequence_raises_no_memory():
    table, member, stranger = RecordTable(), PEOPLE.member(), PEOPLE.member()
    data = member.record()
    part = member.summary(sequence=2**50).encode()
    from sealmesh.identity.signed import Label

    forged = stranger.key.sign_part(Label.SUMMARY, part).encode()
    with pytest.raises(VerificationError):
        _add(table, member, forged)
    assert _add(table, member, data) is Outcome.NEW


@pytest.mark.parametrize("now", [NOW - 61, NOW + 3600])
def test_what_does_not_count_now_is_ignored(now):
    table, member = RecordTable(), PEOPLE.member()
    data = member.record()
    assert _add(table, member, data, NOW) is Outcome.NEW
    table = RecordTable()
    admitted = PEOPLE.policy().admit_untrusted(member.shown, member.id, NOW)
    assert table.add_untrusted(data, member.shown, admitted, now) is Outcome.IGNORED
    assert len(table) == 0
    assert table.highest_sequence(member.id) == 0


# --- credentials ------------------------------------------------------------------------------------------------------


def test_a_record_needs_the_credentials_that_its_owner_named():
    table, member = RecordTable(), PEOPLE.member()
    data = member.record()
    older = PEOPLE.ticket().join(member.id).encode()  # valid, of the same owner, but not these
    admitted = PEOPLE.policy().admit_untrusted(older, member.id, NOW)
    with pytest.raises(VerificationError, match="not the credentials"):
        table.add_untrusted(data, older, admitted, NOW)
    assert len(table) == 0


def test_a_record_takes_no_role_that_was_not_granted():
    table, member = RecordTable(), PEOPLE.member(Role.CLIENT)
    with pytest.raises(VerificationError, match="role"):
        _add(table, member, member.record(roles=Role.CLIENT | Role.HOST))
    with pytest.raises(VerificationError, match="role"):
        _add(table, member, member.record(roles=Role.HOST))
    assert len(table) == 0


def test_a_record_of_another_owner_than_the_credentials_is_refused():
    table, member, other = RecordTable(), PEOPLE.member(), PEOPLE.member()
    admitted = PEOPLE.policy().admit_untrusted(other.shown, other.id, NOW)
    with pytest.raises(VerificationError, match="another endpoint"):
        table.add_untrusted(member.record(), other.shown, admitted, NOW)


# --- equivocation -----------------------------------------------------------------------------------------------------


def test_of_two_with_one_sequence_the_lower_digest_wins_and_the_owner_is_flagged():
    member = PEOPLE.member()
    winner, loser = _two_faces(member)
    for order in ([winner, loser], [loser, winner]):
        table = RecordTable()
        assert _add(table, member, order[0]) is Outcome.NEW
        assert not table.equivocating(member.id)
        assert _add(table, member, order[1]) is Outcome.EQUIVOCATING
        assert table.get(member.id).data == winner
        assert table.get(member.id).equivocating
        assert table.equivocating(member.id)
        # Told again, it is no news.
        assert _add(table, member, loser) is Outcome.OLDER
        assert _add(table, member, winner) is Outcome.KNOWN
        # Signing once more does not clear it.
        assert _add(table, member, member.record()) is Outcome.NEWER
        assert table.get(member.id).equivocating


def test_a_forged_second_face_flags_nobody():
    table, member, stranger = RecordTable(), PEOPLE.member(), PEOPLE.member()
    from sealmesh.identity.signed import Label

    summary = member.summary()
    _add(table, member, summary.sign(member.key))
    forged = stranger.key.sign_part(Label.SUMMARY, summary.encode()).encode()
    with pytest.raises(VerificationError):
        _add(table, member, forged)
    assert not table.equivocating(member.id)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_an_expired_record_leaves_its_sequence_behind():
    table, member = RecordTable(), PEOPLE.member()
    old = member.record(NOW)
    short = member.record(NOW, expires=int(NOW) + 60, leaving=True)
    _add(table, member, short)
    assert table.expire(NOW + 59) == []
    assert table.expire(NOW + 60) == [member.id]
    assert table.get(member.id) is None
    assert len(table) == 0
    # Past the short one's own lifetime and 120 s, but while the older one is still in time.
    later = NOW + 1800
    assert table.expire(later) == []
    assert _add(table, member, old, later) is Outcome.OLDER
    assert _add(table, member, member.record(later), later) is Outcome.NEW


def test_it_is_forgotten_once_nothing_older_can_be_in_time():
    table, member = RecordTable(), PEOPLE.member()
    _add(table, member, member.record())
    table.expire(NOW + DAY + 119)
    assert table.highest_sequence(member.id) > 0
    table.expire(NOW + DAY + 120)
    assert table.highest_sequence(member.id) == 0


def test_a_shorter_record_does_not_shorten_the_memory():
    table, member = RecordTable(), PEOPLE.member(Role.CLIENT)
    _add(table, member, member.record(NOW, expires=int(NOW) + DAY))
    _add(table, member, member.record(NOW + 1, expires=int(NOW) + 10), NOW + 1)
    table.expire(NOW + DAY)
    assert table.highest_sequence(member.id) == member.sequence


# --- members no more --------------------------------------------------------------------------------------------------


def test_who_is_out_loses_the_record_and_comes_back_when_in_again():
    table, member, other = RecordTable(), PEOPLE.member(), PEOPLE.member()
    data = member.record()
    _add(table, member, data)
    _add(table, other, other.record())
    table.add_keys_untrusted(member.keys(), NOW)

    def check(admitted):
        if admitted.endpoint_id == member.id:
            raise VerificationError("revoked", "revoked")

    assert table.recheck(check) == [member.id]
    assert table.get(member.id) is None
    assert table.keys(member.id, NOW) is None
    assert table.get(other.id) is not None
    assert table.recheck(check) == []
    assert table.wants(member.id, member.sequence, record_digest(data))
    assert _add(table, member, data) is Outcome.NEW


# --- room -------------------------------------------------------------------------------------------------------------


def test_a_full_table_takes_no_more():
    table = RecordTable(capacity=3)
    members = [PEOPLE.member() for _ in range(4)]
    assert [_add(table, member, member.record()) for member in members] == [Outcome.NEW] * 3 + [Outcome.IGNORED]
    assert _add(table, members[0], members[0].record()) is Outcome.NEWER


def test_one_ticket_cannot_crowd_out_the_others():
    table = RecordTable(capacity=10)
    honest = PEOPLE.member()
    _add(table, honest, honest.record())
    ticket = PEOPLE.ticket()
    crowd = [PEOPLE.member(ticket=ticket) for _ in range(20)]
    for member in crowd:
        _add(table, member, member.record())
    assert len(table) == 10
    late = [PEOPLE.member() for _ in range(4)]
    for member in late:
        assert _add(table, member, member.record()) is Outcome.NEW
    assert len(table) == 10
    for member in [honest, *late]:
        assert table.get(member.id) is not None
    # What was given up came last, not first.
    assert table.get(crowd[0].id) is not None


def test_of_a_crowd_those_go_first_whose_record_has_ended():
    table = RecordTable(capacity=4)
    ticket = PEOPLE.ticket()
    crowd = [PEOPLE.member(ticket=ticket) for _ in range(4)]
    for index, member in enumerate(crowd):
        _add(table, member, member.record(expires=int(NOW) + (60 if index == 1 else 600)))
    table.expire(NOW + 60)
    late = PEOPLE.member()
    assert _add(table, late, late.record(NOW + 60), NOW + 60) is Outcome.NEW
    assert table.highest_sequence(crowd[1].id) == 0
    assert all(table.get(crowd[index].id) for index in (0, 2, 3))


def test_who_joins_again_counts_under_the_new_grant():
    table = RecordTable(capacity=3)
    ticket = PEOPLE.ticket()
    crowd = [PEOPLE.member(ticket=ticket) for _ in range(3)]
    for member in crowd:
        _add(table, member, member.record())
    for mover in crowd:
        mover.credentials = PEOPLE.ticket().join(mover.id)
        assert _add(table, mover, mover.record()) is Outcome.NEWER
    # There is no crowd any more that would have to make room.
    late = PEOPLE.member()
    assert _add(table, late, late.record()) is Outcome.IGNORED
    assert all(table.get(mover.id) for mover in crowd)


# --- keys parts -------------------------------------------------------------------------------------------------------


def test_keys_parts_follow_the_same_rules():
    table, member = RecordTable(), PEOPLE.member()
    first, second = member.keys(), member.keys()
    assert table.add_keys_untrusted(first, NOW) is Outcome.IGNORED  # of nobody known
    _add(table, member, member.record())
    assert table.keys(member.id, NOW) is None
    assert table.add_keys_untrusted(first, NOW) is Outcome.NEW
    assert table.add_keys_untrusted(first, NOW) is Outcome.KNOWN
    assert table.add_keys_untrusted(second, NOW) is Outcome.NEWER
    assert table.add_keys_untrusted(first, NOW) is Outcome.OLDER
    assert table.keys(member.id, NOW).data == second
    assert table.keys(member.id, NOW + 900) is None
    table.expire(NOW + 900)
    assert table.add_keys_untrusted(first, NOW + 1) is Outcome.OLDER
    assert table.add_keys_untrusted(member.keys(NOW + 961), NOW + 900) is Outcome.IGNORED


def test_a_keys_part_of_an_owner_whose_record_has_ended_is_ignored():
    table, member = RecordTable(), PEOPLE.member()
    _add(table, member, member.record(expires=int(NOW) + 60))
    table.expire(NOW + 60)
    assert table.add_keys_untrusted(member.keys(), NOW + 60) is Outcome.IGNORED
    assert table.keys(member.id, NOW + 60) is None


def test_the_summary_names_the_least_keys_part():
    table, member = RecordTable(), PEOPLE.member()
    kept, current = member.keys(), member.keys()
    _add(table, member, member.record(keys_sequence=member.keys_sequence))
    assert table.add_keys_untrusted(kept, NOW) is Outcome.OLDER
    assert table.add_keys_untrusted(current, NOW) is Outcome.NEW


def test_forged_keys_parts():
    table, member = RecordTable(), PEOPLE.member()
    _add(table, member, member.record())
    data = bytearray(member.keys())
    data[-1] ^= 1
    with pytest.raises(VerificationError, match="keys_signature"):
        table.add_keys_untrusted(bytes(data), NOW)
    assert table.keys(member.id, NOW) is None


def test_equivocating_keys_parts():
    table, member = RecordTable(), PEOPLE.member()
    _add(table, member, member.record())
    faces = [member.keys(sequence=5, host_statement=bytes([index])) for index in range(2)]
    winner, loser = sorted(faces, key=record_digest)
    table.add_keys_untrusted(loser, NOW)
    assert table.add_keys_untrusted(winner, NOW) is Outcome.EQUIVOCATING
    assert table.get(member.id).equivocating
    assert table.keys(member.id, NOW).data == winner
    assert table.add_keys_untrusted(loser, NOW) is Outcome.OLDER
    assert table.keys(member.id, NOW).data == winner


# --- the hash tree ----------------------------------------------------------------------------------------------------


def test_equal_tables_have_one_root_whatever_the_order():
    members = [PEOPLE.member() for _ in range(20)]
    records = [(member, member.record()) for member in members]
    left, right = RecordTable(), RecordTable()
    empty = left.root()
    for member, data in records:
        _add(left, member, data)
    for member, data in records[::-1]:
        assert left.root() != right.root()
        _add(right, member, data)
    assert left.root() == right.root() != empty
    changed = members[3]
    _add(right, changed, changed.record())
    differing = [
        i
        for i, pair in enumerate(zip(left.bucket_digests(), right.bucket_digests(), strict=True))
        if pair[0] != pair[1]
    ]
    assert differing == [changed.id[0]]
    assert [item[0] for item in left.listing(differing)] == sorted(m.id for m in members if m.id[0] == differing[0])
    left.expire(NOW + 4000)
    assert left.root() == empty


def test_what_is_wanted():
    table, member = RecordTable(), PEOPLE.member()
    digest = record_digest(member.record())
    assert table.wants(member.id, 1, digest)
    data = member.record(expires=int(NOW) + 60)
    _add(table, member, data)
    mine = record_digest(data)
    assert not table.wants(member.id, member.sequence, mine)
    assert not table.wants(member.id, member.sequence - 1, digest)
    assert table.wants(member.id, member.sequence, digest)
    assert table.wants(member.id, member.sequence + 1, digest)
    table.expire(NOW + 60)
    assert not table.wants(member.id, member.sequence, mine)
    assert table.wants(member.id, member.sequence + 1, digest)

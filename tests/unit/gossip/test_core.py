import pytest

from kit.people import NOW, Member, People, Randomness
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.gossip.actions import Action, Changed, Misbehaved, PolicyChanged, Send
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.messages import (
    Buckets,
    Listing,
    Notices,
    Record,
    Records,
    Root,
    Want,
    decode_untrusted,
    encode,
)
from sealmesh.identity.admission import make_revocations

PEOPLE = People()


def _core(member: Member | None = None) -> tuple[GossipCore, Member]:
    member = member or PEOPLE.member()
    core = GossipCore(member.id, random=Randomness(member.id.hex()), policy=PEOPLE.policy())
    core.publish(member.record(), member.shown, NOW)
    return core, member


def _peers(core: GossipCore, count: int) -> list[bytes]:
    peers = [PEOPLE.member().id for _ in range(count)]
    for peer in peers:
        core.connected(peer, NOW)
    return peers


def _said(actions: list[Action]) -> list[object]:
    return [decode_untrusted(action.message) for action in actions if isinstance(action, Send)]


def _tell(core: GossipCore, peer: bytes, message: object, now: float = NOW) -> list[Action]:
    return core.receive_untrusted(peer, encode(message), now)


def _record(member: Member, **changes) -> Record:
    return Record(summary=member.record(**changes), credentials=member.shown)


def test_a_newcomer_says_who_it_is_and_pulls_everything():
    core, member = _core()
    peer = PEOPLE.member().id
    own, listing = _said(core.connected(peer, NOW))
    assert isinstance(own, Records)
    assert own.push
    assert own.records[0].credentials == member.shown
    assert isinstance(listing, Listing)
    assert len(listing.buckets) == 256
    assert [item[0] for item in listing.items] == [member.id]


def test_of_two_that_have_tables_one_begins():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    _tell(core, peer, Records(records=(_record(PEOPLE.member()),), push=False))
    assert len(core.table) == 2
    low, high = bytes(32), b"\xff" * 32
    assert any(isinstance(message, Root) for message in _said(core.connected(high, NOW)))
    assert not any(isinstance(message, Root | Listing) for message in _said(core.connected(low, NOW)))


def test_rounds_go_to_five_peers_every_ten_seconds():
    core, _ = _core()
    peers = _peers(core, 12)
    met: set[bytes] = set()
    for round_ in range(20):
        now = NOW + 10 * round_
        actions = core.tick(now)
        asked = [action.peer for action in actions if isinstance(action, Send)]
        assert len(set(asked)) == len(asked) == 5
        assert all(isinstance(message, Root) for message in _said(actions))
        met |= set(asked)
        assert core.tick(now + 9.9) == []
    assert met == set(peers)


def test_a_clock_that_was_set_back_does_not_silence_it():
    core, _ = _core()
    _peers(core, 1)
    assert core.tick(NOW + 1_000_000)
    assert core.tick(NOW) != []


def test_an_equal_root_is_answered_with_nothing():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    (root,) = _said(core.tick(NOW))
    assert _tell(core, peer, root) == []


def test_what_differs_is_narrowed_down():
    core, member = _core()
    (peer,) = _peers(core, 1)
    other = PEOPLE.member()
    (buckets,) = _said(_tell(core, peer, Root(digest=bytes(32), notices_digest=_notices(core))))
    assert isinstance(buckets, Buckets)
    empty = Buckets(digests=(bytes(16),) * 256, notices_digest=_notices(core))
    (listing,) = _said(_tell(core, peer, empty))
    assert listing == Listing(
        buckets=(member.id[0],), items=((member.id, member.sequence, core.table.get(member.id).digest),)
    )
    theirs = Listing(buckets=tuple(range(256)), items=((other.id, 5, bytes(32)),))
    want, records = _said(_tell(core, peer, theirs))
    assert want == Want(endpoint_ids=(other.id,))
    assert [record.summary for record in records.records] == [core.table.get(member.id).data]
    (answer,) = _said(_tell(core, peer, Want(endpoint_ids=tuple(sorted((member.id, other.id))))))
    assert len(answer.records) == 1
    assert not answer.push


def _notices(core: GossipCore) -> bytes:
    return core._notices_digest()


def test_a_push_is_passed_on_as_it_came_and_an_answer_is_not():
    core, _ = _core()
    peers = _peers(core, 3)
    pushed, answered = _record(PEOPLE.member()), _record(PEOPLE.member())
    actions = _tell(core, peers[0], Records(records=(pushed,), push=True))
    sends = [action for action in actions if isinstance(action, Send)]
    assert {send.peer for send in sends} == set(peers[1:])
    assert _said(sends) == [Records(records=(pushed,), push=True)] * 2
    actions = _tell(core, peers[0], Records(records=(answered,), push=False))
    assert [type(action) for action in actions] == [Changed]
    assert _tell(core, peers[1], Records(records=(pushed,), push=True)) == []


def test_a_push_goes_to_sixteen_peers_at_most():
    core, _ = _core()
    peers = _peers(core, 40)
    actions = _tell(core, peers[0], Records(records=(_record(PEOPLE.member()),), push=True))
    assert len({action.peer for action in actions if isinstance(action, Send)}) == 16


def test_who_changes_at_every_moment_is_not_passed_on_at_every_moment():
    core, _ = _core()
    peers = _peers(core, 2)
    restless = PEOPLE.member()
    sent = 0
    for step in range(50):
        now = NOW + step / 10
        message = Records(records=(_record(restless, now=now),), push=True)
        sent += len(_said(_tell(core, peers[0], message, now)))
    assert core.table.get(restless.id).summary.sequence == restless.sequence
    assert sent <= 5 + 1


def test_what_it_publishes_goes_to_everybody_at_once():
    core, member = _core()
    peers = _peers(core, 30)
    actions = core.publish(member.record(name="new"), member.shown, NOW)
    assert {action.peer for action in actions if isinstance(action, Send)} == set(peers)


def test_what_cannot_be_published():
    core, member = _core()
    data = member.record()
    core.publish(data, member.shown, NOW)
    with pytest.raises(LocalProtocolError, match="known"):
        core.publish(data, member.shown, NOW)
    with pytest.raises(LocalProtocolError, match="older"):
        core.publish(member.record(sequence=5), member.shown, NOW)
    other = PEOPLE.member()
    with pytest.raises(LocalProtocolError):
        core.publish(other.record(), member.shown, NOW)
    with pytest.raises(VerificationError, match="wrong_endpoint"):
        core.publish(other.record(), other.shown, NOW)
    with pytest.raises(VerificationError, match="grant_expired"):
        core.publish(member.record(), member.shown, NOW + 10**9)


def test_messages_of_nobody_connected_are_dropped():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    core.disconnected(peer)
    core.disconnected(peer)
    assert _tell(core, peer, Records(records=(_record(PEOPLE.member()),), push=True)) == []
    assert len(core.table) == 1


@pytest.mark.parametrize("data", [b"", b"\xff\xff", bytes(2000)])
def test_what_is_malformed_is_misbehaviour(data):
    core, _ = _core()
    (peer,) = _peers(core, 1)
    (action,) = core.receive_untrusted(peer, data, NOW)
    assert isinstance(action, Misbehaved)
    assert action.peer == peer


def test_records_before_a_bad_one_count_and_those_after_it_do_not():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    good, bad, late = (PEOPLE.member() for _ in range(3))
    broken = bytearray(bad.record())
    broken[-1] ^= 1
    message = Records(
        records=(_record(good), Record(summary=bytes(broken), credentials=bad.shown), _record(late)), push=False
    )
    actions = _tell(core, peer, message)
    assert [type(action) for action in actions] == [Changed, Misbehaved]
    assert core.table.get(good.id)
    assert not core.table.get(late.id)


@pytest.mark.parametrize("changes", [{"now": NOW + 100}, {"now": NOW - 4000}])
def test_records_out_of_time_are_nobodys_fault(changes):
    core, _ = _core()
    (peer,) = _peers(core, 1)
    assert _tell(core, peer, Records(records=(_record(PEOPLE.member(), **changes),), push=True)) == []
    assert len(core.table) == 1


def test_credentials_that_were_judged_before_must_be_in_force_still():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    member = PEOPLE.member(ticket=PEOPLE.ticket(lifetime_s=100))
    first = _tell(core, peer, Records(records=(_record(member),), push=False))
    assert first == [Changed(endpoint_id=member.id)]
    later = NOW + 100  # no round has passed since its grant ended
    assert _tell(core, peer, Records(records=(_record(member, now=later),), push=False), later) == []
    assert core.table.highest_sequence(member.id) < member.sequence


def test_a_peer_gets_no_more_than_its_share():
    """To ask for everything again and again costs the asker, not us."""
    core, _ = _core()
    (peer,) = _peers(core, 1)
    for _ in range(60):
        _tell(core, peer, Records(records=(_record(PEOPLE.member()),), push=False))
    everything = encode(Listing(buckets=tuple(range(256)), items=()))
    sent = 0
    for _ in range(1000):
        sent += sum(len(action.message) for action in core.receive_untrusted(peer, everything, NOW))
    assert 31 << 20 < sent <= 32 << 20
    answers = core.receive_untrusted(peer, everything, NOW + 10)
    assert 0 < sum(len(action.message) for action in answers) <= 10 * (128 << 10)


def test_to_connect_again_buys_no_new_share():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    for _ in range(60):
        _tell(core, peer, Records(records=(_record(PEOPLE.member()),), push=False))
    everything = encode(Listing(buckets=tuple(range(256)), items=()))
    while core.receive_untrusted(peer, everything, NOW):
        pass
    core.connected(peer, NOW)  # over another connection, before the first is seen to be gone
    assert core.receive_untrusted(peer, everything, NOW) == []
    core.disconnected(peer)
    _peers(core, 3)
    core.connected(peer, NOW)
    assert core.receive_untrusted(peer, everything, NOW) == []


def test_what_is_kept_of_those_that_left_is_bounded():
    core, _ = _core()
    for index in range(1100):
        core.connected(index.to_bytes(32, "big"), NOW)
        core.disconnected(index.to_bytes(32, "big"))
    assert len(core._parted) == 1024
    assert bytes(32) not in core._parted


def test_a_peer_that_floods_is_told_apart():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    message = encode(Notices(revocations=b"", successors=(bytes(1 << 19),)))
    verdicts = [core.receive_untrusted(peer, message, NOW) for _ in range(130)]
    assert verdicts[0] == []
    assert isinstance(verdicts[-1][0], Misbehaved)


def test_the_issuers_word_is_sent_once_in_a_while():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    signed = make_revocations(PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)])
    core.policy.offer_revocations_untrusted(signed.encode(), NOW)
    changed, notices = core.policy_changed(NOW)
    assert changed == PolicyChanged()
    assert _said([notices]) == [Notices(revocations=signed.encode(), successors=())]
    deaf = Root(digest=core.table.root(), notices_digest=bytes(32))
    assert _tell(core, peer, deaf, NOW + 59) == []
    assert _said(_tell(core, peer, deaf, NOW + 60)) == [Notices(revocations=signed.encode(), successors=())]


def test_a_forged_list_is_misbehaviour():
    core, _ = _core()
    (peer,) = _peers(core, 1)
    signed = make_revocations(PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)])
    forged = signed.encode()[:-1] + bytes([signed.encode()[-1] ^ 1])
    (action,) = _tell(core, peer, Notices(revocations=forged, successors=()))
    assert isinstance(action, Misbehaved)
    assert core.policy.revocations is None

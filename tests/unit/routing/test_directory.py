"""The hosts that are known, and what was seen of them."""

from __future__ import annotations

from kit.sealed import make_epoch, make_host
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.routing.directory import COOL_DOWN_MAX_S, COOL_DOWN_S, Directory, HostOffer

A, B, C = (bytes([number]) * 32 for number in range(3))
NOW = 1000.0
EPOCH = make_epoch()


class Known:
    """Verdicts as the test says."""

    def __init__(self, *verified: bytes) -> None:
        self.hosts = {one: make_host(EPOCH, endpoint_id=one) for one in verified}
        self.reasons: dict[bytes, tuple[str, ...]] = {}
        self.directory = Directory(verified=self.verified, refusals=lambda one: self.reasons.get(one, ()))

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        host = self.hosts.get(endpoint_id)
        return host if host is not None and now < host.expires else None

    def put(self, endpoint_id: bytes, *, plain: bool = False, **models: int) -> None:
        self.directory.put(HostOffer(endpoint_id=endpoint_id, models=models or {"m": 10}, plain=plain))


def test_only_who_is_verified_now_is_usable() -> None:
    known = Known(A)
    known.put(A)
    known.put(B)
    known.put(C, other=1)
    found = known.directory.candidates("m", NOW)
    assert [candidate.offer.endpoint_id for candidate in found.usable] == [A]
    assert found.usable[0].context_length == 10
    assert found.refused == {B: "not verified yet"}
    assert found.pending == {B}
    later = known.directory.candidates("m", EPOCH.not_after)
    assert later.usable == ()
    assert later.known


def test_a_refused_host_keeps_its_reasons_and_is_not_waited_for() -> None:
    known = Known()
    known.put(B)
    known.reasons[B] = ("too weak", "too old")
    found = known.directory.candidates("m", NOW)
    assert found.refused == {B: "too weak; too old"}
    assert found.pending == frozenset()


def test_a_plain_node_is_never_usable_whatever_verdict_there_is() -> None:
    known = Known(A)
    known.put(A, plain=True)
    found = known.directory.candidates("m", NOW)
    assert found.usable == ()
    assert "plain" in found.refused[A]
    assert found.pending == frozenset()


def test_names_are_of_all_hosts_and_a_newer_offer_replaces_the_older() -> None:
    known = Known()
    known.put(A, x=1, y=2)
    known.put(B, z=3)
    known.put(A, y=5)
    assert known.directory.model_names() == ("y", "z")
    known.directory.remove(B)
    known.directory.remove(B)
    assert [offer.endpoint_id for offer in known.directory] == [A]
    assert not known.directory.candidates("z", NOW).known


def test_failures_cool_longer_and_longer_and_one_success_ends_it() -> None:
    known = Known(A)
    known.put(A)
    health = known.directory.health(A)
    lengths = []
    for _ in range(9):
        known.directory.note_failure(A, NOW)
        lengths.append(health.cool_until - NOW)
    assert lengths[:3] == [COOL_DOWN_S, 2 * COOL_DOWN_S, 4 * COOL_DOWN_S]
    assert lengths[-1] == COOL_DOWN_MAX_S
    assert health.cooling(NOW + COOL_DOWN_MAX_S - 1)
    assert not health.cooling(NOW + COOL_DOWN_MAX_S)
    known.directory.note_success(A)
    assert not health.cooling(NOW)
    known.directory.note_failure(A, NOW)
    assert health.cool_until == NOW + COOL_DOWN_S


def test_thousands_of_failures_overflow_nothing() -> None:
    known = Known(A)
    known.put(A)
    known.directory.health(A).failures = 5000
    known.directory.note_failure(A, NOW)
    assert known.directory.health(A).cool_until == NOW + COOL_DOWN_MAX_S


def test_a_host_cannot_wash_itself_by_leaving() -> None:
    known = Known(A)
    known.put(A)
    known.directory.note_failure(A, NOW)
    known.directory.remove(A)
    known.directory.candidates("m", NOW)
    known.put(A)
    assert known.directory.health(A).cooling(NOW)


def test_what_was_seen_of_hosts_that_are_gone_is_forgotten_in_time() -> None:
    known = Known(A, B, C)
    for one in (A, B, C):
        known.put(one)
    known.directory.note_failure(A, NOW)
    known.directory.exchange_opened(B)
    known.directory.note_success(C)
    for one in (A, B, C):
        known.directory.remove(one)
    known.directory.candidates("m", NOW)
    assert set(known.directory._health) == {A, B}
    known.directory.exchange_closed(B)
    known.directory.candidates("m", NOW + COOL_DOWN_S)
    assert known.directory._health == {}


def test_open_exchanges_survive_leaving_and_come_to_nothing() -> None:
    known = Known(A)
    known.put(A)
    known.directory.exchange_opened(A)
    known.directory.remove(A)
    known.directory.exchange_opened(A)
    known.put(A)
    assert known.directory.health(A).open_exchanges == 2
    known.directory.exchange_closed(A)
    known.directory.exchange_closed(A)
    assert known.directory.health(A).open_exchanges == 0


def test_strangers_leave_no_trace() -> None:
    known = Known()
    known.directory.note_failure(A, NOW)
    known.directory.note_success(B)
    assert known.directory._health == {}

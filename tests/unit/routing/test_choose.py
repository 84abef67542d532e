"""In which order hosts are tried, and what is said when there is none."""

from __future__ import annotations

import hashlib

import pytest

from kit.sealed import make_epoch, make_host
from sealmesh.attestation.plain import PlainRule
from sealmesh.errors import RoutingError, RoutingFault
from sealmesh.limits import SESSIONS_MAX
from sealmesh.routing.choose import RETRY_AFTER_S, PlainRoute, Wanted, order
from sealmesh.routing.directory import BUSY_PAUSE_S, LOAD_VALID_S, SLOTS_ASSUMED, Directory, HostOffer

A, B, C = (bytes([number]) * 32 for number in range(3))
NOW = 1000.0
EPOCH = make_epoch()


def directory_of(*verified: bytes, pending: tuple[bytes, ...] = (), refused: tuple[bytes, ...] = ()) -> Directory:
    directory = Directory(
        verified=lambda one, now: make_host(EPOCH, endpoint_id=one) if one in verified else None,
        refusals=lambda one: ("too weak",) if one in refused else (),
    )
    for one in (*verified, *pending, *refused):
        directory.put(HostOffer(endpoint_id=one, models={"m": 1}))
    return directory


def first_two(length: int) -> bytes:
    """Draws the two cheapest."""
    return bytes(length)


def tried(directory: Directory, rtts: dict[bytes, float], *, random=first_two, **wanted) -> list[bytes]:
    route = order(directory, Wanted(model="m", **wanted), NOW, rtt_ms=rtts.get, random=random)
    return [candidate.offer.endpoint_id for candidate in route.candidates]


def test_the_nearest_comes_first_and_then_by_name() -> None:
    directory = directory_of(A, B, C)
    assert tried(directory, {A: 9.0, B: 1.0, C: 5.0}) == [B, C, A]
    assert tried(directory, {A: 1.0, B: 1.0, C: 1.0}) == [A, B, C]


def test_who_is_connected_comes_before_who_is_not() -> None:
    assert tried(directory_of(A, B, C), {C: 100.0}) == [C, A, B]


def test_load_weighs_the_more_the_nearer_the_others_are() -> None:
    directory = directory_of(A, B)
    directory.exchange_opened(A)
    assert tried(directory, {A: 1.0, B: 2.0}) == [B, A]
    assert tried(directory, {A: 1.0, B: 200.0}) == [A, B]
    for _ in range(40):
        directory.exchange_opened(A)
    assert tried(directory, {A: 1.0, B: 200.0}) == [B, A]


def test_who_failed_comes_last_but_comes() -> None:
    directory = directory_of(A, B, C)
    directory.note_failure(A, NOW)
    assert tried(directory, {A: 1.0}) == [B, C, A]
    for one in (B, C):
        directory.note_failure(one, NOW)
    assert len(tried(directory, {})) == 3


def refusal(directory: Directory, model: str = "m") -> RoutingError:
    with pytest.raises(RoutingError) as refused:
        order(directory, Wanted(model=model), NOW, rtt_ms=lambda _: None, random=first_two)
    return refused.value


def test_nobody_known_is_no_host_and_worth_another_try() -> None:
    error = refusal(directory_of())
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_HOST, RETRY_AFTER_S)


def test_a_model_that_nobody_has_is_unknown() -> None:
    error = refusal(directory_of(A), "other")
    assert (error.fault, error.retry_after_s) == (RoutingFault.UNKNOWN_MODEL, None)


def test_all_refused_is_no_attested_host_with_each_reason_and_no_retry() -> None:
    error = refusal(directory_of(refused=(A, B)))
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_ATTESTED_HOST, None)
    assert error.refused == {A.hex(): "too weak", B.hex(): "too weak"}


def test_a_verdict_on_its_way_is_waited_for() -> None:
    error = refusal(directory_of(refused=(A,), pending=(B,)))
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_HOST, RETRY_AFTER_S)
    assert error.refused == {A.hex(): "too weak", B.hex(): "not verified yet"}


def directory_with(contexts: dict[bytes, int]) -> Directory:
    directory = Directory(verified=lambda one, now: make_host(EPOCH, endpoint_id=one), refusals=lambda _: ())
    for one, context in contexts.items():
        directory.put(HostOffer(endpoint_id=one, models={"m": context}))
    return directory


def test_enough_context_comes_before_nearness_and_the_least_lacking_first() -> None:
    directory = directory_with({A: 1000, B: 4000, C: 0})
    rtts = {A: 1.0, B: 5.0, C: 9.0}
    assert tried(directory, rtts, size=3_000) == [A, B, C]
    assert tried(directory, rtts, size=8_000) == [B, C, A]  # unknown may be enough
    assert tried(directory, rtts, size=80_000) == [C, B, A]


def test_who_said_that_it_is_busy_comes_after_the_others_for_a_moment() -> None:
    directory = directory_of(A, B)
    directory.note_busy(A, NOW)
    assert tried(directory, {A: 1.0, B: 9.0}) == [B, A]
    directory.note_busy(A, NOW - BUSY_PAUSE_S)
    assert tried(directory, {A: 1.0, B: 9.0}) == [A, B]
    assert directory.health(A).failures == 0


def test_of_many_two_are_drawn_and_the_cheaper_is_first() -> None:
    hosts = [bytes([number]) * 32 for number in range(8)]
    directory = directory_of(*hosts)
    rtts = {one: float(number) for number, one in enumerate(hosts)}
    firsts: dict[bytes, int] = {}
    for seed in range(400):
        draws = iter(hashlib.sha256(seed.to_bytes(2, "big")).digest()[at : at + 4] for at in (0, 4))
        ordered = tried(directory, rtts, random=lambda _, draws=draws: next(draws))
        assert sorted(ordered) == hosts
        firsts[ordered[0]] = firsts.get(ordered[0], 0) + 1
    assert hosts[-1] not in firsts  # it is never the cheaper of two
    assert [firsts[one] for one in hosts[:-1]] == sorted(firsts.values(), reverse=True)
    assert firsts[hosts[0]] < 200  # a quarter of all, and not all


def test_a_draw_never_pairs_a_host_with_itself() -> None:
    directory = directory_of(A, B, C)
    rtts = {A: 1.0, B: 2.0, C: 3.0}
    for one in range(3):
        for other in range(2):
            draws = iter([one.to_bytes(4, "big"), other.to_bytes(4, "big")])
            assert tried(directory, rtts, random=lambda _, draws=draws: next(draws))[0] != C


def test_a_conversation_goes_back_to_its_host_unless_it_failed() -> None:
    directory = directory_of(A, B, C)
    rtts = {A: 1.0, B: 2.0, C: 3.0}
    directory.note_session("m", "s", C)
    assert tried(directory, rtts, session="s") == [C, A, B]
    assert tried(directory, rtts, session="t") == [A, B, C]
    directory.note_session("other", "t", C)  # another model's conversation is another one
    assert tried(directory, rtts, session="t") == [A, B, C]
    directory.note_failure(C, NOW)
    assert tried(directory, rtts, session="s") == [A, B, C]


def test_a_conversation_without_room_at_its_host_goes_where_there_is_some() -> None:
    directory = directory_of(A, B)
    rtts = {A: 1.0, B: 2.0}
    directory.note_session("m", "s", A)
    directory.note_load(A, slots=1, taken=1, now=NOW)
    assert tried(directory, rtts, session="s") == [B, A]
    directory.note_load(B, slots=1, taken=3, now=NOW)
    assert tried(directory, rtts, session="s") == [A, B]


def test_not_more_conversations_are_remembered_than_the_limit() -> None:
    directory = directory_of(A)
    for number in range(SESSIONS_MAX + 1):
        directory.note_session("m", str(number), A)
    assert directory.host_of_session("m", "0") is None
    assert directory.host_of_session("m", "1") == A
    directory.note_session("m", "", A)
    assert directory.host_of_session("m", "") is None


def test_what_a_host_says_of_its_load_counts_for_a_while_and_never_less_than_what_this_node_sees() -> None:
    directory = directory_of(A)
    health = directory.health(A)
    assert health.load(NOW) == 0.0
    directory.note_load(A, slots=2, taken=3, now=NOW)
    assert health.load(NOW) == 1.5
    assert health.waits(NOW)
    assert health.load(NOW + LOAD_VALID_S) == 0.0
    for _ in range(5):
        directory.exchange_opened(A)
    assert health.load(NOW) == 2.5
    directory.note_load(A, slots=0, taken=0, now=NOW)
    assert health.load(NOW) == 5 / SLOTS_ASSUMED


def test_plain_nodes_are_a_route_of_their_own_and_only_where_nobody_has_a_key() -> None:
    """[PL-5]"""
    rule = PlainRule(allowed=True, demanded="", had_key=lambda _: False)
    directory = Directory(verified=lambda one, now: None, refusals=lambda _: (), plain_rule=rule)
    for one, length in ((A, 10), (B, 20)):
        directory.put(HostOffer(endpoint_id=one, models={"m": length}, plain=True, takes_plain=True))
    route = order(directory, Wanted(model="m", size=60), NOW, rtt_ms=lambda _: 1.0, random=first_two)
    assert isinstance(route, PlainRoute)
    assert [one.offer.endpoint_id for one in route.candidates] == [B, A]
    directory.put(HostOffer(endpoint_id=C, models={"m": 1}))
    error = refusal(directory)
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_HOST, RETRY_AFTER_S)
    assert set(error.refused) == {one.hex() for one in (A, B, C)}

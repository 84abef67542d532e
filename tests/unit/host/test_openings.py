"""How much of a host one peer may take."""

from __future__ import annotations

from sealmesh.host.openings import BodyBudget, OpeningRates, Places
from sealmesh.limits import HOST_EXCHANGES_MAX, HOST_QUEUE_PER_SLOT

A, B, C = (bytes([number]) * 32 for number in range(3))


def taken(rates: OpeningRates, peer: bytes, now: float) -> int:
    """How many openings a peer gets at once."""
    return next(number for number in range(10_000) if not rates.take(peer, now))


def test_a_burst_is_allowed_and_then_so_many_a_second() -> None:
    rates = OpeningRates(per_second=2, burst=5)
    assert taken(rates, A, 0.0) == 5
    assert taken(rates, A, 0.4) == 0
    assert taken(rates, A, 1.5) == 3
    assert taken(rates, A, 1000.0) == 5


def test_peers_have_accounts_of_their_own() -> None:
    rates = OpeningRates(per_second=1, burst=2)
    assert taken(rates, A, 0.0) == 2
    assert taken(rates, B, 0.0) == 2


def test_what_is_refused_costs_nothing_and_time_that_goes_back_gives_nothing() -> None:
    rates = OpeningRates(per_second=1, burst=1)
    assert taken(rates, A, 10.0) == 1
    assert taken(rates, A, 5.0) == 0
    assert taken(rates, A, 6.0) == 1


def test_full_buckets_are_forgotten_when_room_is_needed() -> None:
    rates = OpeningRates(per_second=1, burst=2, peers_max=2)
    assert rates.take(A, 0.0)
    assert rates.take(B, 0.0)
    assert not rates.take(C, 0.5)
    assert len(rates) == 2
    assert rates.take(C, 2.0)
    assert len(rates) == 1


def test_looking_for_full_buckets_is_not_done_for_every_newcomer() -> None:
    rates = OpeningRates(per_second=10, burst=2, peers_max=1)
    assert rates.take(A, 0.0)
    assert not rates.take(B, 0.05)  # it looked, and found A's still in use
    assert not rates.take(B, 0.2)  # A's is full again, but nobody looks
    assert rates.take(B, 1.1)


def test_known_peers_go_on_while_there_is_no_room_for_new_ones() -> None:
    rates = OpeningRates(per_second=0.001, burst=9, peers_max=1)
    assert rates.take(A, 0.0)
    assert not rates.take(B, 0.0)
    assert rates.take(A, 0.0)


def test_one_peer_fills_the_slots_but_leaves_a_part_of_the_queue() -> None:
    for slots in (1, 2, 8):
        places = Places(slots)
        own = 0
        while places.take(A):
            own += 1
        everything = slots * (1 + HOST_QUEUE_PER_SLOT)
        assert slots <= own < everything
        others = 0
        while places.take(bytes([others + 1]) * 32):
            others += 1
        assert own + others == everything == places.open
        places.give_back(A)
        assert places.take(A)


def test_an_engine_without_slots_is_bounded_too() -> None:
    places = Places(0)
    peers = [bytes([number]) * 32 for number in range(4)]
    assert sum(places.take(peers[number % 4]) for number in range(2 * HOST_EXCHANGES_MAX)) == HOST_EXCHANGES_MAX
    assert Places(10_000)._all == HOST_EXCHANGES_MAX


def test_places_come_back() -> None:
    places = Places(1)
    for _ in range(100):
        assert places.take(A)
        places.give_back(A)
    assert places.open == 0
    assert not places._taken


def test_bodies_share_a_budget_of_which_nobody_gets_all() -> None:
    budget = BodyBudget(100)
    assert budget.take(A, 75)
    assert not budget.take(A, 1)
    assert budget.take(B, 25)
    assert not budget.take(B, 1)
    assert budget.held == 100
    budget.give_back(A, 75)
    budget.give_back(B, 25)
    assert budget.held == 0
    assert not budget._held

"""When hosts are asked, and which epoch counts."""

from __future__ import annotations

import pytest

from kit.attested import NOW, ProvenHost, judge
from sealmesh.client.ahead import fetch_due, host_of_now, renewal_due, retry_pause
from sealmesh.limits import CHALLENGE_TRIES, CLOCK_SKEW_S

HOST = ProvenHost()
VERDICT = judge(HOST)
FIRST, SECOND, THIRD = VERDICT.hosts_for([HOST.epoch(NOW + 300 * one, number=one + 1) for one in range(3)], NOW)


def test_a_verdict_is_renewed_with_time_left_for_three_tries() -> None:
    due = renewal_due(VERDICT, 600)
    tries = sum(retry_pause(failures=one, dropped=0, left=180.0) for one in range(1, CHALLENGE_TRIES))
    assert due == NOW + 420
    assert due + tries + CHALLENGE_TRIES * 10 < VERDICT.expires


def test_a_strict_policy_has_verdicts_renewed_sooner() -> None:
    assert renewal_due(VERDICT, 100) == NOW + 70


def test_keys_are_fetched_shortly_after_they_are_announced() -> None:
    assert fetch_due([FIRST], now=NOW, since_fetch=0) == NOW + 126
    assert fetch_due([FIRST, SECOND], now=NOW, since_fetch=0) == NOW + 426


def test_keys_that_are_late_are_not_asked_for_at_once_again() -> None:
    assert fetch_due([FIRST], now=NOW + 200, since_fetch=0) == NOW + 212
    assert fetch_due([], now=NOW, since_fetch=0) == NOW + 12
    assert fetch_due([], now=NOW, since_fetch=1e9) == NOW


def test_pauses_grow_and_end() -> None:
    assert [retry_pause(failures=one, dropped=0, left=None) for one in (1, 2, 3, 9)] == [1, 2, 4, 30]
    assert [retry_pause(failures=one, dropped=0, left=180.0) for one in (1, 2, 3)] == [15, 30, 30]
    # A policy that wants fresh evidence leaves little time, and an ended verdict none.
    assert [retry_pause(failures=1, dropped=0, left=left) for left in (9.0, 1.2, -5.0)] == [3, 1, 1]
    assert [retry_pause(failures=0, dropped=one, left=None) for one in (1, 2, 3, 99)] == [10, 20, 40, 300]


@pytest.mark.parametrize(
    ("at", "number"),
    [(0, 1), (299.9, 1), (300, 2), (600, 3), (899.9, 3), (900, None), (-CLOCK_SKEW_S, 1), (-CLOCK_SKEW_S - 1, None)],
)
def test_the_epoch_of_now(at: float, number: int | None) -> None:
    found = host_of_now([SECOND, THIRD, FIRST], NOW + at)
    assert (None if found is None else found.epoch) == number

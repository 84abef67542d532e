"""Two clocks that part: one of them was set."""

from __future__ import annotations

import pytest

from sealmesh.attestation.clocks import ClockGuard


def test_sleep_and_small_corrections_are_no_parting() -> None:
    guard = ClockGuard(1000.0, 10.0)
    assert not guard.parted(1000.0 + 8 * 3600, 10.0 + 8 * 3600)
    assert not guard.parted(1004.9, 10.0)
    assert not guard.parted(995.1, 10.0)


@pytest.mark.parametrize("step", [5.0, -5.0, 3600.0, -3600.0])
def test_a_clock_that_is_set_is_noticed_once(step: float) -> None:
    guard = ClockGuard(1000.0, 10.0)
    assert guard.parted(1001.0 + step, 11.0)
    assert not guard.parted(1002.0 + step, 12.0)
    assert guard.parted(1003.0, 13.0)


def test_slow_drift_adds_up() -> None:
    guard = ClockGuard(0.0, 0.0)
    assert [guard.parted(second * 1.01, float(second)) for second in (100, 400, 500)] == [False, False, True]

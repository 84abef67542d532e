"""Who misbehaved is kept off, longer each time, and the memory of it is bounded."""

import pytest

from sealmesh.limits import SHUN_FORGOTTEN_S, SHUN_MAX_S, SHUN_REASON_MAX, SHUNNED_MAX
from sealmesh.mesh.shunned import Shunned

ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32


def test_the_time_doubles_up_to_an_hour():
    shunned, now, times = Shunned(), 1000.0, []
    for _ in range(40):
        times.append(shunned.add(ONE, "again", now))
        assert shunned.holds(ONE, now + times[-1] - 0.001)
        now += times[-1]
        assert not shunned.holds(ONE, now)
    assert times[:8] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert max(times) == SHUN_MAX_S
    assert shunned.add(OTHER, "first", now) == 60


@pytest.mark.parametrize(("waits", "next_s"), [(SHUN_FORGOTTEN_S - 1, 120), (SHUN_FORGOTTEN_S, 60)])
def test_who_did_nothing_for_an_hour_begins_anew(waits, next_s):
    shunned = Shunned()
    end = shunned.add(ONE, "once", 0.0)
    assert shunned.add(ONE, "twice", end + waits) == next_s


def test_the_reason_is_told_while_it_lasts():
    shunned = Shunned()
    shunned.add(ONE, "a" * 1000, 0.0)
    shunned.add(OTHER, "b", 10.0)
    assert [(one.endpoint_id, one.times, one.left_s) for one in shunned.now(20.0)] == [(OTHER, 1, 50.0), (ONE, 1, 40.0)]
    assert [len(one.reason) for one in shunned.now(20.0)] == [1, SHUN_REASON_MAX]
    assert [one.endpoint_id for one in shunned.now(60.0)] == [OTHER]
    assert shunned.now(70.0) == ()


def test_a_crowd_of_endpoints_fills_no_memory_and_frees_nobody_who_is_off_for_longer():
    shunned = Shunned()
    shunned.add(ONE, "first", 0.0)
    shunned.add(ONE, "second", 0.0)
    for number in range(2 * SHUNNED_MAX):
        shunned.add(number.to_bytes(32, "big"), "one of many", 1.0)
    assert len(shunned) == SHUNNED_MAX
    assert shunned.holds(ONE, 119.0)

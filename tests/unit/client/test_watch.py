"""The clocks of an answer, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealmesh.client.watch import AnswerWatch, Timeouts
from sealmesh.errors import HostLostError, HostTooSlowError


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Time that moves when told, and calls what is due at its moment."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        self.timers.append(timer := Timer(self.now + delay, callback))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = end

    def stand_still(self, seconds: float) -> None:
        """The whole process does nothing for a while; only then are its timers called."""
        self.now += seconds


class Watched:
    def __init__(self) -> None:
        self.loop = Loop()
        self.cuts = 0
        self.watch = AnswerWatch(Timeouts(silence=5, head=60, body=20), self.cut, self.loop)
        self.watch.start()

    def cut(self) -> None:
        self.cuts += 1


def test_silence_cuts_once() -> None:
    one = Watched()
    one.watch.wait()
    one.loop.advance(4.9)
    assert one.cuts == 0
    one.loop.advance(0.7)
    assert one.cuts == 1
    assert isinstance(one.watch.expired, HostLostError)
    one.loop.advance(100)
    assert one.cuts == 1


def test_what_is_heard_extends_silence_and_nothing_else() -> None:
    one = Watched()
    one.watch.wait()
    for _ in range(59):
        one.loop.advance(1)
        one.watch.heard()
    assert one.cuts == 0
    one.loop.advance(1.6)
    assert isinstance(one.watch.expired, HostTooSlowError)


def test_after_the_head_the_body_has_its_own_time() -> None:
    one = Watched()
    one.watch.wait()
    one.loop.advance(4)
    one.watch.heard()
    one.watch.head_came()
    for _ in range(19):
        one.loop.advance(1)
        one.watch.heard()
    one.watch.body_came()
    for _ in range(19):
        one.loop.advance(1)
        one.watch.heard()
    assert one.cuts == 0
    one.loop.advance(1.6)
    assert isinstance(one.watch.expired, HostTooSlowError)


def test_an_app_that_does_not_read_stops_both_clocks() -> None:
    one = Watched()
    one.watch.wait()
    one.loop.advance(3)
    one.watch.pause()
    one.loop.advance(1000)
    one.watch.wait()
    one.loop.advance(1.9)
    assert one.cuts == 0
    one.loop.advance(0.7)
    assert one.cuts == 1


def test_a_process_that_stood_still_takes_nobody_for_lost() -> None:
    one = Watched()
    one.watch.wait()
    one.loop.stand_still(30)
    one.loop.advance(0.6)
    assert one.cuts == 0
    one.watch.heard()
    one.loop.advance(5.6)
    assert one.cuts == 1


@pytest.mark.parametrize("times", [1, 2])
def test_stopped_it_cuts_no_more(times: int) -> None:
    one = Watched()
    one.watch.wait()
    for _ in range(times):
        one.watch.stop()
    one.loop.advance(1000)
    assert one.cuts == 0
    assert all(timer.cancelled for timer in one.loop.timers)

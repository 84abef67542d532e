"""The clocks of one answer: silence, and alive without an answer (PROTOCOL.md, Liveness).

They run only while this side waits: an app that reads slowly costs the host nothing. One timer an answer, looked at
a few times in its period: no timer is touched on the way of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sealmesh.errors import HostLostError, HostTooSlowError, TransportError
from sealmesh.limits import CLIENT_SILENCE_S, RESPONSE_BODY_TIMEOUT_S, RESPONSE_HEAD_TIMEOUT_S

#: So often in the period of silence the clocks are looked at.
_LOOKS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an answer may take, in seconds. Pings extend only `silence` [EX-62]."""

    silence: float = CLIENT_SILENCE_S
    head: float = RESPONSE_HEAD_TIMEOUT_S
    body: float = RESPONSE_BODY_TIMEOUT_S


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Do not call any more."""


class TimerLoop(Protocol):
    """What the clocks need of an event loop."""

    def time(self) -> float:
        """Seconds of a clock that never jumps."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Call after so many seconds."""


class AnswerWatch:
    """Says when a host is to be given up, and calls `cut` then, once.

    Args:
        timeouts: See `Timeouts`.
        cut: Called when a clock ran out; `expired` then says which.
        loop: Time and timers.

    Attributes:
        expired: Why the answer was cut; None while it was not.
    """

    def __init__(self, timeouts: Timeouts, cut: Callable[[], None], loop: TimerLoop) -> None:
        self.expired: TransportError | None = None
        self._timeouts = timeouts
        self._cut = cut
        self._loop = loop
        self._timer: Timer | None = None
        self._waiting = False
        self._heard_at = self._progress_at = self._paused_at = self._look_due = 0.0
        self._progress_timeout = timeouts.head

    def start(self) -> None:
        """The request goes out now."""
        now = self._loop.time()
        self._heard_at = self._progress_at = self._paused_at = now
        self._schedule(now)

    def wait(self) -> None:
        """This side begins to wait for the host."""
        away = self._loop.time() - self._paused_at
        # What the app took to read is its own time: the host's clocks stood still meanwhile [EX-61].
        self._heard_at += away
        self._progress_at += away
        self._waiting = True

    def pause(self) -> None:
        """This side does something else."""
        self._paused_at = self._loop.time()
        self._waiting = False

    def heard(self) -> None:
        """A frame of the host has authenticated: it lives."""
        self._heard_at = self._loop.time()

    def head_came(self) -> None:
        """The answer's head has come; what is waited for from now on is its body."""
        self._progress_at = self._loop.time()
        self._progress_timeout = self._timeouts.body

    def body_came(self) -> None:
        """Some of the body has come."""
        self._progress_at = self._loop.time()

    def stop(self) -> None:
        """The answer is over. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, now: float) -> None:
        pause = self._timeouts.silence / _LOOKS
        self._look_due = now + pause
        self._timer = self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        # While this process stood still (a busy loop, a stopped machine) nothing could be heard: nobody's silence.
        late = max(0.0, now - self._look_due)
        self._heard_at = min(now, self._heard_at + late)
        self._progress_at = min(now, self._progress_at + late)
        if self._waiting and now - self._heard_at >= self._timeouts.silence:
            self.expired = HostLostError(f"the host was silent for {self._timeouts.silence:g} s")
        elif self._waiting and now - self._progress_at >= self._progress_timeout:
            self.expired = HostTooSlowError(f"the host gave no answer for {self._progress_timeout:g} s")
        if self.expired is None:
            self._schedule(now)
        else:
            self._cut()

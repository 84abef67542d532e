"""The two clocks of a node: the one of the wall, and one that nobody sets."""

from __future__ import annotations

import time


def now() -> float:
    """Unix seconds."""
    return time.time()


def elapsed() -> float:
    """Seconds of a clock that counts sleep and is never set."""
    # On Linux CLOCK_MONOTONIC stands still while the machine sleeps; on macOS it does not.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

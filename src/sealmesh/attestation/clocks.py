"""When two clocks disagree: one of them was set, and no age that was measured on it can be believed.

Ages are the greater of the wall clock's and of a clock that counts sleep; when the two part, hosts rotate their keys
and clients drop their verdicts [ST-18]. Pure: both readings are arguments.
"""

from __future__ import annotations

from sealmesh.limits import CLOCK_PARTING_S


class ClockGuard:
    """Notices that the wall clock and a clock that counts sleep have parted.

    Args:
        wall: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set, read at the same time.
    """

    __slots__ = ("_offset",)

    def __init__(self, wall: float, elapsed: float) -> None:
        self._offset = wall - elapsed

    def parted(self, wall: float, elapsed: float) -> bool:
        """Whether the clocks have parted by `CLOCK_PARTING_S` since the start, or since this last said so."""
        offset = wall - elapsed
        if abs(offset - self._offset) < CLOCK_PARTING_S:
            return False
        self._offset = offset
        return True

"""Members that misbehaved: cut off for a minute, and for twice as long each time they do it again."""

from __future__ import annotations

from dataclasses import dataclass

from sealmesh.limits import SHUN_FORGOTTEN_S, SHUN_MAX_S, SHUN_REASON_MAX, SHUN_S, SHUNNED_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """A member that this node has nothing to do with for now.

    Attributes:
        endpoint_id: Its id, 32 bytes.
        reason: What it did, in words; parts may be the peer's own text.
        times: How often it was cut off.
        left_s: Seconds until it is welcome again.
    """

    endpoint_id: bytes
    reason: str
    times: int
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    until: float
    reason: str
    times: int


class Shunned:
    """Who is cut off, why, and until when [TR-13]. Times are seconds of one clock that nobody sets."""

    def __init__(self) -> None:
        self._marks: dict[bytes, _Mark] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, endpoint_id: bytes, reason: str, now: float) -> float:
        """A member misbehaved; return for how many seconds it is cut off."""
        # Who holds a ticket makes endpoint ids at will: what is long past is not kept, and of the rest not too many.
        self._marks = {one: mark for one, mark in self._marks.items() if now < mark.until + SHUN_FORGOTTEN_S}
        before = self._marks.pop(endpoint_id, None)
        times = 1 if before is None else before.times + 1
        seconds = min(SHUN_MAX_S, SHUN_S * 2.0 ** min(times - 1, 32))
        if len(self._marks) >= SHUNNED_MAX:
            del self._marks[min(self._marks, key=lambda one: self._marks[one].until)]
        self._marks[endpoint_id] = _Mark(until=now + seconds, reason=reason[:SHUN_REASON_MAX], times=times)
        return seconds

    def holds(self, endpoint_id: bytes, now: float) -> bool:
        """Whether that member is cut off now."""
        mark = self._marks.get(endpoint_id)
        return mark is not None and now < mark.until

    def now(self, now: float) -> tuple[CutOff, ...]:
        """Everybody who is cut off now, the one that is longest first."""
        held = [
            CutOff(endpoint_id=one, reason=mark.reason, times=mark.times, left_s=mark.until - now)
            for one, mark in self._marks.items()
            if now < mark.until
        ]
        return tuple(sorted(held, key=lambda each: (-each.left_s, each.endpoint_id)))

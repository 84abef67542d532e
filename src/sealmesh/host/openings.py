"""A bound on how many requests one peer may have this host open in a second (A25)."""

from __future__ import annotations

from sealmesh.limits import OPENINGS_PER_PEER_BURST, OPENINGS_PER_PEER_S, PEERS_MAX


class OpeningRates:
    """A token bucket per peer. Pure: time is an argument."""

    def __init__(self, *, per_second: float = OPENINGS_PER_PEER_S, burst: float = OPENINGS_PER_PEER_BURST) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def take(self, peer: bytes, now: float) -> bool:
        """Whether `peer` may have one more request opened at `now` (seconds of a monotonic clock)."""
        tokens, at = self._buckets.get(peer, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - at) * self._per_second)
        if tokens < 1.0:
            self._buckets[peer] = (tokens, now)
            return False
        self._buckets[peer] = (tokens - 1.0, now)
        if len(self._buckets) > PEERS_MAX:
            self._forget_full(now)
        return True

    def _forget_full(self, now: float) -> None:
        self._buckets = {
            peer: (tokens, at)
            for peer, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self._per_second < self._burst
        }

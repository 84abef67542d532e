"""How much of this host one peer may take, so that no peer keeps the others out (A25). Pure: time is an argument."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sealmesh.limits import (
    HOST_BODIES_TOTAL_MAX,
    HOST_EXCHANGES_MAX,
    HOST_QUEUE_PER_SLOT,
    OPENINGS_PER_PEER_BURST,
    OPENINGS_PER_PEER_S,
    PEERS_MAX,
)

#: Peers whose buckets are full again are forgotten this often at most: looking for them takes linear time.
_FORGET_INTERVAL_S: Final = 1.0


class OpeningRates:
    """How many requests one peer may have opened in a second: a token bucket per peer.

    Args:
        per_second: What flows in.
        burst: What a bucket holds.
        peers_max: Buckets kept; when all are in use, whoever is new waits.
    """

    def __init__(
        self,
        *,
        per_second: float = OPENINGS_PER_PEER_S,
        burst: float = OPENINGS_PER_PEER_BURST,
        peers_max: int = PEERS_MAX,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._peers_max = peers_max
        self._buckets: dict[bytes, tuple[float, float]] = {}  # peer to (tokens, when they were counted)
        self._forgot_at = float("-inf")

    def take(self, peer: bytes, now: float) -> bool:
        """Whether `peer` may have one more request opened at `now` (seconds of a monotonic clock)."""
        if peer not in self._buckets and not self._make_room(now):
            return False
        tokens, at = self._buckets.get(peer, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - at) * self._per_second)
        allowed = tokens >= 1.0
        self._buckets[peer] = (tokens - 1.0 if allowed else tokens, now)
        return allowed

    def _make_room(self, now: float) -> bool:
        if len(self._buckets) < self._peers_max:
            return True
        if now - self._forgot_at < _FORGET_INTERVAL_S:
            return False
        self._forgot_at = now
        self._buckets = {
            peer: (tokens, at)
            for peer, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self._per_second < self._burst
        }
        return len(self._buckets) < self._peers_max

    def __len__(self) -> int:
        return len(self._buckets)


class Places:
    """How many exchanges run at once, and how many of them may be one peer's.

    A peer may fill the engine's slots, but always leaves a part of the queue to others.

    Args:
        slots: How many answers the engine produces at once; 0 no bound known.
    """

    def __init__(self, slots: int) -> None:
        self._all = min(slots * (1 + HOST_QUEUE_PER_SLOT), HOST_EXCHANGES_MAX) if slots else HOST_EXCHANGES_MAX
        self._one = max(1, self._all * 3 // 4)
        self._taken: Counter[bytes] = Counter()
        self._open = 0

    @property
    def open(self) -> int:
        """How many are taken."""
        return self._open

    def take(self, peer: bytes) -> bool:
        """Take a place for a peer; False if there is none for it."""
        if self._open >= self._all or self._taken[peer] >= self._one:
            return False
        self._open += 1
        self._taken[peer] += 1
        return True

    def give_back(self, peer: bytes) -> None:
        """Give back what `take` took."""
        self._open -= 1
        self._taken[peer] -= 1
        if not self._taken[peer]:
            del self._taken[peer]


class BodyBudget:
    """Bytes of request bodies that this host holds, all exchanges together, and of them one peer's part.

    Args:
        total: How many are held at once.
    """

    def __init__(self, total: int = HOST_BODIES_TOTAL_MAX) -> None:
        self._total = total
        self._one = total * 3 // 4
        self._held: Counter[bytes] = Counter()
        self._all = 0

    @property
    def held(self) -> int:
        """How many are held."""
        return self._all

    def take(self, peer: bytes, length: int) -> bool:
        """Take room for so many more bytes of a peer; False if there is none."""
        if self._all + length > self._total or self._held[peer] + length > self._one:
            return False
        self._all += length
        self._held[peer] += length
        return True

    def give_back(self, peer: bytes, length: int) -> None:
        """Give back what `take` took."""
        self._all -= length
        self._held[peer] -= length
        if not self._held[peer]:
            del self._held[peer]

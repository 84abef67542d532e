"""Which of the model's slots a request gets, and whether it may use what the slot still holds.

A slot keeps the state of the last prompt it worked on. Whoever gets that state reused learns, from the count of
cached tokens or from the clock, how the other prompt began. So the host chooses the slot, and allows reuse only to
the cache key that the slot's last request carried (PROTOCOL.md, "No state made from one asker's prompt serves
another").
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field

from sealmesh.errors import BackendError


@dataclass(slots=True, kw_only=True)
class _State:
    """What is remembered of one slot."""

    index: int
    busy: bool = False
    owner: bytes = field(default=b"", repr=False)
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One slot for one request.

    Attributes:
        index: The engine's number of the slot.
        reuse: Whether the slot's state may serve this request.
    """

    index: int
    reuse: bool


def may_reuse(owner: bytes, asker: bytes) -> bool:
    """Whether state made for `owner` may serve `asker` (both digests of cache keys; `b""`: no key, shares nothing)."""
    return bool(asker) and owner == asker


class SlotPool:
    """Hands out slots, one request each, to as many waiting as allowed.

    Args:
        count: Slots that the engine has.
        waiting_max: Requests that may wait; one more is refused as busy.
    """

    def __init__(self, count: int, *, waiting_max: int) -> None:
        self._states = [_State(index=index) for index in range(count)]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_max = waiting_max
        self._clock = 0

    @property
    def idle(self) -> bool:
        """Whether no slot is in use."""
        return not any(state.busy for state in self._states)

    async def acquire(self, cache_key: bytes) -> Lease:
        """Wait for a slot and take it.

        Args:
            cache_key: The asker's per-conversation secret, or `b""`.

        Raises:
            BackendError: Too many wait already.
        """
        while all(state.busy for state in self._states):
            if len(self._waiting) >= self._waiting_max:
                raise BackendError(503, "backend_busy", "The model has no room now.", retry_after_s=1)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif turn.done() and not turn.cancelled():
                    self._wake()  # the turn was given to us as we left: pass it on
                raise
        return self._take(hashlib.sha256(cache_key).digest() if cache_key else b"")

    def _take(self, asker: bytes) -> Lease:
        free = [state for state in self._states if not state.busy]
        own = [state for state in free if may_reuse(state.owner, asker)]
        # Else the slot that was left longest ago: the others' state is the likelier to be asked for again.
        chosen = own[0] if own else min(free, key=lambda state: (state.owner != b"", state.used))
        self._clock += 1
        chosen.busy, chosen.owner, chosen.used = True, asker, self._clock
        return Lease(index=chosen.index, reuse=bool(own))

    def release(self, index: int) -> None:
        """Give a slot back once the engine has left it."""
        self._states[index].busy = False
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

"""Who is answered next: as many at once as the engine has slots, the others in a queue in which peers take turns.

A peer that asks much waits behind its own requests, not in front of everybody's. While a request waits, its asker hears
from this host each second.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class FairQueue:
    """Turns at the engine.

    Args:
        slots: How many answers the engine produces at once; 0: no bound known, so nobody waits.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running = 0
        self._waiting: OrderedDict[bytes, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def running(self) -> int:
        """How many have a turn now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return sum(len(turns) for turns in self._waiting.values())

    def take(self) -> bool:
        """Take a turn if one is free and nobody waits for it."""
        free = not self._slots or (self._running < self._slots and not self._waiting)
        self._running += free
        return free

    async def acquire(self, peer: bytes) -> None:
        """Wait for a turn; `release` follows, once.

        Args:
            peer: Whose request it is: of several peers that wait, each gets a turn before one gets a second.
        """
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the turn was given to us as we left: pass it on
            else:
                self._leave(peer, turn)
            raise

    def release(self) -> None:
        """Give a turn back: to the peer that has waited longest for one, else to nobody."""
        self._running -= 1
        if not self._waiting:
            return
        peer, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._waiting[peer] = turns  # behind the others
        self._running += 1
        turn.set_result(None)

    def _leave(self, peer: bytes, turn: asyncio.Future[None]) -> None:
        turns = self._waiting[peer]
        turns.remove(turn)
        if not turns:
            del self._waiting[peer]

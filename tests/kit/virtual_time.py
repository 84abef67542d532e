"""Time that stands still until a test moves it: a wall clock, a clock that counts sleep, and sleeping."""

from __future__ import annotations

import asyncio

START = 1_800_000_000.0


class VirtualTime:
    """Two clocks that move together, unless the wall clock is set.

    Attributes:
        wall: Unix seconds.
        counted: Seconds since the start, sleep included.
    """

    def __init__(self, wall: float = START) -> None:
        self.wall = wall
        self.counted = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Unix seconds."""
        return self.wall

    def elapsed(self) -> float:
        """Seconds of a clock that is never set."""
        return self.counted

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved time so far."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.counted + max(0.0, seconds), future))
        await future

    def set_wall(self, wall: float) -> None:
        """Set the wall clock, as an operator would."""
        self.wall = wall

    async def advance(self, seconds: float) -> None:
        """Move both clocks, waking each sleeper at its moment; all that is ready runs in between."""
        end = self.counted + seconds
        await settle()
        while True:
            self._sleepers = [one for one in self._sleepers if not one[1].done()]
            due = min((at for at, _ in self._sleepers), default=end)
            if due > end:
                break
            self._move(due)
            for at, future in self._sleepers:
                if at <= self.counted and not future.done():
                    future.set_result(None)
            await settle()
            if not any(at <= end for at, future in self._sleepers if not future.done()):
                break
        self._move(end)
        await settle()

    def _move(self, counted: float) -> None:
        step = max(0.0, counted - self.counted)
        self.counted += step
        self.wall += step


async def settle() -> None:
    """Let every task run until it waits for something. Nothing here waits for the outside."""
    for _ in range(40):
        await asyncio.sleep(0)

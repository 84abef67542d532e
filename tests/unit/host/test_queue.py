"""Turns at the engine: as many as it has slots, and peers one after the other."""

from __future__ import annotations

import asyncio

import pytest

from sealmesh.host.queue import FairQueue

A, B, C = (bytes([number]) * 32 for number in range(3))


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Line:
    """Requests that wait, and the order in which they got their turns."""

    def __init__(self, slots: int) -> None:
        self.queue = FairQueue(slots)
        self.served: list[bytes] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *peers: bytes) -> None:
        for peer in peers:
            self.tasks.append(asyncio.create_task(self._one(peer)))
            await let_run()

    async def _one(self, peer: bytes) -> None:
        await self.queue.acquire(peer)
        self.served.append(peer)

    async def end(self) -> None:
        self.queue.release()
        await let_run()


async def test_as_many_as_there_are_slots_run_at_once() -> None:
    line = Line(2)
    await line.ask(A, A, A)
    assert (line.served, line.queue.running, line.queue.waiting) == ([A, A], 2, 1)
    await line.end()
    assert (line.queue.running, line.queue.waiting) == (2, 0)
    for _ in range(2):
        await line.end()
    assert line.queue.running == 0


async def test_peers_take_turns_however_much_one_asks() -> None:
    line = Line(1)
    await line.ask(C, A, A, A, A, B, C, B)
    for _ in range(7):
        await line.end()
    assert line.served == [C, A, B, C, A, B, A, A]
    await line.end()
    assert (line.queue.running, line.queue.waiting) == (0, 0)


async def test_nobody_overtakes_those_who_wait() -> None:
    line = Line(1)
    await line.ask(A, B)
    line.queue.release()  # B's turn, though it has not run yet
    newcomer = asyncio.create_task(line.queue.acquire(C))
    await let_run()
    assert line.served == [A, B]
    assert not newcomer.done()
    await line.end()
    assert newcomer.done()


@pytest.mark.parametrize("given", [False, True])
async def test_who_leaves_takes_no_turn_with_it(given: bool) -> None:
    line = Line(1)
    await line.ask(A, B, B, C)
    if given:
        line.queue.release()
    line.tasks[1].cancel()
    await let_run()
    if not given:
        await line.end()
    assert line.served[:2] == [A, C] if given else [A, B]
    while line.queue.running:
        await line.end()
    assert (line.queue.running, line.queue.waiting) == (0, 0)


async def test_an_engine_without_a_bound_has_no_queue() -> None:
    line = Line(0)
    await line.ask(*[A] * 50)
    assert len(line.served) == 50
    for _ in range(50):
        await line.end()
    assert line.queue.running == 0

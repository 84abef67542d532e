from __future__ import annotations

import asyncio
import threading

import pytest

from sealmesh.backend.bridge import BUFFER_MAX, Bridge
from sealmesh.errors import BackendError

FAILED = BackendError(500, "engine_error", "failed")


class CountingLoop:
    """Passes wake-ups on to the loop and counts them."""

    def __init__(self) -> None:
        self.wakes = 0
        self._loop = asyncio.get_running_loop()

    def call_soon_threadsafe(self, call: object) -> None:
        self.wakes += 1
        self._loop.call_soon_threadsafe(call)  # type: ignore[arg-type]


async def in_thread(work: object) -> None:
    await asyncio.to_thread(work)  # type: ignore[arg-type]


async def test_what_is_ready_is_taken_at_once_for_one_wake_up() -> None:
    loop = CountingLoop()
    bridge = Bridge(loop)  # type: ignore[arg-type]

    def work() -> None:
        for number in range(100):
            bridge.put(b"%03d," % number)
        bridge.finish()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    data = await bridge.take(1000)
    assert data == b"".join(b"%03d," % number for number in range(100))
    assert loop.wakes == 1
    assert await bridge.take(1000) == b""


async def test_no_more_is_taken_than_asked_for() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    bridge.put(b"abcdef")
    bridge.put(b"ghi")
    bridge.finish()
    assert [await bridge.take(4), await bridge.take(4), await bridge.take(4), await bridge.take(4)] == [
        b"abcd",
        b"efgh",
        b"i",
        b"",
    ]


async def test_a_thread_that_is_ahead_waits_for_the_reader() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    part = b"x" * (BUFFER_MAX // 4)
    done = threading.Event()

    def work() -> None:
        for _ in range(8):
            bridge.put(part)
        bridge.finish()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not done.wait(0.1)  # all that fits is in, the rest waits
    assert bridge._size <= BUFFER_MAX + len(part)
    total = 0
    while data := await bridge.take(BUFFER_MAX):
        total += len(data)
    thread.join()
    assert total == 8 * len(part)


async def test_stopping_lets_a_waiting_thread_go() -> None:
    bridge = Bridge(asyncio.get_running_loop())

    def work() -> None:
        while not bridge.stopped:
            bridge.put(b"x" * BUFFER_MAX)

    thread = threading.Thread(target=work)
    thread.start()
    await bridge.opened()
    bridge.stop()
    thread.join(5)
    assert not thread.is_alive()
    with pytest.raises(BackendError, match="stopped"):
        await bridge.take(10)


async def test_what_came_before_a_failure_is_read_first() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    bridge.put(b"before")
    bridge.fail(FAILED)
    await bridge.opened()
    assert await bridge.take(100) == b"before"
    with pytest.raises(BackendError, match="failed"):
        await bridge.take(100)


async def test_a_failure_before_the_answer_reaches_who_waits_for_it() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    waiting = asyncio.create_task(bridge.opened())
    await in_thread(lambda: bridge.fail(FAILED))
    with pytest.raises(BackendError, match="failed"):
        await waiting


async def test_a_finished_answer_cannot_fail_any_more() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    bridge.put(b"all")
    bridge.finish()
    bridge.fail(FAILED)
    assert await bridge.take(100) == b"all"
    assert await bridge.take(100) == b""


def test_a_closed_loop_stops_the_thread() -> None:
    loop = asyncio.new_event_loop()
    bridge = Bridge(loop)
    loop.close()
    bridge.put(b"x")
    assert bridge.stopped


async def test_nothing_follows_a_failure() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    bridge.fail(FAILED)
    bridge.put(b"more")
    with pytest.raises(BackendError, match="failed"):
        await bridge.take(100)

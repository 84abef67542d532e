from __future__ import annotations

import asyncio

import pytest

from sealmesh.backend.slots import SlotPool, may_reuse
from sealmesh.errors import BackendError

A, B = b"a" * 32, b"b" * 32


def test_state_serves_only_the_key_it_was_made_for() -> None:
    assert may_reuse(A, A)
    assert not may_reuse(A, B)
    assert not may_reuse(b"", b"")
    assert not may_reuse(b"", A)


async def test_a_conversation_comes_back_to_its_slot() -> None:
    pool = SlotPool(2, waiting_max=1)
    first = await pool.acquire(A)
    pool.release(first.index)
    other = await pool.acquire(B)
    again = await pool.acquire(A)
    assert not first.reuse
    assert not other.reuse
    assert other.index != first.index
    assert (again.index, again.reuse) == (first.index, True)


async def test_another_asker_in_the_same_slot_ends_the_reuse() -> None:
    pool = SlotPool(1, waiting_max=1)
    for key, reuse in ((A, False), (A, True), (B, False), (A, False), (b"", False), (b"", False), (A, False)):
        lease = await pool.acquire(key)
        assert lease.reuse is reuse
        pool.release(lease.index)


async def test_the_slot_left_longest_ago_is_given_away() -> None:
    pool = SlotPool(2, waiting_max=1)
    for key in (A, B, A):
        pool.release((await pool.acquire(key)).index)
    lease = await pool.acquire(b"c" * 32)
    assert lease.index == 1
    assert (await pool.acquire(A)).reuse


async def test_more_than_may_wait_are_refused_as_busy() -> None:
    pool = SlotPool(1, waiting_max=1)
    lease = await pool.acquire(A)
    waiting = asyncio.create_task(pool.acquire(B))
    await asyncio.sleep(0)
    with pytest.raises(BackendError) as refused:
        await asyncio.wait_for(pool.acquire(B), 1)
    assert (refused.value.code, refused.value.retry_after_s) == ("backend_busy", 1)
    pool.release(lease.index)
    assert (await waiting).index == lease.index


async def test_one_who_leaves_while_waiting_passes_the_turn_on() -> None:
    pool = SlotPool(1, waiting_max=3)
    lease = await pool.acquire(A)
    leaving, early, staying = (asyncio.create_task(pool.acquire(B)) for _ in range(3))
    await asyncio.sleep(0)
    early.cancel()
    pool.release(lease.index)  # gives the turn to `leaving`, which leaves before it can take it
    leaving.cancel()
    got = await asyncio.wait_for(staying, 1)
    assert got.index == 0
    assert not pool.idle
    pool.release(0)
    assert pool.idle


def test_a_cache_key_is_not_shown() -> None:
    pool = SlotPool(1, waiting_max=1)
    pool._take(A)
    assert "owner" not in repr(pool._states[0])

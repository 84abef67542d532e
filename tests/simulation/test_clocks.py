"""Clocks that are wrong, jump or sleep, and hosts that start again: a real host, a real verifier, virtual clocks each.

Whatever the clocks do, what is sealed opens, or nothing is sealed and the reason is said.
"""

from __future__ import annotations

import pytest

from kit.gossip import Net
from kit.proven import World
from kit.virtual_time import START, VirtualTime
from sealmesh.client.verify import HostVerifier
from sealmesh.sealed.suites import HostKey


def apart(seconds: float = 0.0) -> World:
    """A world where the asker's wall clock is so many seconds ahead of the host's."""
    return World(asker_time=VirtualTime(START + seconds))


def asleep(time: VirtualTime, seconds: float) -> None:
    """Time passes, and nothing runs: what was due is late. Both clocks count it."""
    time.wall += seconds
    time.counted += seconds


def held_keys(world: World) -> list[HostKey]:
    return [key for epoch in world.host.ring.epochs for key in epoch.keys]


def reasons(verifier: HostVerifier, world: World) -> str:
    return " ".join(verifier.refusals(world.host.key.public))


@pytest.mark.parametrize("skew", [-600, 600, -70, 70])
async def test_a_peer_whose_clock_is_off_is_refused_and_taken_once_it_is_mended(skew: int) -> None:
    world = apart(skew)
    async with world.running():
        for _ in range(8):
            await world.advance(50)
            assert world.verified() is None or world.sealed()  # never sealed in vain
        if abs(skew) == 600:
            assert world.verified() is None
            assert reasons(world.verifier, world)
        world.here.set_wall(world.time.now())
        await world.advance(65)  # pauses between tries have grown meanwhile
        assert world.sealed()


@pytest.mark.parametrize("skew", [-55, 55])
async def test_a_peer_whose_clock_is_less_than_a_minute_off_is_served_at_every_moment(skew: int) -> None:
    world = apart(skew)
    async with world.running():
        await world.advance(5)
        for _ in range(60):
            assert world.sealed(), world.time.elapsed()
            await world.advance(15)


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_a_member_whose_clock_is_ten_minutes_off_harms_no_table(skew: float) -> None:
    net = Net()
    nodes = [net.add() for _ in range(4)]
    off = net.add(publish=False)
    for left, right in zip(nodes, [*nodes[1:], off], strict=True):
        net.link(left, right)
    net.run(700)  # everybody's grant counts by the other clock too
    now, net.now = net.now, net.now + skew
    net.publish(off)
    net.now = now
    net.run(30)
    # Ahead: ignored, and nobody is blamed. Behind: its record lives on as long as it says.
    assert [net.sees(node, off) is None for node in nodes] == [skew > 0] * 4
    assert all(net.sees(node, other) is not None for node in nodes for other in nodes)
    assert net.misbehaved == []
    net.run(abs(skew))
    net.publish(off)  # its clock is mended
    net.run(30)
    assert all(net.sees(node, off) is not None for node in nodes)
    assert net.misbehaved == []


@pytest.mark.parametrize("step", [-3600.0, -6.0, 6.0, 3600.0])
async def test_a_host_whose_clock_jumps_wipes_its_keys_and_makes_others(step: float) -> None:
    world = apart()
    async with world.running():
        assert world.sealed()
        old = held_keys(world)
        world.time.set_wall(world.time.wall + step)
        await world.time.advance(1)
        assert all(key.wiped for key in old)
        assert not world.opens()
        world.time.set_wall(world.time.wall - step)  # somebody mends it
        await world.advance(2)
        assert await world.refresh() is not None
        assert world.sealed()


@pytest.mark.parametrize("step", [-3600.0, -6.0, 6.0, 3600.0])
async def test_an_asker_whose_clock_jumps_drops_its_verdicts(step: float) -> None:
    world = apart()
    async with world.running():
        before = world.verified()
        assert before is not None
        asked = world.asked
        world.here.set_wall(world.here.wall + step)
        await world.advance(2)
        assert world.asked > asked  # it asked anew, with another nonce
        world.here.set_wall(world.time.now())
        await world.advance(65)
        after = world.verified()
        assert after is not None
        assert after.verified_at > before.verified_at
        assert world.sealed()


async def test_a_host_that_slept_wipes_what_ended_and_is_found_by_one_refresh() -> None:
    world = apart()
    async with world.running():
        await world.advance(200)  # the next epoch is announced and held
        old = held_keys(world)
        assert len(old) == 4
        asleep(world.time, 3600)
        asleep(world.here, 3600)
        await world.time.advance(1)
        assert all(key.wiped for key in old)
        assert world.verified() is None  # its verdict has ended as well: nothing is sealed to a key of an hour ago
        await world.advance(65)
        assert world.sealed()


async def test_an_asker_that_slept_seals_to_nothing_old() -> None:
    world = apart()
    async with world.running():
        await world.advance(20)
        asleep(world.here, 1200)
        assert world.verified() is None  # before a single task of it has run
        await world.time.advance(1200)
        await world.advance(20)
        assert world.sealed()


async def test_a_short_sleep_changes_nothing() -> None:
    world = apart()
    async with world.running():
        await world.advance(20)
        before = world.verified()
        asleep(world.here, 30)
        await world.time.advance(30)
        assert world.verified() is before
        assert world.sealed()


async def test_a_key_announced_ahead_is_verified_ahead_and_needs_nobody_at_its_beginning() -> None:
    world = apart()
    async with world.running():
        await world.advance(260)
        assert world.sealed()
        before = world.verified()
        world.reachable = False  # from 40 s before the epoch ends nothing can be asked
        asked = world.asked
        await world.advance(37)  # with the two at the start: one second before
        assert world.sealed()
        assert world.verified() is not None
        await world.advance(4)
        after = world.verified()
        assert before is not None
        assert after is not None
        assert after.epoch == before.epoch + 1
        assert world.sealed()
        assert world.asked == asked


async def test_a_host_that_starts_again_within_its_epoch_opens_nothing_of_before_and_is_found() -> None:
    world = apart()
    async with world.running():
        for _ in range(3):
            before = world.verified()
            assert before is not None
            old = held_keys(world)
            await world.restart_host()
            assert all(key.wiped for key in old)
            assert not world.opens()
            after = await world.refresh()
            assert after is not None
            assert after.epoch_digest != before.epoch_digest
            assert world.sealed()
            await world.advance(10)

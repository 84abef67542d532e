"""A real host side and a real verifier over a network in memory, on a virtual clock: sealing works at every moment."""

from __future__ import annotations

from kit.proven import World


async def test_requests_open_at_every_moment_over_many_rotations() -> None:
    world = World()
    epochs = set()
    async with world.running():
        for _ in range(180):
            assert world.sealed(), world.time.elapsed()
            verified = world.verified()
            assert verified is not None
            epochs.add(verified.epoch)
            await world.time.advance(10)
    assert epochs == set(range(1, 7))


async def test_a_client_whose_clock_is_a_minute_off_is_served() -> None:
    world = World()
    async with world.running():
        for _ in range(30):
            await world.time.advance(20)
            for skew in (-55.0, 55.0):
                verified = world.verifier.verified(world.host.key.public, world.time.now() + skew)
                assert verified is not None, (world.time.elapsed(), skew)
                assert world.host.opens(verified, world.verifier, skew=skew)


async def test_a_restarted_host_is_found_by_one_refresh() -> None:
    world = World()
    async with world.running():
        assert world.sealed()
        await world.restart_host()
        assert not world.opens()
        assert await world.refresh() is not None
        assert world.sealed()


async def test_a_host_whose_clock_was_set_is_found_by_one_refresh() -> None:
    world = World()
    async with world.running():
        assert world.sealed()
        before = world.verified()
        world.time.set_wall(world.time.wall + 30)
        await world.time.advance(5)
        assert world.sealed()
        after = world.verified()
        assert before is not None
        assert after is not None
        assert after.epoch_digest != before.epoch_digest

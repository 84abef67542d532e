"""Epochs on a virtual clock: made ahead, announced ahead, rotated, wiped; and what a clock that is set does."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

import pytest

from kit.attested import make_random
from kit.virtual_time import START, VirtualTime, settle
from sealmesh.attestation.statement import EpochStatement
from sealmesh.host.epochs import EpochContent, EpochKeeper
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import HostKey, Suite

ENDPOINT = hashlib.sha256(b"host").digest()
DIGEST = hashlib.sha256(b"host statement").digest()


@dataclass
class World:
    time: VirtualTime = field(default_factory=VirtualTime)
    ring: KeyRing = field(default_factory=KeyRing)
    published: list[EpochContent] = field(default_factory=list)
    made: list[HostKey] = field(default_factory=list)
    lifetime: float = 300.0
    keeper: EpochKeeper = field(init=False)

    def __post_init__(self) -> None:
        random = make_random()

        def make(suite: Suite) -> HostKey:
            # Suite 2's key is made inside the library; one for suite 1 from seeded bytes is as real.
            self.made.append(HostKey.generate(suite, random))
            return self.made[-1]

        self.keeper = EpochKeeper(
            endpoint_id=ENDPOINT,
            keyring=self.ring,
            random=random,
            host_statement_digest=lambda: DIGEST,
            publish=self.published.append,
            now=self.time.now,
            elapsed=self.time.elapsed,
            sleep=self.time.sleep,
            make_key=make,
            lifetime_s=self.lifetime,
        )

    def at(self, second: float) -> float:
        """Move to a second after the start and do what is due."""
        self.time.wall, self.time.counted = START + second, second
        return self.keeper.advance()

    def statements(self) -> list[EpochStatement]:
        """The last that was published, verified."""
        return [
            EpochStatement.verify_untrusted(signed, statement_key=self.keeper.statement_key, endpoint_id=ENDPOINT)
            for signed in self.published[-1].statements
        ]

    def opens(self, statement: EpochStatement) -> bool:
        """Whether the ring opens with every key of a statement now."""
        from sealmesh.sealed.suites import key_id

        return all(
            self.ring.find(key_id(Suite(suite), key), suite, self.time.now()) is not None
            for suite, key in statement.keys.items()
        )


def test_the_first_epoch_begins_at_once() -> None:
    world = World()
    due = world.at(0)
    (statement,) = world.statements()
    assert (statement.epoch, statement.not_before, statement.not_after) == (1, START, START + 300)
    assert statement.host_statement_digest == DIGEST
    assert sorted(statement.keys) == [1, 2]
    assert world.published[-1].inference_public_key == statement.keys[1]
    assert world.opens(statement)
    assert due == 120


def test_the_next_epoch_is_announced_180_s_ahead() -> None:
    world = World()
    world.at(0)
    world.at(119.9)
    assert len(world.published) == 1
    due = world.at(120)
    current, following = world.statements()
    assert (following.epoch, following.not_before) == (2, current.not_after)
    assert world.published[-1].inference_public_key == current.keys[1]
    assert due == 180


def test_an_epoch_statement_never_changes_within_its_epoch() -> None:
    world = World()
    for second in (0, 120, 300, 420):
        world.at(second)
    statements = [signed for content in world.published for signed in content.statements]
    by_epoch: dict[int, set[bytes]] = {}
    for signed in statements:
        by_epoch.setdefault(EpochStatement.parse_untrusted(signed.part).epoch, set()).add(signed.part)
    assert {epoch: len(parts) for epoch, parts in by_epoch.items()} == {1: 1, 2: 1, 3: 1}


def test_rotation_takes_the_announced_keys() -> None:
    world = World()
    world.at(0)
    world.at(120)
    _, announced = world.statements()
    due = world.at(300)
    assert world.statements() == [announced]
    assert due == 60  # the previous keys end


def test_previous_keys_open_60_s_more_and_are_wiped() -> None:
    world = World()
    world.at(0)
    (first,) = world.statements()
    world.at(120)
    world.at(300)
    keys_of_first = world.made[:2]
    world.at(359.9)
    assert world.opens(first)
    world.at(360)
    assert not world.opens(first)
    assert all(key.wiped for key in keys_of_first)
    assert len(world.ring.epochs) == 1


def test_no_more_than_three_epochs_are_ever_held() -> None:
    world = World()
    second, held = 0.0, 0
    while second < 2000:
        second += world.at(second)
        held = max(held, len(world.ring.epochs))
    assert held == 2  # current and next, or previous and current: the next is made after the previous is wiped
    assert len(world.made) == 2 * world.statements()[-1].epoch


def test_a_long_sleep_ends_every_old_key() -> None:
    world = World()
    world.at(0)
    world.at(120)
    old = list(world.made)
    world.at(8 * 3600)
    (statement,) = world.statements()
    assert (statement.epoch, statement.not_before) == (3, START + 8 * 3600)
    assert all(key.wiped for key in old)


def test_a_sleep_into_the_announced_epoch_takes_it() -> None:
    world = World()
    world.at(0)
    world.at(120)
    _, announced = world.statements()
    world.at(350)
    assert world.statements() == [announced]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 5.0, -5.0])
def test_a_clock_that_is_set_ends_every_key_at_once(step: float) -> None:
    world = World()
    world.at(0)
    world.at(120)
    old = list(world.made)
    world.time.set_wall(START + 121 + step)
    world.time.counted = 121
    world.keeper.advance()
    (statement,) = world.statements()
    assert statement.not_before == START + 121 + step
    assert all(key.wiped for key in old)
    assert world.opens(statement)


def test_short_epochs_keep_the_proportions() -> None:
    world = World(lifetime=10.0)
    assert world.at(0) == pytest.approx(4)
    world.at(4)
    current, following = world.statements()
    assert (current.not_after, following.not_after) == (START + 10, START + 20)


def test_each_process_has_a_statement_key_of_its_own() -> None:
    assert World().keeper.statement_key == World().keeper.statement_key  # the same random bytes
    world = World()
    other = EpochKeeper(
        endpoint_id=ENDPOINT,
        keyring=KeyRing(),
        random=make_random(b"another process"),
        host_statement_digest=lambda: DIGEST,
        publish=lambda _: None,
        now=world.time.now,
        elapsed=world.time.elapsed,
        sleep=world.time.sleep,
    )
    assert other.statement_key != world.keeper.statement_key


async def test_the_loop_rotates_by_itself_and_wipes_at_the_end() -> None:
    world = World()
    task = asyncio.create_task(world.keeper.run())
    await settle()
    assert len(world.statements()) == 1
    await world.time.advance(120)
    assert len(world.statements()) == 2
    await world.time.advance(180)
    (statement,) = world.statements()
    assert statement.epoch == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(key.wiped for key in world.made)
    assert world.ring.epochs == ()


async def test_the_loop_notices_a_clock_that_is_set_within_a_second() -> None:
    world = World()
    task = asyncio.create_task(world.keeper.run())
    await world.time.advance(10)
    world.time.set_wall(START)
    await world.time.advance(1)
    (statement,) = world.statements()
    assert statement.epoch == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

"""What goes wrong in judging costs a host its prompts, never a prompt its seal: nothing is taken on doubt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from kit.chips import REQUIRING, ChipAttester
from kit.proven import World
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.verifier import Verifier
from sealmesh.client.judging import JudgeThreads
from sealmesh.config import Settings
from sealmesh.errors import ConfigError
from sealmesh.identity.keys import EndpointKey
from sealmesh.node.run import load_policy

KEY = EndpointKey.from_seed(b"endpoint".ljust(32))
_Result = TypeVar("_Result")


def chip_world(**memories: object) -> World:
    time = VirtualTime()
    return World(time=time, policy=REQUIRING, attester=ChipAttester(KEY, time), memories=memories)


async def test_no_evidence_no_host() -> None:
    world = chip_world()
    world.reachable = False
    async with world.running():
        await world.advance(60)
        assert world.verified() is None
        assert world.verifier.waiting(KEY.public)


@pytest.mark.parametrize(
    "content", [None, b"minimum = ", b'minimun = "confidential"', b"[tpm]\nextra_roots = []", b"\xff"]
)
def test_a_policy_that_cannot_be_read_or_understood_starts_no_node(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_bytes(content)
    settings = Settings(mode="client", home=tmp_path, policy=path)  # type: ignore[arg-type, call-arg]
    with pytest.raises(ConfigError, match="policy"):
        load_policy(settings)


async def test_a_clock_that_is_set_ends_every_verdict_at_once() -> None:
    world = chip_world()
    async with world.running():
        assert world.verified() is not None
        assert isinstance(world.attester, ChipAttester)
        world.attester.gone = True
        world.time.set_wall(world.time.wall + 10)
        await world.advance(2)
        assert world.verified() is None
        assert world.verifier.refusals(KEY.public) == ("a clock was set; hosts must answer again",)


async def test_a_verifier_that_errs() -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    time = VirtualTime()
    verifier = Verifier(policy=REQUIRING, find_pin=broken)  # type: ignore[arg-type]
    world = World(time=time, policy=REQUIRING, attester=ChipAttester(KEY, time), memories={"verifier": verifier})
    async with world.running():
        assert world.verified() is None
        assert world.verifier.refusals(KEY.public) == ("this node failed in judging it",)
        assert not world.verifier.waiting(KEY.public)


async def test_a_verifier_that_is_slow() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    slow = False

    async def run(judge: Callable[[], _Result]) -> _Result:
        if slow:
            await never
        return judge()

    world = chip_world(run_judgement=run)
    async with world.running():
        assert world.verified() is not None
        slow = True
        world.verifier.reconsider(KEY.public, "test")
        await world.advance(30)
        assert world.verified() is None
        assert world.verifier.refusals(KEY.public) == ("this node was too slow in judging it",)
        slow = False
        await world.advance(120)
        assert world.verified() is not None


async def test_evidence_that_turns_bad_stops_new_requests_at_once() -> None:
    world = chip_world()
    async with world.running():
        assert world.verified() is not None
        assert isinstance(world.attester, ChipAttester)
        world.attester.log += b"\x00"  # a boot log that gives the registers no more
        await world.verifier.refresh(KEY.public)
        await world.advance(301)  # its next standing statement
        await world.verifier.refresh(KEY.public)
        assert world.verified() is None
        assert world.verifier.refusals(KEY.public)[0].startswith("it was refused: ")


async def test_verdicts_are_worked_out_in_threads_of_their_own_and_the_loop_goes_on() -> None:
    threads = JudgeThreads()
    begun, end = threading.Event(), threading.Event()

    def judge() -> str:
        begun.set()
        end.wait(10)
        return threading.current_thread().name

    judging = asyncio.create_task(threads.run(judge))
    while not begun.is_set():
        await asyncio.sleep(0)
    await settle()  # the loop runs while the judge is at work
    assert not judging.done()
    end.set()
    assert (await judging).startswith("sealmesh-judge")
    threads.close()

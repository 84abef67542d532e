"""A thousand of every fault at every point: one answer each, with the right code, and nothing that stays.

What is counted before and after: tasks, streams, file descriptors, objects of this program, blocks of memory.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pairs.test_fault_matrix import POINTS, ask, backend, cut_at, whole
from tests.unit.api.world import Response, serving

from kit.exchanges import World, chat
from sealmesh.api.errors import public_error
from sealmesh.client.dial import Timeouts
from sealmesh.host.sender import HostTimes
from sealmesh.transport.memory import FaultKind

TIMES = 1000
#: At once. A dropped connection takes everything on it along, so there one follows the other.
WIDTH = {FaultKind.END: 50, FaultKind.RESET: 50, FaultKind.DROP: 1, FaultKind.STALL: 100}
NAMED = ("before head", "between head and body", "mid-stream", "before FINAL")
#: Of one exchange may stay: its replay tag, for as long as its epoch lasts. What is forgotten costs dozens.
BLOCKS_EACH = 4

cases = [
    pytest.param(kind, point, stream, id=f"{kind.value}-{point}-{'stream' if stream else 'plain'}")
    for kind in FaultKind
    for point in NAMED
    for stream in (True, False)
]
every = pytest.mark.parametrize(("kind", "point", "stream"), cases)


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """The test runner keeps every record that is logged, which would be counted as memory."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def of_this_program() -> Counter[str]:
    """How many objects of each of our classes are alive."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("sealmesh"))


def open_descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@every
async def test_a_thousand_of_it_leave_nothing_behind(kind: FaultKind, point: str, stream: bool) -> None:
    after = await cut_at(point, stream)
    timeouts = Timeouts(silence=0.06 if kind is FaultKind.STALL else 60)
    async with World.running(timeouts=timeouts) as world:
        host = world.add(backend=backend(stream), times=HostTimes(silence=0.05))

        async def break_one() -> None:
            head, data, errors = await ask(world, chat(stream=stream))
            assert [(public_error(error).status, public_error(error).code) for error in errors] == [(502, "host_lost")]
            assert whole(stream).startswith(data)
            assert not (head and point == "before head")

        async def some(count: int) -> None:
            for _ in range(count // WIDTH[kind]):
                for _ in range(WIDTH[kind]):
                    world.break_answer(host, kind, after)
                await asyncio.gather(*(break_one() for _ in range(WIDTH[kind])))
                await world.settle()
            host.streams.clear()  # the kit's own, as are these
            host.backend.answers.clear()
            host.backend.asked.clear()
            world.opened.clear()

        await some(WIDTH[kind])  # what is made once is made now
        objects, blocks = of_this_program(), sys.getallocatedblocks()
        tasks, descriptors = len(asyncio.all_tasks()), open_descriptors()
        await some(TIMES)
        left = of_this_program() - objects
        assert sys.getallocatedblocks() - blocks < BLOCKS_EACH * TIMES
        assert sum(left.values()) < 5, left
        assert len(asyncio.all_tasks()) <= tasks + 2  # a new connection has its own
        assert open_descriptors() == descriptors
        status = world.counters.status()
        assert (status.open, status.done) == (0, 0)
        assert sum(status.failed_by_reason.values()) == TIMES + WIDTH[kind]
        assert (await ask(world, chat(stream=stream)))[1:] == (whole(stream), [])  # and it still works


def events(response: Response) -> Iterator[str]:
    for line in response.body.decode().splitlines():
        if line.startswith("data: "):
            yield line[6:]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", FaultKind)
async def test_an_app_sees_one_answer_with_the_code(kind: FaultKind, point: str, stream: bool) -> None:
    after = await cut_at(point, stream)
    async with (
        World.running(timeouts=Timeouts(silence=0.06)) as world,
        serving(asker=world.dialer) as api,
    ):
        host = world.add(backend=backend(stream), times=HostTimes(silence=0.05))
        world.break_answer(host, kind, after)
        broken = await api.raw(api.post(chat(stream=stream).body))
        if broken.status == 200:
            assert stream
            *passed, last = events(broken)
            assert [f"data: {each}\n\n".encode() for each in passed] == [
                event.strip() + b"\n\n" for event in whole(True).split(b"\n\n")[: len(passed)]
            ]
            assert json.loads(last)["error"]["code"] == "host_lost"
        else:
            assert (broken.status, broken.code) == (502, "host_lost")
            assert broken.headers["x-should-retry"] == "false"
        again = await api.raw(api.post(chat(stream=stream).body))
        assert (again.status, again.body) == (200, whole(stream))

"""Staying joined: refusals are told, and end the node that nobody has ever taken in."""

from __future__ import annotations

import asyncio

import pytest

from kit.virtual_time import VirtualTime, settle
from sealmesh.errors import NotAdmittedError, TransportTimeoutError
from sealmesh.node.joining import PAUSE_MAX_S, TOGETHER, Joiner
from sealmesh.transport.base import EndpointAddress

INVITER = EndpointAddress(endpoint_id=bytes([7]) * 32, addresses=("10.0.0.7:4444",))
OTHER = EndpointAddress(endpoint_id=bytes([8]) * 32, addresses=("10.0.0.8:4444",))


class World:
    """Members that refuse, are away, or take this node in."""

    def __init__(self, *members: EndpointAddress) -> None:
        self.time = VirtualTime()
        self.answers: dict[bytes, Exception | None] = {}
        self.linked = False
        self.events: list[dict[str, object]] = []
        self.tries = 0
        self.joiner = Joiner(
            connect=self._connect,
            connected=lambda: self.linked,
            members=lambda: members,
            emit=self.events.append,
            sleep=self.time.sleep,
        )
        self.task = asyncio.ensure_future(self.joiner.run())

    async def _connect(self, address: EndpointAddress) -> None:
        self.tries += 1
        answer = self.answers.get(address.endpoint_id)
        if answer is not None:
            raise answer
        self.linked = True

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    def told(self, event: str) -> list[str]:
        return [str(each["message"]) for each in self.events if each["event"] == event]


async def test_a_node_that_everybody_refuses_ends_with_the_reason() -> None:
    world = World(INVITER)
    world.answers[INVITER.endpoint_id] = NotAdmittedError("wrong_mesh")
    await world.time.advance(1)
    with pytest.raises(NotAdmittedError, match="wrong_mesh"):
        await world.task
    assert ["wrong_mesh" in words for words in world.told("refused")] == [True]


async def test_one_refusal_is_not_everybodys() -> None:
    world = World(INVITER, OTHER)
    world.answers[INVITER.endpoint_id] = NotAdmittedError("revoked")
    world.answers[OTHER.endpoint_id] = TransportTimeoutError("nobody there")
    await world.time.advance(60)
    assert not world.task.done()
    assert len(world.told("refused")) == 1, "told once, however often it is tried"
    world.answers[OTHER.endpoint_id] = None
    await world.time.advance(PAUSE_MAX_S)
    assert world.linked
    await world.end()


async def test_a_refusal_that_passes_is_waited_for() -> None:
    world = World(INVITER)
    world.answers[INVITER.endpoint_id] = NotAdmittedError("misbehaved")
    await world.time.advance(60)
    assert not world.task.done()
    await world.end()


async def test_a_node_that_was_in_goes_on_when_it_is_refused_later() -> None:
    world = World(INVITER)
    await world.time.advance(1)
    world.answers[INVITER.endpoint_id] = NotAdmittedError("revoked")
    world.linked = False
    await world.time.advance(60)
    assert not world.task.done()
    assert len(world.told("refused")) == 1
    await world.end()


async def test_waiting_names_who_does_not_answer_and_joining_ends_it() -> None:
    world = World(INVITER)
    world.answers[INVITER.endpoint_id] = TransportTimeoutError("nobody there")
    await world.time.advance(10)
    world.joiner.say_waiting()
    assert "10.0.0.7:4444" in world.told("waiting")[0]
    assert not world.told("joined")
    world.answers.clear()
    await world.time.advance(PAUSE_MAX_S)
    assert len(world.told("joined")) == 1
    await world.end()


async def test_pauses_grow_to_a_bound() -> None:
    world = World(INVITER)
    world.answers[INVITER.endpoint_id] = TransportTimeoutError("nobody there")
    await world.time.advance(100)
    soon = world.tries
    await world.time.advance(10 * PAUSE_MAX_S)
    assert soon + 9 <= world.tries <= soon + 11
    await world.end()


async def test_members_that_are_gone_are_not_waited_for_one_by_one() -> None:
    """Whoever was known long ago may be gone, and each call of one takes its time-out."""
    gone = [EndpointAddress(endpoint_id=bytes([number]) * 32) for number in range(100, 100 + TOGETHER - 1)]
    world = World(*gone, INVITER)
    waiting = asyncio.Event()
    begun: list[bytes] = []

    async def connect(address: EndpointAddress) -> None:
        begun.append(address.endpoint_id)
        if address == INVITER:
            world.linked = True
        else:
            await waiting.wait()

    world.joiner = Joiner(
        connect=connect,
        connected=lambda: world.linked,
        members=lambda: [*gone, INVITER, OTHER],
        emit=world.events.append,
        sleep=world.time.sleep,
    )
    await world.end()
    world.linked = False
    world.task = asyncio.ensure_future(world.joiner.run())
    await settle()
    assert begun == [address.endpoint_id for address in [*gone, INVITER]]
    assert world.linked
    waiting.set()
    await world.end()

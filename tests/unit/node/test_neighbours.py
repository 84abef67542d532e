"""Real links between nodes in memory, kept by the rule."""

from __future__ import annotations

import asyncio

from kit.mesh import Mesh, until
from kit.people import People, Randomness
from kit.virtual_time import VirtualTime, settle
from sealmesh.gossip.overlay import Neighbours
from sealmesh.node.neighbours import NeighbourKeeper
from sealmesh.transport.base import EndpointAddress


async def test_links_are_made_with_members_that_nobody_asked_for_and_made_again() -> None:
    time = VirtualTime()
    async with Mesh.running(People()) as mesh:
        a = await mesh.add(sleep=time.sleep)
        others = [await mesh.add() for _ in range(3)]
        members: list[EndpointAddress] = [other.endpoint.address() for other in others]
        keeper = NeighbourKeeper(
            links=a.links,
            neighbours=Neighbours(Randomness()),
            members=lambda: members,
            random=Randomness(),
            sleep=time.sleep,
        )
        running = asyncio.create_task(keeper.run())
        await settle()
        assert a.links.count == 0
        await time.advance(15)
        await until(lambda: a.links.count == 3)
        mesh.network.drop(a.id, others[0].id)
        await settle()
        await time.advance(1)
        await until(lambda: a.links.count == 3)
        # Who has left is not dialled again.
        del members[0]
        await time.advance(15)
        mesh.network.drop(a.id, others[0].id)
        await settle()
        await time.advance(60)
        assert a.links.get(others[0].id) is None
        await a.links.close()
        running.cancel()
        await asyncio.wait({running})

"""Keeps this node linked with a few random members, so that the mesh needs no centre [RE-29]."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

from sealmesh.errors import TransportError
from sealmesh.gossip.overlay import Neighbours
from sealmesh.identity.keys import Random
from sealmesh.limits import GOSSIP_INTERVAL_S
from sealmesh.mesh.links import Links
from sealmesh.transport.base import EndpointAddress

_JITTER_STEPS = 256


class NeighbourKeeper:
    """Lets `links` keep the members that the rule names.

    Args:
        links: Dial, and dial again with growing pauses.
        neighbours: The rule.
        members: Every other member that says where it can be reached.
        random: Source of random bytes, for the pauses.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        *,
        links: Links,
        neighbours: Neighbours,
        members: Callable[[], Sequence[EndpointAddress]],
        random: Random = secrets.token_bytes,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._links = links
        self._neighbours = neighbours
        self._members = members
        self._random = random
        self._sleep = sleep

    async def run(self) -> None:
        """Look again each round, never all nodes at one moment, until cancelled [RE-29]."""
        while True:
            await self._sleep(GOSSIP_INTERVAL_S * (0.5 + self._random(1)[0] / _JITTER_STEPS))
            try:
                self.step()
            except TransportError:
                return  # this node is leaving

    def step(self) -> None:
        """Look once.

        Raises:
            TransportError: This node makes no links any more.
        """
        known = {address.endpoint_id: address for address in self._members()}
        step = self._neighbours.step([link.peer_id for link in self._links.all()], known)
        for peer in step.forget:
            self._links.forget(peer)
        for peer in self._neighbours.kept:
            self._links.keep(known[peer])  # by the address of its newest record

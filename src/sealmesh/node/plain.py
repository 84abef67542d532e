"""The serving half of a plain node, one without an inference key: for tests and moving meshes (DESIGN.md section 8).

It has no epochs, proofs or keys part, so nothing can be sealed to it; what it serves comes in the clear, from members
that allow it by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sealmesh.backend.base import Backend, ModelInfo
from sealmesh.host.serve import HostCounters, PlainService
from sealmesh.mesh.link import Link, StreamHandler
from sealmesh.node.host import check_asks
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import StreamKind

#: What a plain node says of itself in its record [PL-2].
CAPABILITY: Final = "plain"


class PlainSide:
    """What `HostSide` is to a host that seals.

    Args:
        backend: Started.
        now: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set.
        random: Random bytes.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        now: Callable[[], float],
        elapsed: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self.backend = backend
        self.counters = HostCounters()
        self.posture: dict[str, str] = {}
        self.capabilities: tuple[str, ...] = (CAPABILITY,)
        self.service = PlainService(backend=backend, now=now, monotonic=elapsed, random=random, counters=self.counters)

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """What is served."""
        return self.backend.models()

    def handlers(self) -> dict[StreamKind, StreamHandler]:
        """What serves inbound streams: plain ones, and none that needs a key."""

        async def plain(link: Link, stream: Stream) -> None:
            check_asks(link.roles)
            await self.service.serve(link.peer_id, stream)

        return {StreamKind.PLAIN: plain}

    async def begin(self) -> None:
        """Nothing has to be there before it can serve."""

    async def run(self) -> None:
        """Nothing has to be kept up while it serves; until cancelled."""
        await asyncio.Event().wait()

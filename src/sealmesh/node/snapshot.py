"""The node's status for people and machines, and who is told when it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from sealmesh.status import NodeStatus

#: A status is looked at for changes this often at most: what changes with every request must not become a stream of
#: documents.
SETTLE_S: Final = 0.2
#: And without any sign of a change, this often: ages and round-trip times move by themselves.
LOOK_S: Final = 1.0


class StatusBoard:
    """Where the console and the API read the status (`api.source.StatusSource`).

    Args:
        take: Makes a snapshot.
    """

    def __init__(self, take: Callable[[], NodeStatus]) -> None:
        self._take = take
        self._waiting: set[asyncio.Event] = set()

    def snapshot(self) -> NodeStatus:
        """Return the status now."""
        return self._take()

    def note_change(self) -> None:
        """Something that the status shows may have changed."""
        for waiting in self._waiting:
            waiting.set()

    async def subscribe(self) -> AsyncGenerator[NodeStatus, None]:
        """Yield the status now, and then whenever it differs from what was yielded last."""
        waiting = asyncio.Event()
        self._waiting.add(waiting)
        try:
            shown = self._take()
            yield shown
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiting.wait(), LOOK_S)
                waiting.clear()
                status = self._take()
                if not same(shown, status):
                    shown = status
                    yield shown
                await asyncio.sleep(SETTLE_S)
        finally:
            self._waiting.discard(waiting)


def same(one: NodeStatus, other: NodeStatus) -> bool:
    """Whether two snapshots say the same but for what moves by itself (uptime, ages, round-trip times)."""
    return _still(one) == _still(other)


def _still(status: NodeStatus) -> tuple[object, ...]:
    peers = tuple(
        (
            peer.endpoint_id,
            peer.name,
            peer.role,
            peer.version,
            peer.models,
            peer.tier,
            peer.code_measured,
            peer.operator_blind,
            tuple(sorted(peer.posture.items())),
            peer.connected,
            peer.refused,
            peer.sealed_suites,
            peer.path,
        )
        for peer in status.peers
    )
    exchanges = status.exchanges
    return (
        status.mesh,
        status.roles,
        status.models,
        peers,
        (exchanges.open, exchanges.done, tuple(sorted(exchanges.failed_by_reason.items()))),
        status.tokens,
        status.asked,
        status.served,
        status.policy_minimum,
        tuple((one.endpoint_id, one.times, one.reason) for one in status.cut_off),
    )

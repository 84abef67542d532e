"""`sealmesh trust` on a running node: pins are changed here, and what rests on them is judged anew at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sealmesh.api.errors import refusal
from sealmesh.node.stores import PinEntry, PinStore
from sealmesh.status import PinStatus

_Result = TypeVar("_Result")
_CHANGED = "its pin was changed; it must answer again"


def pin_status(pin: PinEntry) -> PinStatus:
    """A pin for people and programs."""
    return PinStatus(endpoint_id=pin.endpoint_id.hex(), fingerprint=pin.fingerprint.hex(), by=pin.by, at=pin.at)


class PinKeeper:
    """Changes pins of a running node; a `console.pins.PinDesk`.

    Args:
        store: The pins.
        shown: Gives the fingerprint of the hardware key that a host shows now, if it shows one.
        reconsider: Called with an endpoint id and a reason when its pin was changed.
        now: Unix seconds.
    """

    def __init__(
        self,
        store: PinStore,
        *,
        shown: Callable[[bytes], bytes | None],
        reconsider: Callable[[bytes, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._shown = shown
        self._reconsider = reconsider
        self._now = now
        self._changing: set[asyncio.Future[Any]] = set()

    def pins(self) -> tuple[PinStatus, ...]:
        """See `PinDesk.pins`."""
        return tuple(pin_status(pin) for pin in self._store)

    async def add(self, endpoint_id: bytes, fingerprint: bytes | None) -> PinStatus:
        """See `PinDesk.add`."""
        fingerprint = fingerprint or self._shown(endpoint_id)
        if fingerprint is None:
            raise refusal(
                "not_found",
                "This host shows no hardware key that could be pinned: give its fingerprint, or wait until it answers.",
            )
        pin = PinEntry(endpoint_id=endpoint_id, fingerprint=fingerprint, by="hand", at=self._now())
        await self._to_the_end(self._add(pin))
        return pin_status(pin)

    async def remove(self, endpoint_id: bytes) -> bool:
        """See `PinDesk.remove`."""
        return await self._to_the_end(self._remove(endpoint_id))

    async def _add(self, pin: PinEntry) -> None:
        await asyncio.to_thread(self._store.add, pin)  # waits for the disk
        self._reconsider(pin.endpoint_id, _CHANGED)

    async def _remove(self, endpoint_id: bytes) -> bool:
        removed = await asyncio.to_thread(self._store.remove, endpoint_id)
        if removed:
            self._reconsider(endpoint_id, _CHANGED)
        return removed

    async def _to_the_end(self, change: Coroutine[None, None, _Result]) -> _Result:
        """Make a change whole: who asked for it may hang up while the disk is waited for, and the thread goes on."""
        changing = asyncio.ensure_future(change)
        self._changing.add(changing)
        changing.add_done_callback(self._changing.discard)
        return await asyncio.shield(changing)

"""Stays connected to the mesh, and says in words why that is not so: refused, or nobody there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sealmesh.errors import NotAdmittedError, TransportError
from sealmesh.transport.base import EndpointAddress

#: Between two looks whether this node is connected to anybody; doubles while nobody answers.
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 15.0
#: So many are called at once: of those that a node knew long ago, most may be gone, and each waits for its time-out.
TOGETHER: Final = 4
#: A refusal that ends by itself: the member keeps this node off for a while.
PASSING: Final = frozenset({"misbehaved"})
_ADDRESSES_SHOWN_MAX: Final = 3


class Joiner:
    """Connects to members whenever there is no link, a few at once: the inviter first, then whoever is known.

    Args:
        connect: Makes a link; raises TransportError.
        connected: Whether there is a link to anybody.
        members: Whom to try, in order.
        emit: Told of refusals, and of the mesh's first answer after `say_waiting`.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        *,
        connect: Callable[[EndpointAddress], Awaitable[object]],
        connected: Callable[[], bool],
        members: Callable[[], Sequence[EndpointAddress]],
        emit: Callable[[dict[str, object]], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._connected = connected
        self._members = members
        self._emit = emit
        self._sleep = sleep
        self._was_connected = False
        self._waiting = False
        self._told: set[tuple[bytes, str]] = set()

    async def run(self) -> None:
        """Stay joined until cancelled.

        Raises:
            NotAdmittedError: Everybody whom this node knows refuses it, and nobody has taken it in this run: trying
                on would be waiting without an end.
        """
        pause = PAUSE_S
        while True:
            if self._connected() or await self._try_all():
                self._note_connected()
                pause = PAUSE_S
            else:
                pause = min(pause * 2, PAUSE_MAX_S)
            await self._sleep(pause)

    def say_waiting(self) -> None:
        """Tell that the mesh is not usable yet, why as far as that is known, and what happens next."""
        self._waiting = not self._connected()
        message = "no host of the mesh has answered yet; this node goes on trying"
        tried = self._members()
        if self._waiting and tried:
            places = ", ".join(tried[0].addresses[:_ADDRESSES_SHOWN_MAX]) or "no known address"
            message = (
                f"{tried[0].endpoint_id.hex()[:12]} at {places} does not answer: does it run, and does a firewall let "
                "UDP through? This node goes on trying, and answers requests as soon as it can"
            )
        self._emit({"event": "waiting", "level": "warning", "message": message})

    async def _try_all(self) -> bool:
        """Try members in turn, a few at once, until a link stands; return whether one does."""
        members = self._members()
        refusals: list[NotAdmittedError] = []
        for start in range(0, len(members), TOGETHER):
            tried = members[start : start + TOGETHER]
            answers = await asyncio.gather(*(self._try(address) for address in tried))
            refusals += [one for one in answers if isinstance(one, NotAdmittedError) and one.factor not in PASSING]
            if None in answers:
                return True
        if refusals and len(refusals) == len(members) and not self._was_connected:
            raise refusals[0]
        return False

    async def _try(self, address: EndpointAddress) -> TransportError | None:
        """None where a link stands, else why not."""
        try:
            await self._connect(address)
        except NotAdmittedError as error:
            self._tell_refused(address, error)
            return error
        except TransportError as error:
            return error  # not there now
        return None

    def _note_connected(self) -> None:
        self._was_connected = True
        self._told.clear()
        if self._waiting:
            self._waiting = False
            self._emit({"event": "joined", "message": "the mesh has answered: this node is in it now"})

    def _tell_refused(self, address: EndpointAddress, error: NotAdmittedError) -> None:
        key = (address.endpoint_id, error.factor)
        if key not in self._told:
            self._told.add(key)
            peer = address.endpoint_id.hex()[:12]
            self._emit({"event": "refused", "level": "warning", "peer": peer, "message": f"{peer}: {error}"})

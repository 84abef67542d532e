"""What a network in memory is made of: pipes with a window, clocks, and plans for what goes wrong."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from sealmesh.errors import TransportError


class Clock(Protocol):
    """Time for delays, in seconds since any moment."""

    def now(self) -> float:
        """Return the time."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class RealClock:
    """The event loop's own time."""

    def now(self) -> float:
        """See `Clock`."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class FaultKind(enum.Enum):
    """What happens to a direction of a stream once the planned number of bytes has passed."""

    END = "end"  # a clean end: what a forgetful transport makes of a cut
    RESET = "reset"
    DROP = "drop"  # the whole connection goes
    STALL = "stall"  # silence: bytes are swallowed, nothing is reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A plan for one direction of one stream.

    Attributes:
        sender: Endpoint id of the side whose bytes are cut.
        receiver: Endpoint id of the other side.
        then: What happens.
        after: How many bytes still pass, the kind byte included.
        kind: Only a stream whose opener wrote this first byte; None for any.
    """

    sender: bytes
    receiver: bytes
    then: FaultKind
    after: int = 0
    kind: int | None = None


@dataclass(slots=True, kw_only=True)
class Wires:
    """What all pipes of a network share.

    Attributes:
        clock: Time for delays.
        window: How many bytes of one direction of a stream may be on their way.
        delay_s: How long bytes take, in seconds.
    """

    clock: Clock
    window: int
    delay_s: float


class Pipe:
    """One direction of a stream: bytes on their way, at most a window of them."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._chunks: deque[tuple[float, bytes]] = deque()  # (when they arrive, bytes)
        self._held = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.ended = False  # the writer finished
        self.failure: TransportError | None = None
        self.fault: Fault | None = None
        self.stalled = False
        self.passed = 0

    @property
    def over(self) -> bool:
        """Nothing more will be read here."""
        return self.failure is not None or (self.ended and not self.stalled and not self._chunks)

    def fail(self, failure: TransportError, *, discard: bool) -> None:
        """End it badly, unless it has ended already."""
        if discard and not self.over:
            self._chunks.clear()
            self._held = 0
        if not self.over and self.failure is None:
            self.failure = failure
        self.ring()

    def ring(self) -> None:
        """Wake everyone who waits for a change."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self) -> None:
        """Wait for the next `ring`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def put(self, data: bytes) -> int:
        """Take as many of `data` as there is room for, return how many that was."""
        taken = data[: self._wires.window - self._held]
        if taken:
            self._chunks.append((self._wires.clock.now() + self._wires.delay_s, taken))
            self._held += len(taken)
            self.passed += len(taken)
            self.ring()
        return len(taken)

    async def get(self, maximum: int) -> bytes:
        """Return what has arrived, `b""` at the end."""
        while True:
            if self._chunks:
                arrives, data = self._chunks[0]
                early = arrives - self._wires.clock.now()
                if early > 0:
                    await self._wires.clock.sleep(early)
                    continue  # whatever happened meanwhile counts
                self._chunks.popleft()
                if len(data) > maximum:
                    self._chunks.appendleft((arrives, data[maximum:]))
                    data = data[:maximum]
                self._held -= len(data)
                self.ring()
                return data
            if self.failure is not None:
                raise self.failure
            if self.ended and not self.stalled:
                return b""
            await self.changed()

"""From the thread that the engine calls back on to the event loop, coalesced and bounded."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final

from sealmesh import limits
from sealmesh.errors import BackendError

#: Bytes that wait for a slow reader before the engine's thread waits too.
BUFFER_MAX: Final = 8 * limits.BACKEND_CHUNK


class Bridge:
    """One answer's way from a thread to a loop.

    The thread calls `open`, `put`, then `finish` or `fail`; the loop awaits `opened` and `take`. However many events
    the thread puts before the loop comes round, the loop is woken once.

    Args:
        loop: The loop that reads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Condition()
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._open = False
        self._ended = False
        self._error: BackendError | None = None
        self._stopped = False
        self._waking = False
        self._ready = asyncio.Event()

    # --- the engine's thread -------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether nobody reads any more, so that the engine should stop."""
        return self._stopped

    @property
    def begun(self) -> bool:
        """Whether the engine has taken the request, so that its status is known."""
        return self._open

    @property
    def ended(self) -> bool:
        """Whether the answer is whole or has failed."""
        return self._ended

    @property
    def ready(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._parts) or self._ended

    def open(self) -> None:
        """Say that the engine has taken the request."""
        with self._room:
            if not self._open:
                self._open = True
                self._wake()

    def put(self, data: bytes) -> None:
        """Hand on bytes; waits while the reader is behind, until it reads on or stops. After the end, does nothing."""
        with self._room:
            if self._ended:
                return
            self._open = True
            while self._size >= BUFFER_MAX and not self._stopped:
                self._room.wait()
            if not self._stopped:
                self._parts.append(data)
                self._size += len(data)
                self._wake()

    def finish(self) -> None:
        """Say that the answer is whole."""
        with self._room:
            self._open = self._ended = True
            self._wake()

    def fail(self, error: BackendError) -> None:
        """Say that the answer has failed; what was put before is still read first. A finished one stays finished."""
        with self._room:
            if not self._ended:
                self._open = self._ended = True
                self._error = error
                self._wake()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._ready.set)
            except RuntimeError:  # the loop is closed: nobody will read
                self._stopped = True

    # --- the loop ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Read no more: the thread is let go, and told to stop at its next event."""
        with self._room:
            self._stopped = True
            self._parts.clear()
            self._size = 0
            self._room.notify_all()
        self._ready.set()

    async def opened(self) -> None:
        """Wait until the engine has taken the request.

        Raises:
            BackendError: It failed before it gave anything.
        """
        while True:
            with self._room:
                self._waking = False
                self._ready.clear()
                if self._error is not None and not self._parts:
                    raise self._error
                if self._open:
                    return
                if self._stopped:
                    raise BackendError(503, "backend_stopped", "The model is being stopped.")
            await self._ready.wait()

    async def take(self, most: int) -> bytes:
        """Return what is there, at least one byte and at most `most`, or `b""` at the end.

        Raises:
            BackendError: The engine failed, or was stopped.
        """
        while True:
            with self._room:
                self._waking = False
                self._ready.clear()
                if self._parts:
                    return self._gather(most)
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return b""
                if self._stopped:
                    raise BackendError(503, "backend_stopped", "The answer was stopped.")
            await self._ready.wait()

    def _gather(self, most: int) -> bytes:
        taken: list[bytes] = []
        room = most
        while self._parts and room > 0:
            part = self._parts.popleft()
            if len(part) > room:
                self._parts.appendleft(part[room:])
                part = part[:room]
            taken.append(part)
            room -= len(part)
        self._size -= most - room
        self._room.notify()
        return b"".join(taken)

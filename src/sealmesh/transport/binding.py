"""How calls into iroh's binding are made: fast where its code is known, and outliving whoever waits for them.

And when its objects end. The library calls back while it holds a connection's lock. Python's collector may run in that
callback, in whichever thread it is, and find a stream that nobody uses any more; to free it takes the same lock, and
then this process stands still for ever. So nothing native is freed where it is found, but by `free_ended`.

Nothing here imports iroh: `sealmesh.transport.iroh` passes its binding in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import inspect
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from sealmesh.errors import StreamResetError

T = TypeVar("T")

#: What has ended and waits to be freed, each with what frees it. Appending is one step, in a finalizer too.
_ENDED: Final[deque[tuple[Callable[[Any], object], Any]]] = deque()


def free_ended() -> None:
    """Free what has ended. Only for places that no callback of the library leads to."""
    with contextlib.suppress(IndexError):
        while True:
            free, ended = _ENDED.popleft()
            free(ended)


def install_late_ends(binding: Any) -> int:
    """Let objects of the binding be freed by `free_ended` and never by the finalizer, which may run in a callback.

    Args:
        binding: The module `iroh.iroh_ffi`.

    Returns:
        How many classes have a finalizer.
    """
    kinds = [one for one in vars(binding).values() if isinstance(one, type) and "__del__" in vars(one)]
    for kind in kinds:
        _end_late(kind)
    return len(kinds)


def _end_late(kind: Any) -> None:
    own = kind.__del__

    def later(self: Any) -> None:
        _ENDED.append((own, self))  # lives on until then; Python finalizes an object only once

    kind.__del__ = later


def source_digest(*parts: object) -> str:
    """Return SHA-256 (hex) of the source of functions and of classes' own functions, or "" where none can be read.

    A class as a whole is not looked for: that would parse all of the binding, for 0.2 s of each start.
    """
    functions = [function for part in parts for function in _functions(part)]
    try:
        sources = [inspect.getsource(one).strip() for one in functions]
    except (OSError, TypeError):
        return ""
    fields = [name for part in parts if inspect.isclass(part) for name, _ in vars(part).get("_fields_", ())]
    return hashlib.sha256("\n".join([*sources, *fields]).encode()).hexdigest() if sources else ""


def _functions(part: object) -> list[Callable[..., Any]]:
    if not inspect.isclass(part):
        return [part] if callable(part) else []
    own = (getattr(one, "__func__", one) for one in vars(part).values())
    return [one for one in own if inspect.isfunction(one)]


def install_fast_copy(binding: Any, *, known: str) -> bool:
    """Replace the binding's byte-by-byte copy into native buffers by one `memmove`, if it is the code we know.

    A loopback stream goes from 3-7 MB/s to 350 MB/s. Code that we do not know is left alone: slow, and right.

    Args:
        binding: The module `iroh.iroh_ffi`.
        known: The source digest that this replacement was written for.

    Returns:
        Whether the replacement is in force.
    """
    builder = binding._UniffiRustBufferBuilder
    if source_digest(builder, binding._UniffiRustBuffer) != known:
        return False

    def write(self: Any, value: bytes | bytearray | memoryview) -> None:
        data = bytes(value)  # no copy if it is `bytes` already
        if data:
            with self._reserve(len(data)):
                ctypes.memmove(ctypes.addressof(self.rbuf.data.contents) + self.rbuf.len, data, len(data))

    builder.write = write
    return True


def install_fast_calls(binding: Any, *, known: str) -> bool:
    """Let a native call that is ready at once end at once, not a turn of the event loop later, if we know the code.

    The library reports a call's progress through a callback. When it does so within the very poll that asked, the
    binding still goes through `call_soon_threadsafe`, which costs a system call and a turn of the loop. A small write
    goes from 35 to 20 µs (uvloop: 24 to 19), a read of what is there from 25 to 13 (17 to 12).

    Args:
        binding: The module `iroh.iroh_ffi`.
        known: The source digest that this replacement was written for.

    Returns:
        Whether the replacement is in force.
    """
    parts = (binding._uniffi_rust_call_async, binding._uniffi_set_future_result, binding._UniffiHandleMap)
    if source_digest(*parts) != known:
        return False
    waiting, ready = binding._UniffiContinuationHandleMap, binding._UNIFFI_RUST_FUTURE_POLL_READY
    this_thread = threading.get_ident

    @binding._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK  # type: ignore[untyped-decorator]
    def progressed(handle: int, code: int) -> None:
        loop, future, asker = waiting.remove(handle)
        if this_thread() != asker:
            loop.call_soon_threadsafe(binding._uniffi_set_future_result, future, code)
        elif not future.done():
            future.set_result(code)

    async def call(native: Any, poll: Any, complete: Any, free: Any, lift: Any, error_converter: Any) -> Any:
        free_ended()
        try:
            loop, asker = asyncio.get_running_loop(), this_thread()
            code = None
            while code != ready:
                future: asyncio.Future[int] = loop.create_future()
                poll(native, progressed, waiting.insert((loop, future, asker)))
                code = future.result() if future.done() else await future
            return lift(binding._uniffi_rust_call_with_error(error_converter, complete, native))
        except GeneratorExit:  # by the collector perhaps, which may run in a callback
            _ENDED.append((free, native))
            native = None
            raise
        finally:
            if native is not None:
                free(native)

    binding._sealmesh_own_call_async = binding._uniffi_rust_call_async  # a test goes back to it
    binding._uniffi_rust_call_async = call
    binding._sealmesh_progressed = progressed  # the library holds its address: it must outlive every call
    return True


class NativeCall(Generic[T]):
    """One native call that outlives a cancelled wait: the next `wait` goes on where the last one was.

    It steps the binding's coroutine by hand instead of giving it a task, which would cost more, and makes the first
    step at once: what the library can do without waiting is done when the constructor returns.
    """

    __slots__ = ("_coroutine", "_done", "_dropped", "_error", "_pending", "_result", "_wake")

    def __init__(self, coroutine: Coroutine[Any, None, T]) -> None:
        self._coroutine = coroutine
        self._done = False
        self._dropped = False
        self._wake: asyncio.Future[None] | None = None
        self._pending: asyncio.Future[Any] | None = None
        self._result: T | None = None
        self._error: Exception | None = None
        self._step()

    def _step(self) -> None:
        try:
            self._pending = self._coroutine.send(None)
        except StopIteration as stop:
            self._result = stop.value
            self._done = True
        except Exception as error:  # told by `wait`, wherever it happened
            self._error = error
            self._done = True
        else:
            if self._pending is not None:
                self._pending.add_done_callback(self._ring)

    def _ring(self, _done: object = None) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self) -> T:
        """Return the call's result.

        Raises:
            StreamResetError: The call was dropped meanwhile.
        """
        while not self._dropped:
            if self._error is not None:
                raise self._error
            if self._done:
                return self._result  # type: ignore[return-value]  # set together with `_done`
            if self._pending is None or self._pending.done():
                self._step()
                continue
            # A future for this wait alone: cancelling the wait cancels it, and nothing of the native call.
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        raise StreamResetError("the stream was reset on this side")

    def drop(self) -> None:
        """Give the call up: the library forgets it, and who waits for it gets StreamResetError."""
        if not self._dropped:
            self._dropped = True
            self._coroutine.close()
            free_ended()
            self._ring()

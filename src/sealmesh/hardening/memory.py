"""Memory for keys: outside the object heap, locked, left out of dumps and forks, zeroed on `wipe`.

Python objects cannot be erased: `bytes` never change and `bytearray` may have been moved. A private anonymous
mapping has one place, which can be overwritten (PROTOCOL.md, Keys in memory).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any, Final

import cffi  # type: ignore[import-untyped]  # ships no types

from sealmesh.errors import HardeningError, LocalProtocolError

_FFI: Final = cffi.FFI()
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# From <sys/mman.h> of Linux; Python 3.11 does not name it. A forked child reads zeros instead of the key.
_MADV_WIPEONFORK: Final = 18
# getentropy(3) fills at most this many bytes a call, on Linux and macOS alike.
_ENTROPY_MAX: Final = 256


class LockedBytes:
    """A fixed number of secret bytes in a mapping of their own.

    Args:
        length: How many bytes, 1 to 4,096.

    Attributes:
        locked: Whether the system keeps the bytes out of swap. False where its limit on locked memory is spent;
            posture reports that, and the key is used all the same.

    Raises:
        HardeningError: The system gave no mapping.
    """

    __slots__ = ("_address", "_length", "_mapping", "_wiped", "locked")

    def __init__(self, length: int) -> None:
        if not 0 < length <= 4096:
            raise LocalProtocolError("locked memory holds 1 to 4,096 bytes")
        try:
            # Private, so that no forked process shares the page and WIPEONFORK may be asked for.
            self._mapping = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise HardeningError("no memory mapping for a key") from error
        self._length = length
        self._wiped = False
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        self.locked = _LIBC.mlock(ctypes.c_void_p(self._address), ctypes.c_size_t(mmap.PAGESIZE)) == 0
        if sys.platform == "linux":
            self._mapping.madvise(mmap.MADV_DONTDUMP)
            # One key belongs to one process. The kernel has known this since 4.14; where it fails the page is
            # copied to a child as any other memory is.
            _LIBC.madvise(ctypes.c_void_p(self._address), ctypes.c_size_t(mmap.PAGESIZE), _MADV_WIPEONFORK)

    @classmethod
    def random(cls, length: int) -> LockedBytes:
        """Return bytes of the system's generator that were never anywhere else in this process.

        Args:
            length: 1 to 256.

        Raises:
            HardeningError: The system gave no mapping or no randomness.
        """
        if length > _ENTROPY_MAX:
            raise LocalProtocolError("the generator fills at most 256 bytes at once")
        locked = cls(length)
        if _LIBC.getentropy(ctypes.c_void_p(locked._address), ctypes.c_size_t(length)) != 0:
            raise HardeningError("the system gave no randomness for a key")
        return locked

    @classmethod
    def copy_of(cls, data: bytes) -> LockedBytes:
        """Return a locked copy of `data`, whose own bytes stay on the heap: for vectors and simulations."""
        locked = cls(len(data))
        locked._mapping[: len(data)] = data
        return locked

    @property
    def wiped(self) -> bool:
        """Whether the bytes are gone."""
        return self._wiped

    def pointer(self) -> Any:
        """Return a cffi `unsigned char[]` over the bytes, for calls of `nacl.bindings`. Keep it no longer than a call.

        Raises:
            LocalProtocolError: The bytes were wiped.
        """
        if self._wiped:
            raise LocalProtocolError("the key was wiped")
        return _FFI.from_buffer(f"unsigned char[{self._length}]", self._mapping)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros and unlock the page. A second call does nothing."""
        if self._wiped:
            return
        self._wiped = True
        self._mapping[:] = bytes(mmap.PAGESIZE)
        _LIBC.munlock(ctypes.c_void_p(self._address), ctypes.c_size_t(mmap.PAGESIZE))

    def __del__(self) -> None:
        # A key that is dropped without a wipe is not left in the page either. No module is used here, since the
        # interpreter may be ending; the attribute is missing where the constructor failed.
        if hasattr(self, "_wiped") and not self._wiped:
            self._mapping[:] = bytes(len(self._mapping))

    def __repr__(self) -> str:
        return f"<LockedBytes length={self._length} {'wiped' if self._wiped else 'held'}>"


def overwrite(buffer: Any) -> None:
    """Overwrite a cffi array (a secretstream state, its scratch buffer) with zeros."""
    _FFI.memmove(buffer, bytes(_FFI.sizeof(buffer)), _FFI.sizeof(buffer))


def can_lock_memory() -> bool:
    """Try whether this process can keep a key's page out of swap now."""
    page = LockedBytes(32)
    try:
        return bool(page.locked)
    finally:
        page.wipe()

"""Memory for keys: outside the object heap, locked, left out of dumps and forks, zeroed on `wipe`.

Python objects cannot be erased: `bytes` never change and `bytearray` may have been moved. A private anonymous
mapping has one place, which can be overwritten (PROTOCOL.md, Keys in memory). A hardened process takes pages that even
the kernel does not map for itself, where there are such (`memfd_secret`, Linux 5.14): nothing reads them from outside
through `/proc` or `ptrace`, not even for root.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from typing import Any, Final

import cffi  # type: ignore[import-untyped]  # ships no types

from sealmesh.errors import HardeningError, LocalProtocolError

_FFI: Final = cffi.FFI()
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# From <sys/mman.h> of Linux; Python 3.11 does not name it. A forked child reads zeros instead of the key.
_MADV_WIPEONFORK: Final = 18
_MADV_DONTFORK: Final = 10  # a forked child does not have the page at all: shared pages cannot be wiped for it
_MEMFD_SECRET: Final = 447  # the same number on every architecture
_SHARED_FIXED: Final = mmap.MAP_SHARED | 0x10  # MAP_FIXED
_OWN_FIXED: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10
_FAILED: Final = ctypes.c_void_p(-1).value
# getentropy(3) fills at most this many bytes a call, on Linux and macOS alike.
_ENTROPY_MAX: Final = 256

#: Whether pages are hidden where they can be; holds an entry once somebody has asked for it.
_hiding: list[bool] = []


def hide_key_pages() -> None:
    """From now on keys of this process lie in pages that the kernel does not map, where it has such pages.

    Debuggers do not see them either, so only a hardened process asks for it. A machine cannot hibernate meanwhile.
    """
    if sys.platform == "linux" and not _hiding:
        _hiding.append(True)


class LockedBytes:
    """A fixed number of secret bytes in a mapping of their own.

    Args:
        length: How many bytes, 1 to 4,096.

    Attributes:
        locked: Whether the system keeps the bytes out of swap. False where its limit on locked memory is spent;
            posture reports that, and the key is used all the same.
        hidden: Whether the kernel itself has the page in no map of its own.

    Raises:
        HardeningError: The system gave no mapping.
    """

    __slots__ = ("_address", "_length", "_mapping", "_owner", "_wiped", "hidden", "locked")

    _process = staticmethod(os.getpid)  # by the class: at the interpreter's end modules are gone

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
        self._owner = self._process()
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        self.hidden = bool(_hiding) and _hide_page(self._address)
        if self.hidden:
            self.locked = True  # such pages are never swapped and in no dump
            _LIBC.madvise(ctypes.c_void_p(self._address), ctypes.c_size_t(mmap.PAGESIZE), _MADV_DONTFORK)
            return
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
            LocalProtocolError: The bytes were wiped, or belong to the process that this one was forked from.
        """
        if self._owner != self._process():
            raise LocalProtocolError("the key belongs to another process")
        if self._wiped:
            raise LocalProtocolError("the key was wiped")
        return _FFI.from_buffer(f"unsigned char[{self._length}]", self._mapping)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros and unlock the page. A second call does nothing."""
        if self._wiped or self._owner != self._process():
            return
        self._wiped = True
        self._mapping[:] = bytes(mmap.PAGESIZE)
        _LIBC.munlock(ctypes.c_void_p(self._address), ctypes.c_size_t(mmap.PAGESIZE))

    def __del__(self) -> None:
        # A key that is dropped without a wipe is not left in the page either. No module is used here, since the
        # interpreter may be ending; the attribute is missing where the constructor failed.
        if hasattr(self, "_wiped") and not self._wiped and self._owner == self._process():
            self._mapping[:] = bytes(len(self._mapping))

    def __repr__(self) -> str:
        return f"<LockedBytes length={self._length} {'wiped' if self._wiped else 'held'}>"


def overwrite(buffer: Any) -> None:
    """Overwrite a cffi array (a secretstream state, its scratch buffer) with zeros."""
    _FFI.memmove(buffer, bytes(_FFI.sizeof(buffer)), _FFI.sizeof(buffer))


def _hide_page(address: int) -> bool:
    """Put a page that the kernel does not map for itself in the place of this one.

    Returns:
        Whether it is so now; the page at the address is an ordinary one otherwise.

    Raises:
        HardeningError: The place was lost.
    """
    descriptor = _LIBC.syscall(ctypes.c_long(_MEMFD_SECRET), ctypes.c_long(os.O_CLOEXEC))
    if descriptor < 0:
        return False
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        if _map_at(address, _SHARED_FIXED, descriptor):
            return True
    except OSError:
        return False  # before anything was mapped
    finally:
        os.close(descriptor)
    # Over the limit on locked memory. What was mapped there may be gone by now.
    if not _map_at(address, _OWN_FIXED, -1):
        raise HardeningError("no memory mapping for a key")
    return False


def _map_at(address: int, flags: int, descriptor: int) -> bool:
    _LIBC.mmap.restype = ctypes.c_void_p
    result = _LIBC.mmap(
        ctypes.c_void_p(address),
        ctypes.c_size_t(mmap.PAGESIZE),
        ctypes.c_int(mmap.PROT_READ | mmap.PROT_WRITE),
        ctypes.c_int(flags),
        ctypes.c_int(descriptor),
        ctypes.c_long(0),
    )
    return bool(result != _FAILED)

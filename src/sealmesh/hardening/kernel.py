"""The kernel, asked directly: `prctl` and raw system calls by ctypes, with errors as OSError; Linux only."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, Final

# <linux/prctl.h>
GET_DUMPABLE: Final = 3
SET_DUMPABLE: Final = 4
SET_NO_NEW_PRIVS: Final = 38
GET_NO_NEW_PRIVS: Final = 39
SET_MDWE: Final = 65
GET_MDWE: Final = 66
MDWE_REFUSE_EXEC_GAIN: Final = 1

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, argument: int = 0) -> int:
    """Call `prctl(option, argument, 0, 0, 0)`.

    Raises:
        OSError: The kernel refuses it or does not know it.
    """
    numbers = [ctypes.c_ulong(number) for number in (argument, 0, 0, 0)]
    return _checked(_LIBC.prctl(ctypes.c_int(option), *numbers))


def syscall(number: int, *arguments: int | bytes | Any) -> int:
    """Make a system call. Integers go as longs, bytes as pointers to themselves, None as a null pointer.

    Raises:
        OSError: It failed.
    """
    converted = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    _LIBC.syscall.restype = ctypes.c_long
    return _checked(_LIBC.syscall(ctypes.c_long(number), *converted))


def can_map_writable_code() -> bool:
    """Try to map a page that can be written and run: what `PR_SET_MDWE` must refuse."""
    _LIBC.mmap.restype = ctypes.c_void_p
    address = _LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))  # RWX, private and anonymous
    if address in (None, ctypes.c_void_p(-1).value):
        return False
    _LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
    return True


def status_field(name: str) -> str:
    """A line of `/proc/self/status`; "" where it cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")

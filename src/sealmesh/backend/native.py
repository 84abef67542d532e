"""Keeps what native code prints away from the terminal and the journal.

llama.cpp prints a grammar that it cannot parse, and so the words of a tool's or schema's author, with
`fprintf(stderr, ...)`, whatever its log level is (seen by running it). Only C's `stderr` stream is pointed elsewhere:
Python writes to the file descriptor, so its own messages, tracebacks and `faulthandler` stay as they are.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_SYMBOLS: Final = {"linux": "stderr", "darwin": "__stderrp"}
_done: list[int] = []


def silence_native_stderr() -> bool:
    """Point C's `stderr` stream at the null device, for the whole process and once.

    Returns:
        Whether it is so now. False where the C library keeps the stream in read-only memory (musl) or is unknown.
    """
    if _done:
        return True
    symbol = _SYMBOLS.get(sys.platform)
    if symbol is None:
        return False
    try:
        libc = ctypes.CDLL(None)
        if sys.platform == "linux":
            libc.gnu_get_libc_version  # noqa: B018 - glibc documents that the stream variables may be assigned
        libc.fopen.restype = ctypes.c_void_p
        libc.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        stream = libc.fopen(b"/dev/null", b"we")
        variable = ctypes.c_void_p.in_dll(libc, symbol)
    except (OSError, AttributeError, ValueError):
        return False
    if not stream:
        return False
    variable.value = stream
    _done.append(stream)
    return True

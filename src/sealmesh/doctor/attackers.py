"""The attacks that read another process, each tried for real: `python -I -m sealmesh.doctor.attackers`.

It runs as a process of its own, as whom the attack is made by. On stdin it is told where the victim holds its marker;
on stdout it says what it got. An attack has worked when the marker came out, and never for less. Linux only: on macOS
each is told as not tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.doctor import tools
from sealmesh.doctor.outcome import NotTriedError

_ATTACH: Final = 16  # <sys/ptrace.h>
_DETACH: Final = 17
_PEEK: Final = 2
_PIDFD_GETFD: Final = 438  # the same on every architecture
_RLIMIT_CORE: Final = 4
CRASHED: Final = "it was made to crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the victim holds its marker, as it told itself.

    Attributes:
        pid: The victim.
        marker: What an attack must bring out.
        address: Where a copy lies in its memory.
        descriptor: Which of its descriptors leads to a file of no name that holds it.
        folder: Where an attacker may write files.
    """

    pid: int
    marker: bytes
    address: int
    descriptor: int
    folder: Path


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@contextlib.contextmanager
def _attached(pid: int) -> Iterator[None]:
    """Hold a process as a debugger does."""
    trace = _LIBC.ptrace
    trace.restype = ctypes.c_long
    trace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    _checked(trace(_ATTACH, pid, None, None))
    try:
        os.waitpid(pid, 0x40000000)  # __WALL: it is not our child
        yield
    finally:
        trace(_DETACH, pid, None, None)


def attach_debugger(target: Target) -> bytes:
    """`ptrace(PTRACE_ATTACH)`, then read word by word."""
    found = b""
    with _attached(target.pid):
        size = ctypes.sizeof(ctypes.c_long)
        for offset in range(0, len(target.marker), size):
            ctypes.set_errno(0)
            word = _LIBC.ptrace(_PEEK, target.pid, target.address + offset, None)
            if ctypes.get_errno():
                _checked(-1)
            found += int(word).to_bytes(size, sys.byteorder, signed=True)
    return found


def read_memory_file(target: Target) -> bytes:
    """Read `/proc/PID/mem`."""
    with Path(f"/proc/{target.pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(target.address)
        return memory.read(len(target.marker))


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def read_by_system_call(target: Target) -> bytes:
    """`process_vm_readv`."""
    buffer = ctypes.create_string_buffer(len(target.marker))
    here = _Span(ctypes.addressof(buffer), len(target.marker))
    there = _Span(target.address, len(target.marker))
    read = _LIBC.process_vm_readv
    read.restype = ctypes.c_ssize_t
    one = ctypes.c_ulong(1)
    _checked(read(target.pid, ctypes.byref(here), one, ctypes.byref(there), one, ctypes.c_ulong(0)))
    return buffer.raw


def read_environment(target: Target) -> bytes:
    """Read `/proc/PID/environ`."""
    return Path(f"/proc/{target.pid}/environ").read_bytes()


def open_descriptor(target: Target) -> bytes:
    """Open what `/proc/PID/fd/N` leads to."""
    return Path(f"/proc/{target.pid}/fd/{target.descriptor}").read_bytes()


def take_descriptor(target: Target) -> bytes:
    """`pidfd_getfd`: a copy of the victim's own descriptor."""
    if not hasattr(os, "pidfd_open"):
        raise NotTriedError("this Python cannot name a process by a descriptor")
    handle = os.pidfd_open(target.pid)
    try:
        number = [ctypes.c_long(one) for one in (_PIDFD_GETFD, handle, target.descriptor, 0)]
        taken = _checked(_LIBC.syscall(*number))
    finally:
        os.close(handle)
    try:
        return os.pread(taken, 4096, 0)
    finally:
        os.close(taken)


def run_code_in_it(target: Target) -> bytes:
    """`sys.remote_exec`: make the victim's own interpreter run a script."""
    execute = getattr(sys, "remote_exec", None)
    if execute is None:
        raise NotTriedError("it needs Python 3.14 or newer on both sides")
    script = target.folder / "script.py"
    script.write_text("pass\n")
    execute(target.pid, str(script))
    return target.marker  # the interpreter took the script: from here on it does what it is told


def crash_it(target: Target) -> bytes:
    """Raise its limit on core files as far as it goes, and make it crash. Whoever started it sees what came of it."""
    limits = (ctypes.c_ulonglong * 2)()
    with contextlib.suppress(OSError):
        _checked(_LIBC.prlimit(target.pid, _RLIMIT_CORE, None, limits))
        limits[0] = limits[1]
        _checked(_LIBC.prlimit(target.pid, _RLIMIT_CORE, limits, None))
    os.kill(target.pid, signal.SIGABRT)
    return CRASHED.encode()


def _tool(name: str) -> Callable[[Target], bytes]:
    def use(target: Target) -> bytes:
        return tools.TOOLS[name](target.pid, target.address, len(target.marker), target.folder)

    return use


#: Every attack by its stable name. `core_dump` ends its victim, so it comes last.
ATTACKS: Final[dict[str, Callable[[Target], bytes]]] = {
    "ptrace": attach_debugger,
    "proc_mem": read_memory_file,
    "process_vm_readv": read_by_system_call,
    "proc_environ": read_environment,
    "proc_fd": open_descriptor,
    "pidfd_getfd": take_descriptor,
    "remote_exec": run_code_in_it,
    **{name: _tool(name) for name in tools.TOOLS},
    "core_dump": crash_it,
}
CORE_DUMP: Final = "core_dump"


def attempt(name: str, target: Target) -> dict[str, str]:
    """Try one attack; say `worked`, `refused` or `not tried`, and why."""
    if sys.platform != "linux":
        return {"result": "not tried", "reason": "it is written for Linux"}
    try:
        got = ATTACKS[name](target)
    except NotTriedError as error:
        return {"result": "not tried", "reason": str(error)}
    except OSError as error:
        return {"result": "refused", "reason": os.strerror(error.errno) if error.errno else str(error)}
    except RuntimeError as error:  # what sys.remote_exec and the tools raise
        return {"result": "refused", "reason": str(error)[:200]}
    if target.marker in got:
        return {"result": "worked", "reason": ""}
    if got == CRASHED.encode():
        return {"result": "refused", "reason": CRASHED}
    return {"result": "refused", "reason": "the marker did not come out"}


def main() -> None:
    """Read one order from stdin, try its attacks, write one JSON line."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    target = Target(
        pid=order["pid"],
        marker=order["marker"].encode(),
        address=order["address"],
        descriptor=order["descriptor"],
        folder=Path(order["folder"]),
    )
    print(json.dumps({name: attempt(name, target) for name in order["attacks"]}), flush=True)


if __name__ == "__main__":
    main()

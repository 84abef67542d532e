"""A seccomp filter: system calls that a node never makes, and that an attacker inside it would, fail with EPERM.

A list of refusals and not of permissions: the model's library, QUIC and the event loop use too many calls, which
differ by version, for a list of permissions to be right.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from typing import Final

from sealmesh.hardening.kernel import status_field, syscall
from sealmesh.hardening.posture import Control, Finding, off, on, unavailable

#: (name, number on x86_64, number on aarch64), from <asm/unistd_64.h> and <asm-generic/unistd.h>; -1 where there is
#: none. What they are for: reading other processes, kernel code, namespaces and mounts, unwatched I/O.
REFUSED: Final = (
    ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("process_madvise", 440, 440),
    ("pidfd_getfd", 438, 438),
    ("kcmp", 312, 272),
    ("perf_event_open", 298, 241),
    ("bpf", 321, 280),
    ("userfaultfd", 323, 282),
    ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426),
    ("io_uring_register", 427, 427),
    ("fanotify_init", 300, 262),
    ("open_by_handle_at", 304, 265),
    ("kexec_load", 246, 104),
    ("kexec_file_load", 320, 294),
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("delete_module", 176, 106),
    ("reboot", 169, 142),
    ("swapon", 167, 224),
    ("swapoff", 168, 225),
    ("acct", 163, 89),
    ("setns", 308, 268),
    ("unshare", 272, 97),
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("chroot", 161, 51),
    ("open_tree", 428, 428),
    ("move_mount", 429, 429),
    ("fsopen", 430, 430),
    ("fsconfig", 431, 431),
    ("fsmount", 432, 432),
    ("fspick", 433, 433),
    ("mount_setattr", 442, 442),
    ("iopl", 172, -1),
    ("ioperm", 173, -1),
    ("modify_ldt", 154, -1),
)

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM  # SECCOMP_RET_ERRNO
_AT_NUMBER: Final = 0  # offsets in `struct seccomp_data`
_AT_ARCHITECTURE: Final = 4
_X32: Final = 0x40000000  # x86_64 only: the same calls under other numbers
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How one architecture numbers its calls.

    Attributes:
        audit: Its `AUDIT_ARCH` value, which the kernel gives to a filter.
        column: Its column in `REFUSED`.
        seccomp: The number of `seccomp` itself.
        has_x32: Whether a second set of numbers exists.
    """

    audit: int
    column: int
    seccomp: int
    has_x32: bool

    def number(self, name: str) -> int:
        """The number of a refused call, -1 where there is none."""
        row = next(row for row in REFUSED if row[0] == name)
        return row[1] if self.column == 1 else row[2]


MACHINES: Final = {
    "x86_64": Machine(audit=0xC000003E, column=1, seccomp=317, has_x32=True),
    "aarch64": Machine(audit=0xC00000B7, column=2, seccomp=277, has_x32=False),
}


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def build_filter(machine: Machine) -> bytes:
    """The filter as a classic BPF program, 8 bytes a step: another architecture's calls are refused altogether."""
    numbers = sorted(number for number in (machine.number(row[0]) for row in REFUSED) if number >= 0)
    program = [
        _step(_LOAD, _AT_ARCHITECTURE),
        _step(_IF_EQUAL, machine.audit, yes=1),
        _step(_RETURN, _REFUSE),
        _step(_LOAD, _AT_NUMBER),
    ]
    if machine.has_x32:
        program += [_step(_IF_AT_LEAST, _X32, no=1), _step(_RETURN, _REFUSE)]
    for number in numbers:
        program += [_step(_IF_EQUAL, number, no=1), _step(_RETURN, _REFUSE)]
    return b"".join([*program, _step(_RETURN, _ALLOW)])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def apply_seccomp() -> Finding:
    """Put the filter in force for every thread of this process and all that it will start; then try it.

    `NO_NEW_PRIVS` must be set.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return unavailable(Control.SECCOMP, f"no filter is written for {os.uname().machine}")
    program = build_filter(machine)
    steps = ctypes.create_string_buffer(program, len(program))
    given = _Program(length=len(program) // 8, steps=ctypes.addressof(steps))
    try:
        syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(given))
    except OSError as error:
        return off(Control.SECCOMP, f"the system refuses filters ({error.strerror})")
    return look_at_seccomp(machine)


def look_at_seccomp(machine: Machine) -> Finding:
    """Whether a filter holds: the kernel says so, and calls that do no harm by themselves are refused."""
    mode = status_field("Seccomp")
    if mode != "2":
        return off(Control.SECCOMP, f"the kernel says mode {mode or 'unknown'}")
    # Nothing is read, made or changed by these, refused or not.
    for name, arguments in (
        ("process_vm_readv", (os.getpid(), None, 0, None, 0, 0)),
        ("bpf", (-1, None, 0)),
        ("io_uring_setup", (0, None)),
    ):
        try:
            syscall(machine.number(name), *arguments)
        except OSError as error:
            if error.errno == errno.EPERM:
                continue
        return off(Control.SECCOMP, f"{name} was tried and was not refused")
    return on(Control.SECCOMP, f"{len(REFUSED)} calls are refused")

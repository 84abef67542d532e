"""Landlock: this process, and all that it starts, can write only under its own folders. Reading stays open.

It holds the thread that asks for it and those that it starts later, so it comes before any other thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from sealmesh.hardening.kernel import syscall
from sealmesh.hardening.posture import Control, Finding, off, on, unavailable

# Numbers of the calls: the same on every architecture.
_CREATE: Final = 444
_ADD_RULE: Final = 445
_RESTRICT: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

# <linux/landlock.h>, the rights that change something.
_WRITE_FILE: Final = 1 << 1
_MAKE_AND_REMOVE: Final = sum(1 << bit for bit in range(4, 13))
_REFER: Final = 1 << 13  # since version 2: moving between folders
_TRUNCATE: Final = 1 << 14  # since version 3

#: Devices that programs write to as a matter of course, and those of accelerators and TPMs.
DEVICES: Final = (
    "/dev/null", "/dev/tty", "/dev/ptmx", "/dev/pts",
    "/dev/dri", "/dev/kfd",
)  # fmt: skip
#: Others by the beginnings of their names: GPUs, TPMs, what a confidential guest asks for its report.
_DEVICE_NAMES: Final = ("nvidia", "tpm", "sev-guest", "tdx_guest", "nsm")
#: Where a confidential guest's report is asked for: folders are made there.
_REPORTS: Final = "/sys/kernel/config/tsm/report"
#: Anybody may write to these, so a refusal can only be ours. The first that is there is tried.
_PROBES: Final = ("/dev/full", "/dev/zero", "/dev/random")


def rights(version: int) -> int:
    """The rights to write that this version of the kernel's interface can take away."""
    return _WRITE_FILE | _MAKE_AND_REMOVE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)


def apply_landlock(folders: Iterable[Path], *, note: str = "") -> Finding:
    """Allow writing only under these folders; then try to write elsewhere.

    Args:
        folders: Those of the node; each exists.
        note: What is worth knowing about them.

    `NO_NEW_PRIVS` must be set.
    """
    try:
        version = syscall(_CREATE, None, 0, _VERSION)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return unavailable(Control.LANDLOCK, "the kernel has it, and its security modules leave it out")
        return unavailable(Control.LANDLOCK, f"the kernel does not have it ({error.strerror})")
    if threading.active_count() > 1:
        return off(Control.LANDLOCK, "other threads run already, and it would not hold them")
    handled = rights(version)
    try:
        ruleset = syscall(_CREATE, ctypes.c_char_p(struct.pack("<Q", handled)), 8, 0)
        try:
            for path in folders:
                _allow(ruleset, path, handled)
            for device in _devices():
                _allow(ruleset, device, (_WRITE_FILE | _TRUNCATE) & handled)
            _allow_if_there(ruleset, Path(_REPORTS), handled)
            _allow_if_there(ruleset, Path("/dev/shm"), handled)  # noqa: S108 - shared memory of GPU libraries
            syscall(_RESTRICT, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        return off(Control.LANDLOCK, f"the rules were refused ({error.strerror})")
    return look_at_landlock(f"version {version}{'; ' + note if note else ''}")


def _devices() -> Iterator[Path]:
    for name in DEVICES:
        yield Path(name)
    with contextlib.suppress(OSError):
        yield from (path for path in Path("/dev").iterdir() if path.name.startswith(_DEVICE_NAMES))


def _allow_if_there(ruleset: int, path: Path, wanted: int) -> None:
    if path.exists():
        _allow(ruleset, path, wanted)


def _allow(ruleset: int, path: Path, wanted: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = struct.pack("<Qi", wanted, descriptor)
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)


def look_at_landlock(note: str) -> Finding:
    """Whether writing elsewhere is refused: tried on a device that everybody may write to."""
    for probe in _PROBES:
        try:
            os.close(os.open(probe, os.O_WRONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.EACCES:
                return on(Control.LANDLOCK, note)
            return off(Control.LANDLOCK, f"writing to {probe} failed for another reason ({error.strerror})")
        return off(Control.LANDLOCK, f"writing to {probe} was tried and was not refused")
    return off(Control.LANDLOCK, "there is no device to try it on")

"""macOS: no debugger attaches, no core is written, and what the system says of itself. Unrun: written to the manuals.

Nothing is assumed true: an answer that is not understood is not `on`.
"""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from sealmesh.hardening.posture import Control, Finding, off, on, unavailable

_PT_DENY_ATTACH: Final = 31  # <sys/ptrace.h>
_TIMEOUT_S: Final = 5.0  # system_profiler takes about a second

#: Runs a command; gives its exit status and output, or None where there is no such command.
Run = Callable[[Sequence[str]], tuple[int, str] | None]


def run_command(command: Sequence[str]) -> tuple[int, str] | None:
    """Run a program of the system by its full path, with nothing of our environment."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env={}, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired):
        return 1, ""
    return done.returncode, done.stdout + done.stderr


def _ptrace(request: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    return int(library.ptrace(ctypes.c_int(request), ctypes.c_int(0), ctypes.c_void_p(None), ctypes.c_int(0)))


def apply_macos(ptrace: Callable[[int], int] = _ptrace) -> tuple[Finding, ...]:
    """Put the process's own controls in force."""
    return (apply_deny_attach(ptrace), apply_no_core_dumps())


def apply_deny_attach(ptrace: Callable[[int], int] = _ptrace) -> Finding:
    """Refuse debuggers. The system does not show it afterwards; the call's own answer is what there is."""
    try:
        answer = ptrace(_PT_DENY_ATTACH)
    except (OSError, AttributeError):
        return unavailable(Control.DENY_ATTACH, "the system has no ptrace")
    if answer != 0:
        return off(Control.DENY_ATTACH, "the system refused it")
    return on(Control.DENY_ATTACH)


def apply_no_core_dumps() -> Finding:
    """Set the limit on core files to nothing, for children too."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        return off(Control.NO_CORE_DUMPS, f"the limit cannot be set ({error})")
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        return off(Control.NO_CORE_DUMPS, "the limit did not stay at 0")
    return on(Control.NO_CORE_DUMPS)


def report_macos(run: Run = run_command) -> tuple[Finding, ...]:
    """What the machine has of its own.

    Args:
        run: Runs a command.
    """
    return (look_at_sip(run), look_at_rdma(run), look_at_full_security(run))


def look_at_sip(run: Run) -> Finding:
    """System Integrity Protection, by `csrutil status`; a custom configuration is not `enabled`."""
    answer = run(("/usr/bin/csrutil", "status"))
    if answer is None:
        return unavailable(Control.SIP, "there is no csrutil")
    status, text = answer
    said = text.strip().splitlines()[0] if text.strip() else ""
    if status == 0 and said == "System Integrity Protection status: enabled.":
        return on(Control.SIP)
    if said == "System Integrity Protection status: disabled.":
        return off(Control.SIP, "csrutil says that it is disabled")
    return off(Control.SIP, "csrutil does not say that it is enabled")


def look_at_rdma(run: Run) -> Finding:
    """RDMA over Thunderbolt, by `rdma_ctl status`. Without the tool there is none; no other answer is off."""
    answer = run(("/usr/bin/rdma_ctl", "status"))
    if answer is None:
        return unavailable(Control.RDMA_DISABLED, "there is no rdma_ctl: this hardware has no RDMA")
    status, text = answer
    if status == 0 and text.strip().lower() == "disabled":
        return on(Control.RDMA_DISABLED)
    return off(Control.RDMA_DISABLED, "rdma_ctl does not say that it is disabled")


def look_at_full_security(run: Run) -> Finding:
    """The boot policy, as the system profile shows it on machines with Apple's chips."""
    answer = run(("/usr/sbin/system_profiler", "-json", "SPiBridgeDataType"))
    if answer is None or answer[0] != 0:
        return unavailable(Control.FULL_SECURITY, "the system profile cannot be read")
    try:
        entries = json.loads(answer[1])["SPiBridgeDataType"]
        levels = {str(entry["ibridge_secure_boot"]) for entry in entries if "ibridge_secure_boot" in entry}
    except (ValueError, KeyError, TypeError):
        return unavailable(Control.FULL_SECURITY, "the system profile is of an unknown shape")
    if levels == {"Full Security"}:
        return on(Control.FULL_SECURITY)
    if levels:
        return off(Control.FULL_SECURITY, "the boot policy is not Full Security")
    return unavailable(Control.FULL_SECURITY, "the system profile does not show the boot policy")

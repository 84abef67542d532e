"""Linux: the controls that a process can put on itself, each looked at afterwards, and what the system says of itself.

None of them keeps root out: on Linux, root reads everything.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sealmesh.hardening import kernel
from sealmesh.hardening.posture import Control, Finding, off, on, unavailable
from sealmesh.hardening.seccomp import apply_seccomp

_SECURE_BOOT: Final = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#: Accelerators whose libraries make code at run time (CUDA's and ROCm's compilers, Mesa's LLVM).
_ACCELERATORS: Final = ("dev/nvidiactl", "dev/kfd", "dev/dri")


def apply_linux() -> tuple[Finding, ...]:
    """Put every control in force that needs to know nothing of the node, the most useful first. About 1 ms."""
    return (
        apply_not_dumpable(),
        apply_no_core_dumps(),
        look_at_tracer(),
        apply_no_new_privs(),
        apply_seccomp(),  # after NO_NEW_PRIVS, which it needs
    )


def apply_not_dumpable() -> Finding:
    """Refuse reading of memory, environment and descriptors to programs of the same user. Lost at exec."""
    try:
        kernel.prctl(kernel.SET_DUMPABLE, 0)
        state = kernel.prctl(kernel.GET_DUMPABLE)
    except OSError as error:
        return off(Control.NOT_DUMPABLE, f"the kernel refuses it ({error.strerror})")
    if state != 0:
        return off(Control.NOT_DUMPABLE, f"the kernel says {state} where 0 was set")
    return on(Control.NOT_DUMPABLE)


def apply_no_core_dumps() -> Finding:
    """Set the limit on core files to nothing, for children too; programs that take cores are kept out by dumpable."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        return off(Control.NO_CORE_DUMPS, f"the limit cannot be set ({error})")
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        return off(Control.NO_CORE_DUMPS, "the limit did not stay at 0")
    return on(Control.NO_CORE_DUMPS)


def apply_no_new_privs() -> Finding:
    """Gain no rights by exec; seccomp and Landlock demand it of ordinary users."""
    try:
        kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
        held = kernel.prctl(kernel.GET_NO_NEW_PRIVS) == 1
    except OSError as error:
        return off(Control.NO_NEW_PRIVS, f"the kernel refuses it ({error.strerror})")
    return on(Control.NO_NEW_PRIVS) if held else off(Control.NO_NEW_PRIVS, "the kernel does not say that it holds")


def apply_mdwe(root: Path = Path("/"), *, runs_a_model: bool) -> Finding:
    """Refuse memory that is written and then run, unless a GPU library may need it; then try to get some.

    Args:
        root: Where devices are looked for.
        runs_a_model: Whether the libraries of an accelerator may be loaded.
    """
    found = [f"/{name}" for name in _ACCELERATORS if (root / name).exists()]
    if found and runs_a_model:
        return off(Control.MDWE, f"{found[0]} is there, and GPU libraries make code at run time")
    try:
        kernel.prctl(kernel.SET_MDWE, kernel.MDWE_REFUSE_EXEC_GAIN)
    except OSError as error:
        return unavailable(Control.MDWE, f"the kernel does not have it ({error.strerror}); Linux 6.3 does")
    if kernel.can_map_writable_code():
        return off(Control.MDWE, "memory for writing and running was asked for and was given")
    return on(Control.MDWE)


def look_at_tracer() -> Finding:
    """Whether a debugger holds this process now. One that was there earlier and let go cannot be seen."""
    tracer = kernel.status_field("TracerPid")
    if not tracer.isdigit():
        return unavailable(Control.NOT_TRACED, "/proc/self/status does not say")
    if tracer != "0":
        return off(Control.NOT_TRACED, f"process {tracer} traces this one")
    return on(Control.NOT_TRACED)


# --- what the system says of itself: reported, never changed ------------------------------------------------------


def report_linux(root: Path = Path("/")) -> tuple[Finding, ...]:
    """What the machine has of its own. About 0.2 ms.

    Args:
        root: Where `sys` and `proc` are.
    """
    looks: tuple[Callable[[Path], Finding], ...] = (
        _secure_boot,
        _lockdown,
        _yama,
        _swap,
        _core_handler,
    )
    return tuple(look(root) for look in looks)


def _secure_boot(root: Path) -> Finding:
    try:
        value = (root / _SECURE_BOOT).read_bytes()
    except FileNotFoundError:
        return unavailable(Control.SECURE_BOOT, "the firmware shows no such setting here")
    except OSError as error:
        return unavailable(Control.SECURE_BOOT, f"it cannot be read ({error.strerror})")
    # Four bytes of attributes, then the value [UEFI 2.10, 3.3].
    if len(value) == 5 and value[4] == 1:
        return on(Control.SECURE_BOOT)
    return off(Control.SECURE_BOOT, "the firmware says that it is off")


def _lockdown(root: Path) -> Finding:
    text = _read(root / "sys/kernel/security/lockdown")
    chosen = text.partition("[")[2].partition("]")[0]
    match chosen:
        case "confidentiality":
            return on(Control.LOCKDOWN)
        case "integrity":
            return off(Control.LOCKDOWN, "it is at `integrity`, which lets root read kernel memory")
        case "none":
            return off(Control.LOCKDOWN, "the kernel was started without it")
        case _:
            return unavailable(Control.LOCKDOWN, "the kernel does not show it here")


def _yama(root: Path) -> Finding:
    scope = _read(root / "proc/sys/kernel/yama/ptrace_scope")
    if not scope.isdigit():
        return unavailable(Control.YAMA, "the kernel does not have it")
    return on(Control.YAMA, f"scope {scope}") if int(scope) else off(Control.YAMA, "ptrace_scope is 0")


def _swap(root: Path) -> Finding:
    lines = _read(root / "proc/swaps").splitlines()
    if not lines:
        return unavailable(Control.NO_SWAP, "/proc/swaps cannot be read")
    devices = [line.split()[0] for line in lines[1:] if line.split()]
    if not devices:
        return on(Control.NO_SWAP)
    if all(device.startswith("/dev/zram") for device in devices):
        return on(Control.NO_SWAP, "swap is compressed memory (zram)")
    return off(Control.NO_SWAP, "memory can be written to a swap device; whether that is encrypted cannot be seen")


def _core_handler(root: Path) -> Finding:
    pattern = _read(root / "proc/sys/kernel/core_pattern")
    if not pattern:
        return unavailable(Control.NO_CORE_HANDLER, "core_pattern cannot be read")
    if pattern.startswith(("|", "@")):
        return off(Control.NO_CORE_HANDLER, "a program gets the memory of crashed processes; this one gives none")
    return on(Control.NO_CORE_HANDLER)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""

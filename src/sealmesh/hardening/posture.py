"""Posture: which controls are in force around this process, and why the others are not (ATTESTATION.md, Posture).

Frozen data. Every state comes from a look at the system after the control was tried; nothing is assumed. What a host
says of its own posture is self-asserted: a host that lies can say anything.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sealmesh.errors import ConfigError, HardeningError
from sealmesh.limits import STATEMENT_TEXT_MAX


class State(enum.StrEnum):
    """How a control stands. `on` is always the better side: `no_swap: on` means that there is no swap."""

    ON = "on"
    OFF = "off"
    UNAVAILABLE = "unavailable"  # this system has no such thing, or does not let it be seen


class Platform(enum.Flag):
    """Where a control exists."""

    LINUX = enum.auto()
    MACOS = enum.auto()
    BOTH = LINUX | MACOS


class Control(enum.Enum):
    """Every control: (name, where it exists, what it gives, how to get it). Names are stable: policies cite them."""

    CLEAN_ENVIRONMENT = (
        "clean_environment",
        Platform.BOTH,
        "no variable of the environment chooses code that runs in this process",
        "start it as `sealmesh`, without --no-hardening",
    )
    ISOLATED_START = (
        "isolated_start",
        Platform.BOTH,
        "no sitecustomize, .pth file or PYTHONPATH runs code in this process",
        "start it as `sealmesh`, without --no-hardening",
    )
    PRIVATE_PYCACHE = (
        "private_pycache",
        Platform.BOTH,
        "no compiled code is read but the interpreter's own, where root alone can write it",
        "start it as `sealmesh`, without --no-hardening",
    )
    NO_PRELOAD = (
        "no_preload",
        Platform.BOTH,
        "no library was loaded into this process that nothing in it asked for",
        "remove what is named from /etc/ld.so.preload or from the environment that starts the node",
    )
    NOT_TRACED = (
        "not_traced",
        Platform.LINUX,
        "no debugger was attached when the node started",
        "end the debugger, then start the node again",
    )
    NOT_DUMPABLE = (
        "not_dumpable",
        Platform.LINUX,
        "programs of the same user cannot read this process's memory, environment and files",
        "start it without --no-hardening",
    )
    DENY_ATTACH = (
        "deny_attach",
        Platform.MACOS,
        "debuggers of the same user cannot attach",
        "start it without --no-hardening",
    )
    NO_CORE_DUMPS = (
        "no_core_dumps",
        Platform.BOTH,
        "a crash writes no memory to disk",
        "start it without --no-hardening",
    )
    NO_NEW_PRIVS = (
        "no_new_privs",
        Platform.LINUX,
        "neither this process nor a child gains rights by a setuid program",
        "start it without --no-hardening",
    )
    SECCOMP = (
        "seccomp",
        Platform.LINUX,
        "system calls that read other processes, load kernel code or mount file systems are refused to this process",
        "use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64, and a container runtime that allows filters",
    )
    LANDLOCK = (
        "landlock",
        Platform.LINUX,
        "this process can write only to its own folders",
        "use Linux 5.13 or newer with `landlock` among its security modules (lsm= on the kernel's command line)",
    )
    MDWE = (
        "mdwe",
        Platform.LINUX,
        "memory that was writable cannot become code",
        "use Linux 6.3 or newer, and no GPU library in this process",
    )
    KEY_MEMORY = (
        "key_memory",
        Platform.BOTH,
        "inference keys stay out of swap and core dumps",
        "raise the limit on locked memory (ulimit -l, or LimitMEMLOCK= of the service)",
    )
    NO_SWAP = (
        "no_swap",
        Platform.LINUX,
        "no prompt is written to a swap device",
        "turn swap off (swapoff -a) or encrypt it",
    )
    NO_CORE_HANDLER = (
        "no_core_handler",
        Platform.LINUX,
        "the system gives no program the memory of crashed processes",
        "set kernel.core_pattern to a plain file name (sysctl)",
    )
    YAMA = (
        "yama",
        Platform.LINUX,
        "programs of one user cannot trace each other, whatever they ask for",
        "sysctl kernel.yama.ptrace_scope=1, or higher",
    )
    LOCKDOWN = (
        "lockdown",
        Platform.LINUX,
        "the kernel keeps even root from changing kernel code and reading kernel memory",
        "start the kernel with lockdown=confidentiality",
    )
    SECURE_BOOT = (
        "secure_boot",
        Platform.LINUX,
        "the firmware starts only signed boot loaders",
        "turn Secure Boot on in the firmware's settings",
    )
    SIP = (
        "sip",
        Platform.MACOS,
        "System Integrity Protection: root cannot attach to protected programs or change the system",
        "start into recovery and run: csrutil enable",
    )
    RDMA_DISABLED = (
        "rdma_disabled",
        Platform.MACOS,
        "no other machine can reach this one's memory over Thunderbolt",
        "start into recovery and run: rdma_ctl disable",
    )
    FULL_SECURITY = (
        "full_security",
        Platform.MACOS,
        "the machine starts only a system that Apple signed for it",
        "choose Full Security in the Startup Security Utility of recovery",
    )

    @property
    def id(self) -> str:
        """The stable name."""
        return self.value[0]

    @property
    def platform(self) -> Platform:
        """Where it exists."""
        return self.value[1]

    @property
    def gives(self) -> str:
        """What it gives where it is on, in words for people."""
        return self.value[2]

    @property
    def remedy(self) -> str:
        """How to get it, in words for people."""
        return self.value[3]

    @classmethod
    def named(cls, name: str) -> Control:
        """Return the control of a name.

        Raises:
            ValueError: There is none.
        """
        try:
            return _BY_NAME[name]
        except KeyError:
            raise ValueError(f"there is no control {name!r}; there are {', '.join(_BY_NAME)}") from None


_BY_NAME: Final = {control.id: control for control in Control}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one control stands.

    Attributes:
        control: Which one.
        state: How it stands.
        reason: Why it is not on, or what is worth knowing where it is; in our own words, "" for nothing.
    """

    control: Control
    state: State
    reason: str = ""

    @property
    def text(self) -> str:
        """`on`, or `off: why`: printable ASCII that fits into a host statement."""
        text = f"{self.state.value}: {self.reason}" if self.reason else self.state.value
        plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
        return plain[:STATEMENT_TEXT_MAX]


def on(control: Control, reason: str = "") -> Finding:
    """A control that was seen to be in force."""
    return Finding(control=control, state=State.ON, reason=reason)


def off(control: Control, reason: str) -> Finding:
    """A control that is not in force, although this system has it."""
    return Finding(control=control, state=State.OFF, reason=reason)


def unavailable(control: Control, reason: str) -> Finding:
    """A control that this system does not have, or does not let be seen."""
    return Finding(control=control, state=State.UNAVAILABLE, reason=reason)


@dataclass(frozen=True, slots=True)
class Posture:
    """The findings about one process, one for each control at most; a later finding replaces an earlier one."""

    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        latest = {finding.control: finding for finding in self.findings}
        ordered = tuple(latest[control] for control in Control if control in latest)
        object.__setattr__(self, "findings", ordered)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def get(self, control: Control) -> Finding:
        """How a control stands; `unavailable` where nothing was found out."""
        found = next((finding for finding in self.findings if finding.control is control), None)
        return found or unavailable(control, f"a control of {_PLATFORM_NAMES[control.platform]}")

    def merged(self, findings: Iterable[Finding]) -> Posture:
        """This posture with newer findings."""
        return Posture((*self.findings, *findings))

    def texts(self) -> Mapping[str, str]:
        """Name to `on`, `off: why` or `unavailable: why`, as a host statement carries it."""
        return MappingProxyType({finding.control.id: finding.text for finding in self.findings})


_PLATFORM_NAMES: Final = {Platform.LINUX: "Linux", Platform.MACOS: "macOS", Platform.BOTH: "Linux and macOS"}


def state_of(text: str) -> State | None:
    """The state that a text of `Posture.texts` says, perhaps a peer's; None where it says none."""
    word = text.partition(":")[0]
    return next((state for state in State if state.value == word), None)


def named_controls(names: Iterable[str]) -> tuple[Control, ...]:
    """The controls that an operator demands.

    Raises:
        ConfigError: There is no control of such a name.
    """
    try:
        return tuple(dict.fromkeys(Control.named(name.strip()) for name in names))
    except ValueError as error:
        raise ConfigError(f"--require-hardening: {error}") from None


def require_controls(posture: Posture, demanded: Iterable[Control]) -> None:
    """Refuse to go on without controls that the operator demands.

    Raises:
        HardeningError: Names each that is not on, why it is not, and how to get it.
    """
    missing = [posture.get(control) for control in demanded if posture.get(control).state is not State.ON]
    if missing:
        raise HardeningError(
            "; ".join(f"{one.control.id} is {one.text} (to get it: {one.control.remedy})" for one in missing)
        )

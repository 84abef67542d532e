"""What the system's own service managers read: a systemd unit and a launchd property list. Pure: all is in the plan.

Each line that a reader could take away has its reason beside it or in docs/howto/service.md. No secret is ever in them.
"""

from __future__ import annotations

import plistlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "sealmesh"
LABEL: Final = "org.sealmesh.node"
#: Tells the node that nobody reads its words but a log: the ticket is left out of them.
SERVICE_VARIABLE: Final = "SEALMESH_SERVICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to run.

    Attributes:
        interpreter: The Python of the environment that sealmesh is installed in.
        command: `serve` or `client`.
        system: Whether the machine runs it, rather than the user when logged in.
        home: Of the node.
        config: Its configuration file.
        ticket: A private file with the ticket to join with.
        run_as: The user that runs it, on macOS.
        groups: Groups whose devices it uses, as `tss`.
        devices: Those devices.
        reads_home: Whether something that it needs lies under a home folder.
    """

    interpreter: Path
    command: str
    system: bool
    home: Path
    config: Path | None = None
    ticket: Path | None = None
    run_as: str = ""
    groups: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    reads_home: bool = False


def systemd_unit(plan: Plan) -> str:
    """The unit's text."""
    return "\n".join([*_head(plan), *(_system(plan) if plan.system else _user(plan)), *_hardening(plan), *_foot(plan)])


def _words(plan: Plan, home: str, ticket: str, shown: Callable[[Path], str] = str) -> list[str]:
    # -I: nothing of the environment or the working directory chooses what code runs.
    words = [shown(plan.interpreter), "-I", "-m", "sealmesh", plan.command, "--home", home]
    words += ["--config", shown(plan.config)] if plan.config else []
    return words + (["--join-file", ticket] if plan.ticket else [])


def _quoted(words: Sequence[str]) -> str:
    """A command line as systemd reads it."""
    return " ".join(f'"{word}"' if any(letter in word for letter in " \t;'") else word for word in words)


def _plain(path: Path) -> str:
    """A path in which systemd expands nothing."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")


def _head(plan: Plan) -> list[str]:
    ticket = "%d/ticket" if plan.system else (_plain(plan.ticket) if plan.ticket else "")
    home = "%S/sealmesh" if plan.system else _plain(plan.home)
    return [
        "# Written by `sealmesh service install`. It holds no secret.",
        "[Unit]",
        "Description=sealmesh: private inference on pooled machines",
        "After=network-online.target",
        "Wants=network-online.target",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=10",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={_quoted(_words(plan, home, ticket, _plain))}",
        f"Environment={SERVICE_VARIABLE}=1",
        "Restart=on-failure",
        "RestartSec=5",
        "# 2 is a setting that cannot be used: trying again changes nothing.",
        "RestartPreventExitStatus=2",
        "# Running answers are ended within 10 s of the stop.",
        "TimeoutStopSec=30",
        "UMask=0077",
    ]


def _system(plan: Plan) -> list[str]:
    lines = [
        "",
        "# A user of its own that exists only while it runs, and owns nothing but these folders.",
        "DynamicUser=yes",
        "User=sealmesh",
        "StateDirectory=sealmesh",
        "StateDirectoryMode=0700",
        "CacheDirectory=sealmesh",
        "CacheDirectoryMode=0700",
        "Environment=SEALMESH_MODEL_CACHE=%C/sealmesh",
    ]
    if plan.ticket:
        lines.append(
            "# Read by systemd as root and handed over in memory; the node's user cannot read the file itself."
        )
        # A path to its end: no quotes, backslashes or variables are read here.
        escaped = str(plan.ticket).replace("%", "%%")
        lines.append(f"LoadCredential=ticket:{escaped}")
    lines += [
        "",
        "# Devices: the usual harmless ones, and what this machine proves itself with.",
        "DevicePolicy=closed",
        *(f"DeviceAllow={device} rw" for device in plan.devices),
    ]
    if plan.groups:
        lines.append(f"SupplementaryGroups={' '.join(plan.groups)}")
    else:
        lines.append("PrivateUsers=yes")
    lines += [
        "",
        "# What only the machine's own service manager can do.",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if plan.reads_home else 'yes'}",
        "PrivateTmp=yes",
        "PrivateMounts=yes",
        "# Others' processes are not seen. ProcSubset stays `all`: the posture reads /proc/sys and /proc/swaps.",
        "ProtectProc=invisible",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "RemoveIPC=yes",
        "KeyringMode=private",
        "# Addresses of the machine are asked for over netlink.",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    ]
    return lines


def _user(plan: Plan) -> list[str]:
    del plan
    return ["", "# The user's own manager cannot take away what the user may do: the node's own hardening does that."]


def _hardening(plan: Plan) -> list[str]:
    del plan
    return [
        "",
        "NoNewPrivileges=yes",
        "# No core dump: it would hold prompts and keys. Room to keep key memory out of swap.",
        "LimitCORE=0",
        "LimitMEMLOCK=64M",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RestrictNamespaces=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources @obsolete @debug",
        "# Threads of a model are given a priority and a core of their own; memory that is in no dump and no swap.",
        "SystemCallFilter=sched_setaffinity sched_setscheduler sched_setattr setpriority memfd_secret",
        "# What the node takes from itself.",
        "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp setrlimit prlimit64",
        "SystemCallErrorNumber=EPERM",
        "# MemoryDenyWriteExecute is left off: callbacks of the native libraries (libffi) and accelerators' run-time",
        "# compilers write code into memory and run it.",
    ]


def _foot(plan: Plan) -> list[str]:
    return ["", "[Install]", f"WantedBy={'multi-user.target' if plan.system else 'default.target'}", ""]


def launchd_plist(plan: Plan) -> bytes:
    """The property list's bytes."""
    ticket = "" if plan.ticket is None else str(plan.ticket)
    log = str(plan.home / "service.log")
    found: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": _words(plan, str(plan.home), ticket),
        "EnvironmentVariables": {SERVICE_VARIABLE: "1"},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "Umask": 0o077,
        # No core dump: it would hold prompts and keys.
        "HardResourceLimits": {"Core": 0},
        "SoftResourceLimits": {"Core": 0},
        "ProcessType": "Interactive",  # else the model's threads are held back to the slow cores
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    if plan.system:
        found["UserName"] = plan.run_as
    return plistlib.dumps(found, sort_keys=True)

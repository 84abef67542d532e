"""The process that is attacked: hardened exactly as a node is, it holds a marker and waits.

It is a hidden command (`sealmesh victim`), because a node's hardening begins with how its command is started.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from sealmesh.config.settings import Mode, Settings
from sealmesh.hardening.process import harden_process, unhardened_process
from sealmesh.node.confine import confine

COMMAND: Final = "victim"
#: In its environment, as a ticket or a key of an engine may be.
MARKER_VARIABLE: Final = "SEALMESH_DOCTOR_MARKER"
_SET_PTRACER: Final = 0x59616D61  # PR_SET_PTRACER, "Yama"
_ANYBODY: Final = ctypes.c_ulong(-1).value


def run_victim(folder: Path, *, unhardened: bool) -> int:
    """Harden this process as `serve` does, and hold the marker.

    Args:
        folder: Stands for the node's home.
        unhardened: As `serve --no-hardening`; every tracer is welcome then.

    Raises:
        SealmeshError: The folder cannot be used.
    """
    posture = unhardened_process("--no-hardening was given") if unhardened else harden_process()
    settings = Settings(mode=Mode.SERVE, home=folder, backend="echo:", no_hardening=unhardened)
    posture = confine(settings, posture)
    hold_marker(posture.texts(), open_to_tracers=unhardened, orders=sys.stdin, say=sys.stdout)
    return 0


def hold_marker(posture: Mapping[str, str], *, open_to_tracers: bool, orders: IO[str], say: IO[str]) -> None:
    """Hold the marker in memory, in a descriptor and in a variable of a function until stdin ends.

    Each line on stdin is parsed as JSON, as a prompt would be; hostile start-up code may have changed the parser.

    Args:
        posture: What this process says of its hardening.
        open_to_tracers: Ask Yama to let anybody trace this process, so that only the hardening is in the way.
        orders: Where lines come from.
        say: Where `ready` is said.
    """
    marker = os.environ[MARKER_VARIABLE]
    memory = ctypes.create_string_buffer(marker.encode())
    descriptor = _nameless_file(marker.encode())
    if open_to_tracers and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PTRACER, _ANYBODY, 0, 0, 0)
    ready = {
        "event": "ready",
        "pid": os.getpid(),
        "address": ctypes.addressof(memory),
        "descriptor": descriptor,
        "posture": dict(posture),
    }
    print(json.dumps(ready), file=say, flush=True)
    for line in orders:
        with contextlib.suppress(ValueError):
            json.loads(line)
        print(json.dumps({"event": "parsed"}), file=say, flush=True)
    os.close(descriptor)


def _nameless_file(content: bytes) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("marker")
    else:
        path = Path(f"marker-{os.getpid()}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        path.unlink()
    os.write(descriptor, content)
    return descriptor

"""Child processes for tests of hardening: what is put in force is never put on the test run itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

#: Runs after every import: from now on the process is an ordinary user's, also where root runs the tests.
ORDINARY = """
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
    kernel.prctl(kernel.SET_DUMPABLE, 1)  # a change of user takes it away
"""

IMPORTS = """
import errno, json, os, resource, signal, sys, tempfile, threading
from pathlib import Path
import encodings.ascii, encodings.latin_1, ctypes  # before the user changes, who may not read the code
from sealmesh.hardening import environment, kernel, landlock, linux, memory, process, seccomp
from sealmesh.hardening.posture import Control, Posture, State
"""


def run_child(code: str, *, flags: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> Any:
    """Run code in a child and return what it printed, as JSON."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", IMPORTS + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

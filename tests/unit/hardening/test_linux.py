"""What a process puts on itself on Linux, seen from inside and from beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.hardening import IMPORTS, ORDINARY, run_child
from sealmesh.hardening.linux import apply_mdwe, report_linux
from sealmesh.hardening.posture import Control, Posture, State

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's controls")

HARDEN = "posture = process.harden_process()\n"
TELL = "print(json.dumps(dict(posture.texts())))\n"


def test_every_control_says_how_it_stands_and_those_that_need_nothing_are_on() -> None:
    told = run_child(ORDINARY + HARDEN + "posture = process.confine_process(posture, [Path('/tmp')])\n" + TELL)
    here = [control.id for control in Control if control.platform.name in ("LINUX", "BOTH")]
    assert list(told) == here
    for control in ("not_dumpable", "no_core_dumps", "no_new_privs"):
        assert told[control].startswith("on"), told


def test_it_is_put_in_force_once_however_often_it_is_asked_for() -> None:
    code = HARDEN + HARDEN + "print(json.dumps(kernel.status_field('Seccomp_filters')))"
    assert run_child(code) in ("1", "")  # kernels before 5.10 do not say


READ_ME = (
    IMPORTS
    + """
secret = bytes(range(64, 96)) * 4
"""
    + ORDINARY
    + """
if sys.argv[1] == "hardened":
    process.harden_process()
print(os.getpid(), id(secret), flush=True)
sys.stdin.read()
"""
)


@pytest.mark.parametrize("hardened", [True, False])
def test_another_program_of_the_same_user_reads_nothing_of_it(hardened: bool) -> None:
    command = [sys.executable, "-c", READ_ME, "hardened" if hardened else "plain"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "MARKER": "in sight"}
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        pid, address = child.stdout.readline().split()
        attack = f"""
worked = []
for name, what in (("mem", "r+b"), ("environ", "rb"), ("maps", "rb")):
    try:
        with open("/proc/{pid}/" + name, what, buffering=0) as file:
            if name == "mem":
                file.seek({address})
            if file.read(64):
                worked.append(name)
    except OSError:
        pass
try:
    os.listdir("/proc/{pid}/fd")
    worked.append("fd")
except OSError:
    pass
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(64)
class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
mine, theirs = Span(ctypes.addressof(buffer), 64), Span({address}, 64)
if libc.process_vm_readv({pid}, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) == 64:
    worked.append("process_vm_readv")
print(json.dumps(worked))
"""
        worked = run_child(ORDINARY + attack)
        child.stdin.close()
    assert worked == ([] if hardened else ["mem", "environ", "maps", "fd", "process_vm_readv"])


def test_no_core_is_written_and_the_limit_holds_for_children() -> None:
    code = """
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    process.harden_process()
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    _, status = os.waitpid(pid, 0)
    print(json.dumps([os.WCOREDUMP(status), os.WTERMSIG(status) == signal.SIGSEGV, os.listdir(folder)]))
"""
    assert run_child(code) == [False, True, []]


def test_memory_that_is_written_and_run_is_refused_where_no_accelerator_may_need_it() -> None:
    told = run_child("print(json.dumps([linux.apply_mdwe(runs_a_model=False).text, kernel.can_map_writable_code()]))")
    assert told == ["on", False]


def test_a_gpu_turns_that_control_off_for_a_model_in_process_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    found = apply_mdwe(tmp_path, runs_a_model=True)  # nothing is put in force here
    assert found.state is State.OFF
    assert "/dev/nvidiactl" in found.reason


def test_a_debugger_that_is_attached_is_reported() -> None:
    # The child asks its parent to trace it, as a debugger's start does.
    code = """
import ctypes
if ctypes.CDLL(None, use_errno=True).ptrace(0, 0, None, None) != 0:
    raise SystemExit("ptrace is not allowed here")
print(json.dumps([linux.look_at_tracer().text]))
"""
    told = run_child(code)
    assert told[0].startswith("off: process ")
    assert told[0].endswith("traces this one")


# --- reported -----------------------------------------------------------------------------------------------------

FILES = {
    "secure_boot": "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "lockdown": "sys/kernel/security/lockdown",
    "yama": "proc/sys/kernel/yama/ptrace_scope",
    "no_swap": "proc/swaps",
    "no_core_handler": "proc/sys/kernel/core_pattern",
}
_SWAPS = b"Filename\tType\tSize\tUsed\tPriority\n"


@pytest.mark.parametrize(
    ("control", "content", "state"),
    [
        ("secure_boot", b"\x06\x00\x00\x00\x01", State.ON),
        ("secure_boot", b"\x06\x00\x00\x00\x00", State.OFF),
        ("secure_boot", b"\x01", State.OFF),
        ("secure_boot", None, State.UNAVAILABLE),
        ("lockdown", b"none integrity [confidentiality]\n", State.ON),
        ("lockdown", b"none [integrity] confidentiality\n", State.OFF),
        ("lockdown", b"[none] integrity confidentiality\n", State.OFF),
        ("lockdown", None, State.UNAVAILABLE),
        ("yama", b"1\n", State.ON),
        ("yama", b"0\n", State.OFF),
        ("yama", None, State.UNAVAILABLE),
        ("no_swap", _SWAPS, State.ON),
        ("no_swap", _SWAPS + b"/dev/zram0 partition 1 0 5\n", State.ON),
        ("no_swap", _SWAPS + b"/dev/sda2 partition 1 0 5\n", State.OFF),
        ("no_swap", None, State.UNAVAILABLE),
        ("no_core_handler", b"core\n", State.ON),
        ("no_core_handler", b"|/usr/lib/systemd/systemd-coredump %P\n", State.OFF),
        ("no_core_handler", None, State.UNAVAILABLE),
    ],
)
def test_what_the_system_says_of_itself(tmp_path: Path, control: str, content: bytes | None, state: State) -> None:
    if content is not None:
        path = tmp_path / FILES[control]
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    found = Posture(report_linux(tmp_path)).get(Control.named(control))
    assert found.state is state
    assert found.reason or state is State.ON

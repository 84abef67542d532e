"""The filter: which calls it refuses, by an interpreter of its program and by the kernel."""

from __future__ import annotations

import errno
import struct
import sys

import pytest

from kit.hardening import run_child
from sealmesh.hardening.seccomp import MACHINES, REFUSED, build_filter

ALLOWED = 0x7FFF0000
REFUSED_WITH = 0x00050000 | errno.EPERM


def judge(program: bytes, *, architecture: int, number: int) -> int:
    """Run a classic BPF program, as the kernel does, over one call."""
    steps = list(struct.iter_unpack("<HBBI", program))
    data = {0: number, 4: architecture}
    at, value = 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                value = data[operand]
            case 0x15:
                at += yes if value == operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"unknown step {code:#x}")


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_listed_is_refused_and_nothing_else(name: str) -> None:
    machine = MACHINES[name]
    program = build_filter(machine)
    listed = {machine.number(row[0]) for row in REFUSED} - {-1}
    for number in range(600):
        verdict = judge(program, architecture=machine.audit, number=number)
        assert verdict == (REFUSED_WITH if number in listed else ALLOWED), number


def test_calls_under_other_numbers_are_refused_too() -> None:
    machine = MACHINES["x86_64"]
    program = build_filter(machine)
    assert judge(program, architecture=machine.audit, number=0x40000000 | 1) == REFUSED_WITH  # x32
    assert judge(program, architecture=0x40000003, number=1) == REFUSED_WITH  # i386


def test_numbers_are_named_once() -> None:
    for column in (1, 2):
        numbers = [row[column] for row in REFUSED if row[column] >= 0]
        assert len(numbers) == len(set(numbers))
    assert len({row[0] for row in REFUSED}) == len(REFUSED)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's filter")
def test_the_kernel_refuses_them_to_this_process_its_threads_and_its_children() -> None:
    code = """

machine = seccomp.MACHINES[os.uname().machine]
def tried():
    try:
        kernel.syscall(machine.number("process_vm_readv"), os.getpid(), None, 0, None, 0, 0)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
told = [tried()]
started, asked = threading.Event(), threading.Event()
def beside():
    started.set(); asked.wait(); told.append(tried())
thread = threading.Thread(target=beside); thread.start(); started.wait()
linux.apply_no_new_privs()
told.append(seccomp.apply_seccomp().state.value)
told.append(tried())
asked.set(); thread.join()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, tried().encode()); os._exit(0)
told.append(os.read(reader, 20).decode())
print(json.dumps(told))
"""
    assert run_child(code) == ["done", "on", "EPERM", "EPERM", "EPERM"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's filter")
def test_a_filter_that_does_not_hold_is_not_called_on() -> None:
    code = "import platform\nprint(json.dumps(seccomp.look_at_seccomp(seccomp.MACHINES[os.uname().machine]).text))"
    assert run_child(code) == "off: the kernel says mode 0"

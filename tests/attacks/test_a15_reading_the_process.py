"""A15: programs of the same user read the node's process: its memory, its environment, its files, its core.

The attacks are those of `sealmesh doctor`, made for real by processes of their own, and each is seen to work on the
same process without protection. Where root runs the tests, victim and attackers are an ordinary user's.
"""

from __future__ import annotations

import os
import sys

import pytest

from sealmesh.doctor.attackers import ATTACKS

from .conftest import Examined

pytestmark = [
    pytest.mark.process,
    pytest.mark.xdist_group("doctor"),
    pytest.mark.skipif(sys.platform != "linux", reason="these attacks are written for Linux"),
]
NEW_PYTHON = pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="sys.remote_exec is in Python 3.14 and newer")
MARKS = {"gdb": [pytest.mark.debuggers], "gcore": [pytest.mark.debuggers], "remote_exec": [NEW_PYTHON]}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, [])) for name in ATTACKS])
def test_it_is_refused_and_works_without_hardening(name: str, examined: Examined) -> None:
    found = examined.attack(name)
    assert found["unprotected"]["result"] == "worked", found
    assert found["hardened"]["result"] == "refused", found
    assert found["should_hold"]


def test_the_doctor_says_that_all_holds(examined: Examined) -> None:
    assert examined.document["holds"], [one for one in examined.document["attacks"] if one["should_hold"]]
    assert examined.code == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what root can do")
@pytest.mark.parametrize("name", ["ptrace", "proc_mem", "process_vm_readv", "proc_environ", "proc_fd", "pidfd_getfd"])
def test_what_root_can_do_is_said_to_work(name: str, examined: Examined) -> None:
    found = examined.attack(name, "root")
    assert found["hardened"]["result"] == "worked"
    assert not found["should_hold"]

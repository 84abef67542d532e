"""Locked memory: one place, overwritten on wipe."""

import ctypes
import os
import subprocess
import sys

import pytest
from nacl.bindings import crypto_scalarmult_base

from sealmesh.errors import LocalProtocolError
from sealmesh.hardening.memory import LockedBytes, can_lock_memory, overwrite


def test_bytes_reach_the_library_without_a_copy() -> None:
    scalar = bytes(range(32))
    locked = LockedBytes.copy_of(scalar)
    assert crypto_scalarmult_base(locked.pointer()) == crypto_scalarmult_base(scalar)
    assert len(locked.pointer()) == 32


def test_wipe_overwrites_the_place() -> None:
    locked = LockedBytes.random(32)
    address = locked._address
    assert any(ctypes.string_at(address, 32))
    locked.wipe()
    locked.wipe()
    assert locked.wiped
    assert not any(ctypes.string_at(address, 4096))
    with pytest.raises(LocalProtocolError):
        locked.pointer()


def test_random_bytes_differ_and_are_as_many_as_asked() -> None:
    one, other = LockedBytes.random(256), LockedBytes.random(256)
    assert bytes(one.pointer()) != bytes(other.pointer())
    assert bytes(one.pointer())[128:] != bytes(128)


@pytest.mark.parametrize("length", [0, -1, 4097])
def test_lengths_are_bounded(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        LockedBytes(length)


def test_the_generator_is_asked_for_no_more_than_it_gives() -> None:
    with pytest.raises(LocalProtocolError):
        LockedBytes.random(257)


def test_repr_shows_no_bytes() -> None:
    locked = LockedBytes.copy_of(b"secret")
    assert repr(locked) == "<LockedBytes length=6 held>"
    locked.wipe()
    assert repr(locked) == "<LockedBytes length=6 wiped>"


def test_overwrite_a_library_buffer() -> None:
    import cffi

    ffi = cffi.FFI()
    buffer = ffi.new("unsigned char[]", b"secret")
    overwrite(buffer)
    assert not any(bytes(buffer))


_WITHOUT_ROOM = """
import os, resource
from sealmesh.hardening.memory import can_lock_memory  # before the user changes, who may not read the code
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.getuid() == 0:
    os.setuid(65534)  # root may lock whatever the limit says
print(can_lock_memory())
"""


def test_whether_memory_can_be_locked_is_tried() -> None:
    page = LockedBytes(32)
    assert can_lock_memory() is page.locked
    page.wipe()


def test_where_nothing_can_be_locked_it_says_so() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_ROOM],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "False", run.stderr

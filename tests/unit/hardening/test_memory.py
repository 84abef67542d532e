"""Locked memory: one place, overwritten on wipe."""

import ctypes
import sys

import pytest
from nacl.bindings import crypto_scalarmult_base

from kit.hardening import ORDINARY, run_child
from sealmesh.errors import LocalProtocolError
from sealmesh.hardening.memory import LockedBytes, overwrite
from sealmesh.hardening.posture import State
from sealmesh.hardening.process import look_at_key_memory


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


def test_keys_stay_with_the_process_that_made_them() -> None:
    code = """
key = memory.LockedBytes.copy_of(b"k" * 32)
pid = os.fork()
if pid == 0:
    try:
        key.pointer()
    except Exception as error:
        sys.stdout.write(json.dumps(str(error))); sys.stdout.flush()
    key.wipe()
    del key
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert bytes(key.pointer()) == b"k" * 32
"""
    assert run_child(code) == run_child("memory.hide_key_pages()" + code) == "the key belongs to another process"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("hide", ["", "memory.hide_key_pages()\n"])
def test_where_nothing_can_be_locked_it_says_so_and_the_key_works(hide: str) -> None:
    code = """
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
key = memory.LockedBytes.copy_of(b"k" * 32)
print(json.dumps([process.look_at_key_memory().state.value, key.locked, key.hidden, bytes(key.pointer()) == b"k" * 32]))
"""
    # Root may lock whatever the limit says.
    assert run_child(ORDINARY + hide + code) == ["off", False, False, True]


def test_whether_memory_can_be_locked_is_tried() -> None:
    page = LockedBytes(32)
    assert (look_at_key_memory().state is State.ON) is page.locked
    page.wipe()


HIDDEN = """
memory.hide_key_pages()
key = memory.LockedBytes.random(32)
def from_outside(address):
    with open("/proc/self/mem", "rb", buffering=0) as file:
        file.seek(address)
        try:
            return file.read(32).hex()
        except OSError:
            return "refused"
plain = ctypes.create_string_buffer(b"p" * 32, 32)
kernel_has_it = memory._LIBC.syscall(447, os.O_CLOEXEC) >= 0
used, seen = bytes(key.pointer()).hex(), from_outside(key._address)
held = from_outside(ctypes.addressof(plain)) == (b"p" * 32).hex()
key.wipe()
print(json.dumps([kernel_has_it, key.hidden, key.locked, held, len(set(used)) > 4, seen == used, seen]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's memfd_secret")
def test_a_hidden_key_is_used_and_read_by_nobody_through_proc() -> None:
    has, hidden, locked, held, used, in_sight, seen = run_child(HIDDEN)
    assert (held, used) == (True, True)
    if has:  # a kernel of 5.14 or newer that was not told to do without
        assert (hidden, locked, in_sight, seen) == (True, True, False, "refused")
    else:
        assert (hidden, in_sight) == (False, True)

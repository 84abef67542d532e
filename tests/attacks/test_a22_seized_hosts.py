"""A22: after rotation and its grace the host's whole state is seized. Recorded traffic stays closed.

The seized host is a process of its own, whose memory is read from outside, page by page, and searched for the key that
opened the recorded request.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from kit.sealed import NOT_AFTER, NOW, Pair, feed_host
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import EPOCH_GRACE_S
from sealmesh.sealed.exchange import EndEvent, Opened
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import HostKey, Suite, make_context, make_prefix

suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)
MASK = 0xA5

# What the seized process runs: a host that opens a request, then rotates. It tells its key only masked, one number at a
# time, so that telling leaves no copy.
HOST = """
import sys
sys.path.insert(0, sys.argv[1])
from kit.sealed import NOT_AFTER, NOW, Pair
from sealmesh.limits import EPOCH_GRACE_S
from sealmesh.sealed.keyring import EpochKeys
from sealmesh.sealed.suites import HostKey, Suite
pair = Pair()
(key,) = pair.epoch.keys
pointer = key._box.pointer()
print(*(pointer[i] ^ {mask} for i in range(32)), flush=True)
del pointer
pair.host.receive_untrusted(b"".join(pair.request()), NOW)
pair.response()
sys.stdin.readline()
following = EpochKeys(
    keys=(HostKey.generate(Suite.X25519),), epoch_digest=bytes(32), not_before=NOT_AFTER, not_after=NOT_AFTER + 300
)
pair.ring.add(following)
pair.ring.expire(NOT_AFTER + {grace})
print("rotated", flush=True)
sys.stdin.readline()
"""


def _occurrences(pid: int, needle: bytes) -> int:
    """Count where bytes lie in the memory of a child process."""
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_ = line.split()
            if "r" not in permissions or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                found += memory.read(end - start).count(needle)
            except OSError:
                continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's memory through /proc")
def test_a22_the_key_is_nowhere_in_the_memory_of_a_seized_host() -> None:
    script = HOST.format(mask=MASK, grace=EPOCH_GRACE_S)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        key = bytes(int(number) ^ MASK for number in child.stdout.readline().split())
        assert len(key) == 32
        try:
            held = _occurrences(child.pid, key)
        except PermissionError:
            child.stdin.write("\n\n")
            pytest.skip("this system does not let a parent read its child's memory")
        # The control: while the key is held it is found, once, in its locked page and in no copy.
        assert held == 1
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "rotated\n"
        assert _occurrences(child.pid, key) == 0
        child.stdin.write("\n")


@suites
def test_a22_everything_a_rotated_host_holds_opens_nothing(suite: Suite) -> None:
    pair = Pair(suite=suite)
    recorded = b"".join(pair.request())
    assert feed_host(pair.host, [recorded]).has(EndEvent)
    key = pair.epoch.keys[0]
    context = make_context(make_prefix(suite, key.public), pair.verified.endpoint_id, pair.epoch.epoch_digest)
    encapsulation = recorded[13 : 13 + int.from_bytes(recorded[11:13], "big")]
    assert key.open_untrusted(encapsulation, context)  # the control: before, whoever took the key could open it
    pair.ring.expire(NOT_AFTER + EPOCH_GRACE_S)
    with pytest.raises(RemoteProtocolError):
        key.open_untrusted(encapsulation, context)
    # Nor through any key object that the process still reaches, put into a ring that would take it.
    reachable = [thing for thing in gc.get_objects() if isinstance(thing, HostKey) and thing.public == key.public]
    assert all(thing.wiped for thing in reachable)
    assert key._hpke is None
    assert key._box is None or key._box.wiped
    for now in (NOW, NOT_AFTER, NOT_AFTER + EPOCH_GRACE_S):
        assert not feed_host(pair.new_host(), [recorded], now=now).has(Opened)


@suites
def test_a22_a_host_that_nobody_asks_wipes_too(suite: Suite) -> None:
    pair = Pair(suite=suite)
    pair.ring.expire(NOT_AFTER + EPOCH_GRACE_S)
    assert pair.epoch.keys[0].wiped


@suites
def test_a22_a_finished_exchange_keeps_no_stream_key(suite: Suite) -> None:
    pair = Pair(suite=suite)
    pair.answered()
    streams = (pair.host._sealing, pair.host._opening, pair.client._sealing)
    for stream in streams:
        assert stream is not None
        assert not any(bytes(stream._state.statebuf))
    assert pair.host._response_key == b""
    assert pair.host._request_key == b""
    assert pair.host._held is None


def test_a22_an_opened_exchange_holds_no_key_of_the_epoch() -> None:
    """Opening takes the key once, so an answer that takes an hour keeps no key alive."""
    pair = Pair()
    pair.host.receive_untrusted(pair.request()[0], NOW)
    held = [referent for referent in gc.get_referents(pair.host.__dict__) if isinstance(referent, HostKey)]
    assert held == []
    assert pair.host._held is None
    assert isinstance(pair.host._keyring, KeyRing)

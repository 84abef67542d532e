"""A22: after rotation and its grace the host's whole state is seized. Recorded traffic stays closed.

The seized host is a process of its own, whose memory is read from outside, page by page, and searched for the key that
opened the recorded request.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from nacl.bindings import crypto_scalarmult_base

from kit.process_memory import find_secret, occurrences
from kit.sealed import NOT_AFTER, NOW, Pair, feed_host
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import EPOCH_GRACE_S
from sealmesh.sealed.exchange import EndEvent, Opened
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import HostKey, Suite, make_context, make_prefix

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads another process's memory through /proc")
suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)
MASK = 0xA5

TELL_MASKED = f"""
pointer = key._box.pointer()
print(*(pointer[i] ^ {MASK} for i in range(32)), flush=True)
del pointer
"""
TELL_PUBLIC = "print(key.public.hex(), flush=True)"

# What the seized process runs. It tells its key only masked, one number at a time, so that telling leaves no copy; or,
# where the library gives none out, only the public key, by which the parent finds the private one. It stops wherever
# its memory is to be read: when the key was made, when it was used, and when it was rotated out.
HOST = """
import sys
sys.path.insert(0, sys.argv[1])
from kit.sealed import ENDPOINT_ID, EPOCH_DIGEST, NOT_AFTER, NOT_BEFORE, NOW, Randomness, make_host
from sealmesh.sealed.exchange import ClientExchange, HostExchange, RequestHead, ResponseHead, Trailer
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.suites import HostKey, Suite, make_context, make_prefix, seal_secret
from sealmesh.wire.operations import Operation

def stop(word):
    print(word, flush=True)
    sys.stdin.readline()

key = HostKey.generate(Suite.{suite})
{tell}
stop("made")
context = make_context(make_prefix(key.suite, key.public), ENDPOINT_ID, EPOCH_DIGEST)
_, encapsulation = seal_secret(key.suite, key.public, context, Randomness())
key.open_untrusted(encapsulation, context)
stop("used")
epoch = EpochKeys(keys=(key,), epoch_digest=EPOCH_DIGEST, not_before=NOT_BEFORE, not_after=NOT_AFTER)
ring = KeyRing()
ring.add(epoch)
client = ClientExchange(make_host(epoch), suite=key.suite, now=NOW, random=Randomness())
host = HostExchange(ring, endpoint_id=ENDPOINT_ID, random=Randomness())
request = client.send_head(RequestHead(operation=Operation.COMPLETIONS)) + client.send_body(b"x") + client.finish()
host.receive_untrusted(request, NOW)
host.send_head(ResponseHead(status=200)) + host.finish(Trailer())
stop("answered")
following = HostKey.generate(key.suite)
ring.add(EpochKeys(keys=(following,), epoch_digest=bytes(32), not_before=NOT_AFTER, not_after=NOT_AFTER + 300))
ring.expire(NOT_AFTER + {grace})
stop("rotated")
"""


def _search(suite: Suite, tell: str, keys_of: Callable[[int, str], list[bytes]]) -> list[dict[str, int]]:
    """Start a host, and count each of its private keys at every stop.

    Args:
        suite: Of the host's key.
        tell: How the child tells its key.
        keys_of: Finds the private keys, by process id and what was told, when the key was just made.
    """
    script = HOST.format(suite=suite.name, tell=tell, grace=EPOCH_GRACE_S)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = child.stdout.readline()
        keys: list[bytes] = []
        found: list[dict[str, int]] = []
        for word in ("made", "used", "answered", "rotated"):
            assert child.stdout.readline() == word + "\n"
            try:
                if word == "made":
                    keys = keys_of(child.pid, told)
                    found = [{} for _ in keys]
                for key, counts in zip(keys, found, strict=True):
                    counts[word] = occurrences(child.pid, key)
            except PermissionError:
                child.kill()
                pytest.skip("this system does not let a parent read its child's memory")
            child.stdin.write("\n")
            child.stdin.flush()
    return found


#: While a key is held it is found, which is the control: once, and in no copy anywhere.
ONCE_THEN_NEVER = {"made": 1, "used": 1, "answered": 1, "rotated": 0}


@linux
def test_a22_the_key_is_nowhere_in_the_memory_of_a_seized_host() -> None:
    def unmask(_: int, told: str) -> list[bytes]:
        return [bytes(int(number) ^ MASK for number in told.split())]

    assert _search(Suite.X25519, TELL_MASKED, unmask) == [ONCE_THEN_NEVER]


@linux
def test_a22_nor_are_the_hybrids_two_keys() -> None:
    def find(pid: int, told: str) -> list[bytes]:
        mlkem, x25519 = bytes.fromhex(told)[:-32], bytes.fromhex(told)[-32:]

        def is_seed(piece: bytes) -> bool:
            """Whether ML-KEM's key is made of it (FIPS 203, `d`; `z` plays no part in the public key)."""
            made = MLKEM768PrivateKey.from_seed_bytes(piece + bytes(32))
            return made.public_key().public_bytes_raw() == mlkem

        def is_scalar(piece: bytes) -> bool:
            return crypto_scalarmult_base(piece) == x25519

        keys = [find_secret(pid, is_seed), find_secret(pid, is_scalar)]
        return [key for key in keys if key is not None]

    assert _search(Suite.XWING, TELL_PUBLIC, find) == [ONCE_THEN_NEVER] * 2


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

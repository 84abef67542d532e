"""A03: a recorded request is replayed to the host, in and after its epoch."""

from __future__ import annotations

import pytest

from kit.sealed import HEAD, NOT_AFTER, NOT_BEFORE, NOW, Pair, Randomness, feed_host, make_epoch
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import EPOCH_GRACE_S
from sealmesh.sealed.exchange import ClientExchange, EndEvent, HostExchange, Opened, Refusal, encode_refusal
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import Suite

suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)


def _replay(pair: Pair, recorded: bytes, now: float) -> tuple[HostExchange, bool]:
    host = pair.new_host()
    outcome = feed_host(host, [recorded], now=now)
    return host, outcome.has(Opened) or host.opened


@suites
@pytest.mark.parametrize("now", [NOW, NOW + 1, NOT_AFTER - 1, NOT_AFTER + EPOCH_GRACE_S - 1])
def test_a03_replay_while_the_key_is_held(suite: Suite, now: float) -> None:
    pair = Pair(suite=suite)
    recorded = b"".join(pair.request())
    assert feed_host(pair.host, [recorded]).has(EndEvent)
    for _ in range(3):
        host, opened = _replay(pair, recorded, now)
        assert not opened
        assert host.refusal == encode_refusal(Refusal.REPLAYED)


@suites
def test_a03_replay_after_the_key_was_wiped(suite: Suite) -> None:
    pair = Pair(suite=suite)
    recorded = b"".join(pair.request())
    feed_host(pair.host, [recorded])
    for now in (NOT_AFTER + EPOCH_GRACE_S, NOT_AFTER + 1e6, NOT_BEFORE):  # the last: a clock that was put back
        host, opened = _replay(pair, recorded, now)
        assert not opened
        assert host.refusal == encode_refusal(Refusal.UNKNOWN_KEY)


def test_a03_replay_to_a_host_that_was_started_again() -> None:
    pair = Pair()
    recorded = b"".join(pair.request())
    feed_host(pair.host, [recorded])
    pair.ring = KeyRing()
    pair.ring.add(make_epoch())
    host, opened = _replay(pair, recorded, NOW)
    assert not opened
    assert host.refusal == encode_refusal(Refusal.UNKNOWN_KEY)


def test_a03_only_the_head_is_replayed() -> None:
    pair = Pair()
    frames = pair.request()
    feed_host(pair.host, frames)
    host, opened = _replay(pair, frames[0], NOW)
    assert not opened
    assert host.refusal == encode_refusal(Refusal.REPLAYED)


def test_a03_replay_while_the_first_one_runs() -> None:
    pair = Pair()
    frames = pair.request()
    pair.host.receive_untrusted(frames[0], NOW)
    host, opened = _replay(pair, b"".join(frames), NOW)
    assert not opened
    assert host.refusal == encode_refusal(Refusal.REPLAYED)
    assert pair.host.receive_untrusted(b"".join(frames[1:]), NOW)[-1].__class__ is EndEvent


def test_a03_two_at_once_of_which_one_authenticates_first() -> None:
    """Both have the secret before either shows its HEAD; looking up and keeping are one step."""
    pair = Pair()
    request = b"".join(pair.request())
    one, other = pair.new_host(), pair.new_host()
    for host in (one, other):
        assert host.receive_untrusted(request[:150], NOW) == []
    assert one.receive_untrusted(request[150:], NOW)
    with pytest.raises(RemoteProtocolError) as caught:
        other.receive_untrusted(request[150:], NOW)
    assert caught.value.code == Refusal.REPLAYED


def test_a03_opened_before_the_wipe_and_shown_after_it() -> None:
    """With the key the tags go; a HEAD that comes then cannot be told from its replay."""
    pair = Pair()
    request = b"".join(pair.request())
    hosts = [pair.new_host() for _ in range(2)]
    for host in hosts:
        host.receive_untrusted(request[:150], NOW)
    pair.ring.expire(NOT_AFTER + EPOCH_GRACE_S)
    for host in hosts:
        with pytest.raises(RemoteProtocolError):
            host.receive_untrusted(request[150:], NOT_AFTER + EPOCH_GRACE_S)
        assert host.refusal == encode_refusal(Refusal.UNKNOWN_KEY)


def test_a03_encapsulation_changed_without_changing_what_it_carries() -> None:
    """X25519 ignores the top bit of a public key, so these are other bytes of the same secret."""
    pair = Pair()
    recorded = bytearray(b"".join(pair.request()))
    feed_host(pair.host, [bytes(recorded)])
    recorded[13 + 31] ^= 0x80
    host, opened = _replay(pair, bytes(recorded), NOW)
    assert not opened
    assert host.refusal is not None


def test_a03_a_secret_used_twice_is_a_replay_whatever_carries_it() -> None:
    """The tag is of the secret: a client that seals one secret twice is refused the second time."""
    pair = Pair()
    secret = Randomness(b"secret")(32)

    class OneSecret:
        """Gives the same secret first, then other randomness."""

        def __init__(self, seed: bytes) -> None:
            self._first, self._rest = True, Randomness(seed)

        def __call__(self, length: int) -> bytes:
            first, self._first = self._first, False
            return secret if first else self._rest(length)

    requests = []
    for seed in (b"1", b"2"):
        client = ClientExchange(pair.verified, suite=Suite.X25519, now=NOW, random=OneSecret(seed))
        requests.append(client.send_head(HEAD) + client.finish())
    assert requests[0][13:117] != requests[1][13:117]
    assert feed_host(pair.new_host(), [requests[0]]).has(EndEvent)
    host, opened = _replay(pair, requests[1], NOW)
    assert not opened
    assert host.refusal == encode_refusal(Refusal.REPLAYED)


def test_a03_filling_the_tags_makes_no_room_for_a_replay() -> None:
    pair = Pair()
    pair.ring = KeyRing(tags_max=3)
    pair.ring.add(pair.epoch)
    recorded = []
    for _ in range(3):
        client = pair.new_client()
        recorded.append(client.send_head(HEAD) + client.finish())
        assert feed_host(pair.new_host(), [recorded[-1]]).has(EndEvent)
    for _ in range(5):
        client = pair.new_client()
        host, opened = _replay(pair, client.send_head(HEAD) + client.finish(), NOW)
        assert not opened
        assert host.refusal == encode_refusal(Refusal.BUSY)
    for request in recorded:
        host, opened = _replay(pair, request, NOW)
        assert not opened
        assert host.refusal == encode_refusal(Refusal.REPLAYED)


def test_a03_pings_before_the_head_change_nothing() -> None:
    pair = Pair()
    client = pair.client
    recorded = client.send_ping() + client.send_head(HEAD) + client.finish()
    assert feed_host(pair.host, [recorded]).has(EndEvent)
    host, opened = _replay(pair, recorded, NOW)
    assert not opened
    assert host.refusal == encode_refusal(Refusal.REPLAYED)
    assert encode_frame(Kind.PING, b"") not in recorded

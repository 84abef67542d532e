"""A10: downgrade of suite or version, to plaintext, or by "it did not open, so try plain"."""

from __future__ import annotations

import inspect
import itertools

import pytest

from kit.sealed import BODIES, HEAD, NOW, Pair, Randomness, feed_client, feed_host, make_epoch, make_host
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.sealed.exchange import ClientExchange, HostExchange, Opened, Refusal, RefusedEvent, encode_refusal
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import SUITE_ENCAPSULATION_LENGTH, Suite, best_suite, make_prefix


def test_a10_the_weaker_suite_is_not_sealed_with_where_the_better_one_is_offered() -> None:
    host = make_host(make_epoch(*Suite))
    with pytest.raises(VerificationError):
        ClientExchange(host, suite=Suite.X25519, now=NOW, random=Randomness())
    assert ClientExchange(host, suite=Suite.XWING, now=NOW, random=Randomness()).suite is Suite.XWING


def test_a10_the_weaker_suite_is_not_used_once_the_better_one_was_seen() -> None:
    with pytest.raises(VerificationError):
        best_suite({Suite.X25519: bytes(32)}, floor=Suite.XWING)


@pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)
def test_a10_suite_and_version_bytes_rewritten_on_the_way(suite: Suite) -> None:
    epoch = make_epoch(*Suite)
    ring = KeyRing()
    ring.add(epoch)
    host = make_host(epoch, keys={suite: epoch.public[suite]})
    client = ClientExchange(host, suite=suite, now=NOW, random=Randomness())
    request = client.send_head(HEAD) + client.finish()
    for place, byte in itertools.product((1, 2), range(256)):
        if request[place] == byte:
            continue
        changed = request[:place] + bytes([byte]) + request[place + 1 :]
        end = HostExchange(ring, endpoint_id=host.endpoint_id, random=Randomness())
        outcome = feed_host(end, [changed])
        assert outcome.error is not None
        assert not outcome.has(Opened)


def test_a10_a_whole_prefix_rewritten_for_the_other_suite() -> None:
    """With a right key id and length for suite 1, the bytes of suite 2 still do not open."""
    epoch = make_epoch(*Suite)
    ring = KeyRing()
    ring.add(epoch)
    host = make_host(epoch)
    client = ClientExchange(host, suite=Suite.XWING, now=NOW, random=Randomness())
    request = client.send_head(HEAD)
    rewritten = make_prefix(Suite.X25519, epoch.public[Suite.X25519]) + request[13:]
    end = HostExchange(ring, endpoint_id=host.endpoint_id, random=Randomness())
    assert not feed_host(end, [rewritten]).has(Opened)
    assert end.refusal == encode_refusal(Refusal.MALFORMED)
    assert SUITE_ENCAPSULATION_LENGTH[Suite.X25519] < SUITE_ENCAPSULATION_LENGTH[Suite.XWING]


@pytest.mark.parametrize("code", list(Refusal))
def test_a10_a_refused_exchange_can_send_nothing_more(code: Refusal) -> None:
    """Whatever a refusal says, this exchange is over; another try is another sealing to a verified host."""
    client = Pair().client
    first = client.send_head(HEAD)
    assert client.receive_untrusted(encode_refusal(code)) == [RefusedEvent(code=code)]
    for call in (client.send_ping, client.finish, lambda: client.send_head(HEAD), lambda: client.send_body(b"x")):
        with pytest.raises(LocalProtocolError):
            call()
    assert b"/v1/chat/completions" not in first


def test_a10_a_refusal_is_none_once_something_has_opened() -> None:
    pair = Pair()
    frames = pair.answered()
    for place in range(1, len(frames)):
        pair = Pair()
        frames = pair.answered()
        for code in Refusal:
            outcome = feed_client(pair.client, [*frames[:place], encode_refusal(code)])
            assert outcome.error is not None
            assert not outcome.has(RefusedEvent)


def test_a10_nothing_an_end_returns_holds_plaintext() -> None:
    pair = Pair()
    sent = b"".join(pair.request())
    pair.host.receive_untrusted(sent, NOW)
    answer = b"".join(pair.response())
    for secret in (*BODIES, b"secret", b"POST", b"completions"):
        assert secret not in sent
        assert secret not in answer


def test_a10_there_is_no_way_to_ask_for_plaintext() -> None:
    """No switch of either end's constructor turns sealing off."""
    assert set(inspect.signature(ClientExchange).parameters) == {"host", "suite", "now", "random", "kind_sent", "ahead"}
    assert set(inspect.signature(HostExchange).parameters) == {"keyring", "endpoint_id", "random", "kind_read"}


def test_a10_another_version_is_refused_by_both_ends() -> None:
    pair = Pair()
    request = pair.request()
    data = b"".join(request)
    for version in (0, 2, 255):
        host = pair.new_host()
        feed_host(host, [data[:1] + bytes([version]) + data[2:]])
        assert host.refusal == encode_refusal(Refusal.UNSUPPORTED)
    pair.host.receive_untrusted(data, NOW)
    answer = b"".join(pair.response())
    assert feed_client(pair.client, [answer[:1] + b"\x02" + answer[2:]]).error is not None

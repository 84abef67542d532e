"""Both ends alone: illegal calls change nothing, and what is not a verified host is not sealed to."""

import dataclasses
from typing import Any

import pytest

from kit.sealed import ANSWER_HEAD, HEAD, NOT_AFTER, NOT_BEFORE, NOW, TRAILER, Pair, Randomness, make_epoch, make_host
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.limits import CLOCK_SKEW_S, HTTP_BODY_MAX
from sealmesh.sealed.exchange import (
    BodyEvent,
    ClientExchange,
    EndEvent,
    ErrorEvent,
    HostExchange,
    Opened,
    Refusal,
    RefusedEvent,
    SealedError,
    Trailer,
    encode_refusal,
)
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.refusal import parse_refusal_untrusted
from sealmesh.sealed.suites import Suite

ERROR = SealedError(status=500, code="internal", message="")


def test_illegal_calls_of_a_client_change_nothing() -> None:
    pair, same = Pair(), Pair()
    client = pair.client
    for call in (lambda: client.send_body(b"x"), client.finish, lambda: client.send_body(b"")):
        with pytest.raises(LocalProtocolError):
            call()
    frames = [client.send_head(HEAD)]
    with pytest.raises(LocalProtocolError):
        client.send_head(HEAD)
    with pytest.raises(LocalProtocolError):
        client.send_error(dataclasses.replace(ERROR, status=200))
    frames += [client.send_body(b"x"), client.finish()]
    for call in (client.finish, client.send_ping, lambda: client.send_body(b"x"), lambda: client.send_error(ERROR)):
        with pytest.raises(LocalProtocolError):
            call()
    # The bytes are as if nothing had been tried; the host's key and so the first frame differ from pair to pair.
    assert [len(frame) for frame in frames] == [len(same.client.send_head(HEAD)), 27, 26]
    assert pair.host.receive_untrusted(b"".join(frames), NOW)[-1] == EndEvent(trailer=Trailer())


def test_illegal_calls_of_a_host_change_nothing() -> None:
    pair = Pair()
    client, host = pair.client, pair.host
    calls: list[Any] = [
        host.start,
        host.send_ping,
        lambda: host.send_head(ANSWER_HEAD),
        lambda: host.send_body(b"x"),
        lambda: host.finish(TRAILER),
        lambda: host.send_error(ERROR),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    host.receive_untrusted(client.send_head(HEAD), NOW)
    assert host.opened
    for call in calls[2:5]:
        with pytest.raises(LocalProtocolError):
            call()
    client.receive_untrusted(host.start())
    with pytest.raises(LocalProtocolError):
        host.start()
    host.receive_untrusted(client.finish(), NOW)
    with pytest.raises(LocalProtocolError):
        host.send_head(dataclasses.replace(ANSWER_HEAD, status=99))
    answer = host.send_head(ANSWER_HEAD) + host.send_body(b"y") + host.finish(TRAILER)
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    assert client.receive_untrusted(answer)[-2:] == [BodyEvent(data=b"y"), EndEvent(trailer=TRAILER)]


@pytest.mark.parametrize("host", [None, object(), {"keys": {1: bytes(32)}}])
def test_only_a_verified_host_is_sealed_to(host: Any) -> None:
    with pytest.raises(LocalProtocolError, match="verified"):
        ClientExchange(host, suite=Suite.X25519, now=NOW, random=Randomness())


def test_a_lookalike_of_a_verified_host_is_not_sealed_to() -> None:
    real = make_host(make_epoch())

    class Lookalike:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def check_fresh(self, now: float) -> None:
            pass

    with pytest.raises(LocalProtocolError, match="verified"):
        ClientExchange(Lookalike(), suite=Suite.X25519, now=NOW, random=Randomness())  # type: ignore[arg-type]


@pytest.mark.parametrize("now", [NOT_BEFORE - CLOCK_SKEW_S - 1, NOT_AFTER, NOT_AFTER + 1e9])
def test_a_verdict_out_of_its_time_is_not_sealed_to(now: float) -> None:
    with pytest.raises(VerificationError):
        ClientExchange(make_host(make_epoch()), suite=Suite.X25519, now=now, random=Randomness())


def test_a_host_whose_key_the_library_refuses_is_refused() -> None:
    host = make_host(make_epoch(), keys={1: bytes(32)})
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        ClientExchange(host, suite=Suite.X25519, now=NOW, random=Randomness())


def test_the_kind_byte_may_travel_apart() -> None:
    pair = Pair()
    client = ClientExchange(pair.verified, suite=Suite.X25519, now=NOW, random=Randomness(), kind_sent=True)
    host = HostExchange(pair.ring, endpoint_id=pair.verified.endpoint_id, random=Randomness(), kind_read=True)
    data = client.send_head(HEAD)
    assert data[0] == 1
    assert isinstance(host.receive_untrusted(data, NOW)[0], Opened)


@pytest.mark.parametrize("code", list(Refusal))
def test_refusals(code: Refusal) -> None:
    client = Pair().client
    client.send_head(HEAD)
    data = encode_refusal(code)
    assert data == b"\xe0\x01\x00" + bytes([code])
    assert parse_refusal_untrusted(data) is code
    assert client.receive_untrusted(data) == [RefusedEvent(code=code)]
    assert client.ended
    assert not client.complete
    client.receive_eof_untrusted()
    with pytest.raises(LocalProtocolError):
        client.send_body(b"x")
    with pytest.raises(RemoteProtocolError):
        client.receive_untrusted(b"x")


@pytest.mark.parametrize("code", [0, 6, 65536, -1])
def test_there_are_no_other_refusals(code: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_refusal(code)


@pytest.mark.parametrize(
    "data", [b"", b"\xe0\x01\x00", b"\xe0\x01\x00\x01\x00", b"\xe0\x01\x00\x00", b"\xe1\x01\x00\x01"]
)
def test_malformed_refusals(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_refusal_untrusted(data)


def test_a_failed_exchange_stays_failed() -> None:
    pair = Pair()
    with pytest.raises(RemoteProtocolError) as first:
        pair.client.receive_untrusted(b"\x00")
    for call in (lambda: pair.client.receive_untrusted(b""), pair.client.receive_eof_untrusted):
        with pytest.raises(RemoteProtocolError) as again:
            call()
        assert again.value is first.value
    assert pair.client.ended
    with pytest.raises(RemoteProtocolError) as refused:
        pair.host.receive_untrusted(b"\x00" * 13, NOW)
    for call in (lambda: pair.host.receive_untrusted(b"", NOW), pair.host.receive_eof_untrusted):
        with pytest.raises(RemoteProtocolError) as again:
            call()
        assert again.value is refused.value


def test_a_body_longer_than_a_host_takes_is_ours_to_notice() -> None:
    client = Pair().client
    client.send_head(HEAD)
    frames = client.body_frames(bytes(HTTP_BODY_MAX + 1))
    with pytest.raises(LocalProtocolError, match="longer"):
        next(frames)
    assert client.send_body(b"x")


def test_a_running_exchange_outlives_its_epoch() -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    pair.ring.wipe()
    assert isinstance(pair.host.receive_untrusted(pair.client.finish(), NOW + 1e6)[-1], EndEvent)
    answer = pair.host.send_head(ANSWER_HEAD) + pair.host.finish(TRAILER)
    assert pair.client.receive_untrusted(answer)[-1] == EndEvent(trailer=TRAILER)


def test_a_wiped_exchange_does_nothing_more() -> None:
    pair = Pair()
    first = pair.client.send_head(HEAD)
    pair.host.receive_untrusted(first, NOW)
    for end in (pair.client, pair.host):
        end.wipe()
        end.wipe()
        assert end.ended
        with pytest.raises(LocalProtocolError):
            end.send_ping()
    assert not any(bytes(pair.client._sealing._state.statebuf))  # type: ignore[union-attr]


def test_unacceptable_request_is_answered_inside_the_seal() -> None:
    pair = Pair()
    client, host = pair.client, pair.host
    host.receive_untrusted(client.send_head(HEAD), NOW)
    # A client that does not count: its frames are authentic, and one byte too many.
    sealing = client._sealing
    assert sealing is not None
    chunk = encode_frame(Kind.BODY, bytes(1 << 15))
    for _ in range(HTTP_BODY_MAX >> 15):
        host.receive_untrusted(sealing.seal(chunk), NOW)
    assert not host.ended
    with pytest.raises(RemoteProtocolError, match="body_too_large"):
        host.receive_untrusted(sealing.seal(encode_frame(Kind.BODY, b"x")), NOW)
    assert host.refusal is not None
    (event,) = client.receive_untrusted(host.refusal)
    assert isinstance(event, ErrorEvent)
    assert event.error.status == 413


def test_repr_shows_phases_and_no_secret() -> None:
    pair = Pair()
    assert repr(pair.client) == "<ClientExchange request=start response=start>"
    pair.client.send_head(HEAD)
    assert repr(pair.client) == "<ClientExchange request=body response=start>"
    assert repr(BodyEvent(data=b"secret")) == "BodyEvent()"
    assert isinstance(pair.verified, VerifiedHost)


def test_a_ring_without_keys_refuses_all() -> None:
    pair = Pair()
    host = HostExchange(KeyRing(), endpoint_id=pair.verified.endpoint_id, random=Randomness())
    with pytest.raises(RemoteProtocolError) as caught:
        host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    assert caught.value.code == Refusal.UNKNOWN_KEY
    assert host.refusal == encode_refusal(Refusal.UNKNOWN_KEY)

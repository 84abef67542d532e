"""Exchanges that are not sealed: the same table of frames, and the bounds of docs/spec/plain.md."""

from __future__ import annotations

import struct

import pytest

from kit.sealed import ANSWER_HEAD, HEAD, NOW, TRAILER, Randomness, make_epoch, make_host
from sealmesh.attestation.plain import PlainHost, PlainRule, permit_plain
from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.sealed.bare import PREAMBLE, PlainClientExchange, PlainHostExchange
from sealmesh.sealed.clear import BareReader, BareWriter
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    Load,
    Opened,
    PingEvent,
    RefusedEvent,
    SealedError,
)
from sealmesh.sealed.frames import PLAINTEXT_MAX, Kind, encode_frame
from sealmesh.sealed.messages import UnacceptableRequestError
from sealmesh.sealed.refusal import Refusal, encode_refusal

PLAIN: PlainHost = permit_plain(
    bytes(32), PlainRule(allowed=True, demanded="", had_key=lambda _: False), takes_plain=True
)


def ends() -> tuple[PlainClientExchange, PlainHostExchange]:
    return PlainClientExchange(PLAIN, random=Randomness()), PlainHostExchange(random=Randomness())


def framed(kind: int, content: bytes = b"") -> bytes:
    plain = encode_frame(Kind(kind), content)
    return struct.pack(">I", len(plain)) + plain


def request(client: PlainClientExchange) -> bytes:
    return client.send_head(HEAD) + client.send_body(b"a question") + client.finish()


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_what_one_end_says_the_other_hears(step: int) -> None:
    client, host = ends()
    asked = request(client)
    events = [e for i in range(0, len(asked), step) for e in host.receive_untrusted(asked[i : i + step], NOW)]
    assert events[0] == Opened(exchange_id=b"", suite=None)
    assert events[1] == HeadEvent(head=HEAD)
    assert b"".join(event.data for event in events if isinstance(event, BodyEvent)) == b"a question"
    assert isinstance(events[-1], EndEvent)
    load = Load(slots=4, taken=9)
    said = host.send_ping(load) + host.send_head(ANSWER_HEAD) + host.send_body(b"an answer") + host.finish(TRAILER)
    heard = [e for i in range(0, len(said), step) for e in client.receive_untrusted(said[i : i + step])]
    assert heard[0] == PingEvent(load=load)
    assert heard[1] == HeadEvent(head=ANSWER_HEAD)
    assert heard[-1] == EndEvent(trailer=TRAILER)
    assert client.complete
    assert asked[:2] == said[:2] == PREAMBLE
    client.receive_eof_untrusted()


def test_only_a_permitted_plain_host_can_be_asked() -> None:
    """[PL-1]"""
    for other in (make_host(make_epoch()), bytes(32), None):
        with pytest.raises(LocalProtocolError):
            PlainClientExchange(other, random=Randomness())  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        PlainHost(endpoint_id=bytes(32), permit=object())


def test_kind_and_version_are_held_to() -> None:
    """[PL-8]"""
    _, host = ends()
    with pytest.raises(RemoteProtocolError):
        host.receive_untrusted(b"\x04\x02", NOW)
    assert host.refusal == encode_refusal(Refusal.UNSUPPORTED)
    _, host = ends()
    with pytest.raises(RemoteProtocolError):
        host.receive_untrusted(b"\xe1\x01", NOW)
    assert host.refusal == encode_refusal(Refusal.MALFORMED)
    for start in (b"\x04\x02", b"\xe1\x01", b"HTTP"):
        client, _ = ends()
        with pytest.raises(RemoteProtocolError):
            client.receive_untrusted(start)


@pytest.mark.parametrize("length", [0, 4, PLAINTEXT_MAX + 1, 0xFFFFFFFF])
def test_a_frames_length_is_refused_before_the_frame_comes(length: int) -> None:
    """[PL-9]"""
    client, host = ends()
    with pytest.raises(RemoteProtocolError):
        host.receive_untrusted(PREAMBLE + struct.pack(">I", length), NOW)
    with pytest.raises(RemoteProtocolError):
        client.receive_untrusted(PREAMBLE + struct.pack(">I", length))


@pytest.mark.parametrize("last", [framed(Kind.BODY, b"x"), framed(Kind.PING), b"x"])
def test_nothing_follows_the_last_frame(last: bytes) -> None:
    """[PL-10]"""
    for cut in (False, True):
        client, host = ends()
        host.receive_untrusted(request(client), NOW)
        said = host.send_head(ANSWER_HEAD) + host.finish(TRAILER)
        if cut:
            client.receive_untrusted(said)
        with pytest.raises(RemoteProtocolError):
            client.receive_untrusted(last if cut else said + last)
        assert not client.complete


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_an_end_before_the_last_frame_is_a_failure(frames: int) -> None:
    client, host = ends()
    host.receive_untrusted(request(client), NOW)
    said = [host.send_head(ANSWER_HEAD), host.send_body(b"some")]
    client.receive_untrusted(b"".join(said[:frames]))
    with pytest.raises(RemoteProtocolError):
        client.receive_eof_untrusted()


@pytest.mark.parametrize(
    "order",
    [
        [Kind.BODY],
        [Kind.TRAILER],
        [Kind.HEAD, Kind.HEAD],
        [Kind.RECEIPT],
    ],
)
def test_the_order_of_frames_is_the_sealed_ones(order: list[Kind]) -> None:
    client, _ = ends()
    head = client.send_head(HEAD)[2:]
    frames = b"".join(head if kind is Kind.HEAD else framed(kind) for kind in order)
    host = PlainHostExchange(random=Randomness(), kind_read=True)
    with pytest.raises(RemoteProtocolError):
        host.receive_untrusted(PREAMBLE[1:] + frames, NOW)


def test_a_head_that_asks_for_something_else_gets_an_error_and_nothing_is_acted_on() -> None:
    """[PL-10] [EX-32]"""
    client, host = ends()
    bad = b"\x0a\x03GET\x12\x01/"
    with pytest.raises(UnacceptableRequestError):
        host.receive_untrusted(PREAMBLE + framed(Kind.HEAD, bad), NOW)
    assert host.refusal is not None
    client.send_head(HEAD)
    event = client.receive_untrusted(host.refusal)[-1]
    assert isinstance(event, ErrorEvent)
    assert event.error.code == "unknown_operation"


def test_refusals_come_first_or_not_at_all() -> None:
    client, _ = ends()
    assert client.receive_untrusted(encode_refusal(Refusal.BUSY)) == [RefusedEvent(code=Refusal.BUSY)]
    client, host = ends()
    host.receive_untrusted(request(client), NOW)
    client.receive_untrusted(host.send_ping())
    with pytest.raises(RemoteProtocolError):
        client.receive_untrusted(encode_refusal(Refusal.BUSY))


def test_what_is_spent_says_nothing_more() -> None:
    writer, reader = BareWriter(), BareReader()
    writer.seal(encode_frame(Kind.TRAILER, b""), final=True)
    assert reader.open_untrusted(encode_frame(Kind.ERROR, b""))[1]
    with pytest.raises(LocalProtocolError):
        writer.seal(b"")
    with pytest.raises(LocalProtocolError):
        reader.open_untrusted(b"\x02\x00\x00\x00\x00")
    client, host = ends()
    client.wipe()
    with pytest.raises(LocalProtocolError):
        client.send_head(HEAD)
    host.wipe()
    with pytest.raises(LocalProtocolError):
        host.send_error(SealedError(status=500, code="x", message=""))


def test_a_ping_with_anything_else_in_it_is_passed_over() -> None:
    """[EX-63]"""
    client, host = ends()
    host.receive_untrusted(request(client), NOW)
    client.receive_untrusted(host.send_ping())
    for content in (b"", b"x", bytes(3), bytes(5), bytes(1000)):
        assert client.receive_untrusted(framed(Kind.PING, content)) == [PingEvent()]

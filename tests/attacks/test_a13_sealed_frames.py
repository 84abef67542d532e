"""A13, for the sealed exchange: oversized, deeply nested or malformed frames; decompression is never done."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable

import pytest

from kit.sealed import HEAD, NOW, Pair, feed_client, feed_host
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import FRAME_MAX, READ_CHUNK
from sealmesh.sealed.exchange import BodyEvent, EndEvent, PingEvent
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.messages import (
    UnacceptableRequestError,
    parse_error_untrusted,
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
)
from sealmesh.sealed.stream import FrameCutter


@pytest.mark.parametrize("length", [0, 1, 16, FRAME_MAX + 1, 1 << 24, (1 << 32) - 1])
def test_a13_impossible_lengths_are_refused_before_their_bytes_are_held(length: int) -> None:
    pair = Pair()
    start = pair.request()[0][: 13 + 104 + 24]
    with pytest.raises(RemoteProtocolError):
        pair.host.receive_untrusted(start + length.to_bytes(4, "big"), NOW)
    assert pair.host._cutter.held == 0
    pair = Pair()
    answer = pair.answered()[0][:26]
    with pytest.raises(RemoteProtocolError):
        pair.client.receive_untrusted(answer + length.to_bytes(4, "big"))


def test_a13_no_more_is_held_than_one_frame() -> None:
    cutter = FrameCutter()
    most = 0
    data = (FRAME_MAX.to_bytes(4, "big") + bytes(FRAME_MAX)) * 20
    for start in range(0, len(data), READ_CHUNK - 1):
        cutter.feed(data[start : start + READ_CHUNK - 1])
        while cutter.next_frame_untrusted() is not None:
            pass
        most = max(most, cutter.held)
    assert most < 4 + FRAME_MAX


def test_a13_a_prefix_alone_decides() -> None:
    """A stranger who announces 65,535 bytes of encapsulation is refused after 13."""
    host = Pair().host
    with pytest.raises(RemoteProtocolError):
        host.receive_untrusted(b"\xe1\x01\x01" + bytes(8) + b"\xff\xff", NOW)


def test_a13_one_byte_at_a_time_costs_no_more_than_linear() -> None:
    def feed(size: int) -> float:
        data = bytes(size)
        cutter = FrameCutter()
        started = time.process_time()
        for i in range(size):
            cutter.feed(data[i : i + 1])
        took = time.process_time() - started
        assert cutter.held == size
        return took

    small = min(feed(1 << 14) for _ in range(3))
    large = feed(1 << 19)
    # 32 times the bytes: linear is about 32 times the time, quadratic 1,024 times.
    assert large < 180 * small


def test_a13_a_flood_of_pings_is_one_event_a_read() -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    pings = b"".join(pair.client.send_ping() for _ in range(1000))
    assert pair.host.receive_untrusted(pings, NOW) == [PingEvent()]
    assert pair.host.heard == 1001


def test_a13_empty_bodies_are_no_events() -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    sealing = pair.client._sealing
    assert sealing is not None
    frames = b"".join(sealing.seal(encode_frame(Kind.BODY, b"", padding=8)) for _ in range(1000))
    assert pair.host.receive_untrusted(frames, NOW) == []


PARSERS = [
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
    parse_error_untrusted,
]


@pytest.mark.parametrize("depth", [101, 5000, 8000])
@pytest.mark.parametrize("parse", PARSERS)
def test_a13_deep_nesting_is_our_error_and_no_other(parse: Callable[[bytes], object], depth: int) -> None:
    opened = b"\x7b" * depth  # field 15, start of a group
    for content in (opened, opened + b"\x7c" * min(depth, 2000)):
        with pytest.raises(RemoteProtocolError):
            parse(content)


def test_a13_compressed_content_stays_compressed() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    pair = Pair(bodies=(bomb,), answers=(bomb,))
    outcome = feed_host(pair.host, [b"".join(pair.request())])
    assert [event for event in outcome.events if isinstance(event, BodyEvent)] == [BodyEvent(data=bomb)]
    answer = feed_client(pair.client, pair.response())
    assert answer.body == bomb
    assert answer.has(EndEvent)


def test_a13_a_request_that_says_it_is_compressed_is_refused() -> None:
    header = b"\x0a\x10content-encoding\x12\x04gzip"
    content = b"\x0a\x04POST\x12\x0f/v1/completions\x1a" + bytes([len(header)]) + header
    with pytest.raises(UnacceptableRequestError):
        parse_request_head_untrusted(content)


def test_a13_padding_is_looked_at_to_its_last_byte() -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    sealing = pair.client._sealing
    assert sealing is not None
    plain = bytearray(encode_frame(Kind.BODY, b"x", padding=16384))
    plain[-1] = 1
    outcome = feed_host(pair.host, [sealing.seal(bytes(plain))])
    assert outcome.error is not None
    assert outcome.events == []

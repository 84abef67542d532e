"""A11: a second answer written after the first byte; trailing bytes after FINAL."""

from __future__ import annotations

import pytest
from nacl.bindings import crypto_secretstream_xchacha20poly1305_pull, crypto_secretstream_xchacha20poly1305_push

from kit.sealed import ANSWER_HEAD, ANSWERS, NOW, TRAILER, Pair, Randomness, feed_client, feed_host
from sealmesh.errors import LocalProtocolError
from sealmesh.sealed.exchange import BodyEvent, EndEvent, HeadEvent, ResponseHead
from sealmesh.sealed.frames import Direction, Kind, encode_frame
from sealmesh.sealed.stream import OpeningStream, SealingStream


def _answering() -> tuple[Pair, list[bytes], SealingStream]:
    pair = Pair()
    pair.host.receive_untrusted(b"".join(pair.request()), NOW)
    frames = [pair.host.start(), pair.host.send_head(ANSWER_HEAD), pair.host.send_body(b"first")]
    assert pair.host._sealing is not None
    return pair, frames, pair.host._sealing


def test_a11_a_host_cannot_begin_a_second_answer() -> None:
    pair, _, _ = _answering()
    with pytest.raises(LocalProtocolError):
        pair.host.send_head(ResponseHead(status=500))


def test_a11_a_second_head_sealed_by_a_hostile_host() -> None:
    pair, frames, sealing = _answering()
    second = sealing.seal(encode_frame(Kind.HEAD, b"\x08\xc8\x01"))
    outcome = feed_client(pair.client, [*frames, second, sealing.seal(encode_frame(Kind.BODY, b"second"))])
    assert outcome.error is not None
    assert outcome.body == b"first"
    assert sum(isinstance(event, HeadEvent) for event in outcome.events) == 1


@pytest.mark.parametrize("trailing", [b"\x00", b"\xe1", b"\xe0\x01\x00\x03", bytes(100)])
def test_a11_trailing_bytes_after_final(trailing: bytes) -> None:
    pair = Pair()
    answer = b"".join(pair.answered())
    # In one piece: the end itself is not released either.
    together = feed_client(pair.client, [answer + trailing])
    assert together.error is not None
    assert together.events == []
    assert not pair.client.complete
    # In two pieces: the end was there already, and the failure is reported all the same.
    pair = Pair()
    apart = feed_client(pair.client, [b"".join(pair.answered()), trailing])
    assert apart.error is not None
    assert apart.body == b"".join(ANSWERS)
    assert not pair.client.complete


def test_a11_an_authentic_frame_after_final() -> None:
    """libsodium itself seals and opens on after FINAL; so this is a frame that only the rule refuses."""
    pair, frames, sealing = _answering()
    end, more = _seal_past_final(sealing)
    outcome = feed_client(pair.client, [*frames, end, more])
    assert outcome.error is not None
    assert outcome.body == b"first"
    assert [type(event) for event in outcome.events if isinstance(event, EndEvent | BodyEvent)] == [BodyEvent, EndEvent]


def _seal_past_final(sealing: SealingStream) -> tuple[bytes, bytes]:
    frames = []
    for plain, tag in ((encode_frame(Kind.TRAILER, b""), 3), (encode_frame(Kind.BODY, b"second"), 0)):
        sealed = crypto_secretstream_xchacha20poly1305_push(sealing._state, plain, b"sealmesh/1 response", tag)
        frames.append(len(sealed).to_bytes(4, "big") + sealed)
    return frames[0], frames[1]


def test_a11_the_library_would_take_that_frame() -> None:
    """The control for the test above: without the rule, the second answer opens."""
    key = bytes(32)
    sealing = SealingStream(Direction.RESPONSE, key, Randomness())
    opening = OpeningStream(Direction.RESPONSE, key, sealing.header)
    for frame in _seal_past_final(sealing):
        plain, _ = crypto_secretstream_xchacha20poly1305_pull(opening._state, frame[4:], b"sealmesh/1 response")
    assert plain.endswith(b"second")


def test_a11_bytes_after_a_requests_final() -> None:
    pair = Pair()
    request = b"".join(pair.request())
    outcome = feed_host(pair.host, [request, b"\x00"])
    assert outcome.error is not None
    with pytest.raises(LocalProtocolError):
        pair.host.send_head(ANSWER_HEAD)


def test_a11_nothing_can_be_sealed_after_the_end() -> None:
    pair = Pair()
    pair.answered()
    for call in (pair.host.send_ping, lambda: pair.host.send_body(b"x"), lambda: pair.host.finish(TRAILER)):
        with pytest.raises(LocalProtocolError):
            call()

"""A01: a relay cuts an answer at any byte, with or without a forged end. No cut is ever taken for an end."""

from __future__ import annotations

import pytest

from kit.sealed import ANSWER_HEAD, ANSWERS, NOW, Pair, Randomness, feed_client, feed_host
from sealmesh.sealed.exchange import EndEvent, Trailer
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.stream import SealingStream

LENGTH = len(b"".join(Pair().answered()))


def _forged_ends() -> dict[str, bytes]:
    """Return what somebody without the key can put in place of the rest."""
    other = Pair(random=Randomness(b"other"))
    frames = other.answered()
    trailer = encode_frame(Kind.TRAILER, b"")
    return {
        "nothing": b"",
        "a trailer in clear": (len(trailer)).to_bytes(4, "big") + trailer,
        "a trailer and 17 zeros": (len(trailer) + 17).to_bytes(4, "big") + trailer + bytes(17),
        "an empty frame": (17).to_bytes(4, "big") + bytes(17),
        "the end of another answer": frames[-1],
        "all of another answer": b"".join(frames),
        "a refusal": b"\xe0\x01\x00\x03",
    }


@pytest.mark.parametrize("forged", _forged_ends())
def test_a01_answer_cut_at_every_byte(forged: str) -> None:
    end = _forged_ends()[forged]
    for cut in range(LENGTH):
        if cut == 0 and forged == "a refusal":
            continue  # that is a refusal, which is no answer; A10 looks at what follows from it
        pair = Pair()
        answer = b"".join(pair.answered())[:cut]
        outcome = feed_client(pair.client, [answer, end])
        assert outcome.error is not None, cut
        assert not outcome.has(EndEvent), cut
        assert not pair.client.complete, cut
        assert b"".join(ANSWERS).startswith(outcome.body), cut


def test_a01_request_cut_at_every_byte_is_never_acted_on() -> None:
    pair = Pair()
    request = b"".join(pair.request())
    for cut in range(len(request)):
        if pair.host.opened:
            pair = Pair()
            request = b"".join(pair.request())
        pair.host = pair.new_host()
        outcome = feed_host(pair.host, [request[:cut]])
        assert outcome.error is not None, cut
        assert not outcome.has(EndEvent), cut


def _headed() -> tuple[Pair, list[bytes], SealingStream]:
    """Return an exchange whose answer has begun, its frames so far, and what seals the next."""
    pair = Pair()
    pair.host.receive_untrusted(b"".join(pair.request()), NOW)
    frames = [pair.host.start(), pair.host.send_head(ANSWER_HEAD)]
    assert pair.host._sealing is not None
    return pair, frames, pair.host._sealing


def test_a01_a_trailer_without_final_is_no_end() -> None:
    pair, frames, sealing = _headed()
    outcome = feed_client(pair.client, [*frames, sealing.seal(encode_frame(Kind.TRAILER, b""))])
    assert outcome.error is not None
    assert not outcome.has(EndEvent)


def test_a01_final_where_nothing_ends_is_no_end() -> None:
    pair, frames, sealing = _headed()
    outcome = feed_client(pair.client, [*frames, sealing.seal(encode_frame(Kind.BODY, b"x"), final=True)])
    assert outcome.error is not None
    assert outcome.body == b""
    assert not pair.client.complete


def test_a01_the_whole_answer_is_an_end() -> None:
    """The control: without a cut the same bytes end well."""
    pair = Pair()
    outcome = feed_client(pair.client, pair.answered())
    assert outcome.error is None
    assert outcome.events[-1] == EndEvent(trailer=Trailer(prompt_tokens=7, completion_tokens=11, cached_tokens=3))
    assert outcome.body == b"".join(ANSWERS)

"""A02: a relay drops, repeats, reorders or splices frames, or reflects the request as the answer."""

from __future__ import annotations

import itertools
import random

import pytest

from kit.sealed import ANSWERS, BODIES, NOW, Pair, Randomness, feed_client, feed_host
from sealmesh.sealed.exchange import EndEvent, HeadEvent

START = 26  # 0xE1, version and stream header, before an answer's first frame
OPENING = 13 + 104 + 24  # prefix, encapsulation and stream header, before a request's first frame


def _arrangements(count: int) -> list[tuple[int, ...]]:
    """Return orders of frames that are not the right one: all short ones, and random longer ones."""
    right = tuple(range(count))
    short = [order for length in range(4) for order in itertools.product(range(count), repeat=length)]
    generator = random.Random(2)
    longer = [tuple(generator.choice(right) for _ in range(generator.randint(4, count + 3))) for _ in range(200)] + [
        right[:i] + right[i + 1 :] for i in right
    ]
    return [order for order in short + longer if order != right and order[: len(right)] != right]


def test_a02_answer_frames_in_any_other_arrangement() -> None:
    for order in _arrangements(6):
        pair = Pair()
        frames = pair.answered()
        start, frames[0] = frames[0][:START], frames[0][START:]
        outcome = feed_client(pair.client, [start, *(frames[i] for i in order)])
        assert outcome.error is not None, order
        assert not outcome.has(EndEvent), order
        assert b"".join(ANSWERS).startswith(outcome.body), order


def test_a02_request_frames_in_any_other_arrangement() -> None:
    for order in _arrangements(5):
        pair = Pair()
        frames = pair.request()
        start, frames[0] = frames[0][:OPENING], frames[0][OPENING:]
        outcome = feed_host(pair.host, [start, *(frames[i] for i in order)])
        assert outcome.error is not None, order
        assert not outcome.has(EndEvent), order
        assert b"".join(BODIES).startswith(outcome.body), order


@pytest.mark.parametrize("place", range(6))
def test_a02_frames_of_another_exchange_with_the_same_host(place: int) -> None:
    pair = Pair()
    ours = pair.answered()
    other = Pair(random=Randomness(b"other"))
    other.ring, other.verified = pair.ring, pair.verified
    other.client, other.host = other.new_client(), other.new_host()
    theirs = other.answered()
    outcome = feed_client(pair.client, [*ours[:place], theirs[place], *ours[place + 1 :]])
    assert outcome.error is not None
    assert not outcome.has(EndEvent)


def test_a02_request_reflected_as_the_answer() -> None:
    pair = Pair()
    request = b"".join(pair.request())
    stream = request[13 + 104 :]
    for reflected in (request, b"\xe1\x01" + stream):
        pair = Pair()
        request = b"".join(pair.request())
        outcome = feed_client(pair.client, [reflected])
        assert outcome.error is not None
        assert not outcome.has(HeadEvent)


def test_a02_answer_reflected_as_a_request() -> None:
    pair = Pair()
    first = pair.request()[0]
    pair.host.receive_untrusted(first, NOW)
    answer = pair.host.start()
    # The right beginning of a request, then the answer's stream.
    outcome = feed_host(pair.new_host(), [first[: 13 + 104] + answer[2:]])
    assert outcome.error is not None
    assert outcome.events == []


def test_a02_directions_are_apart_even_under_one_key() -> None:
    """Separate keys keep the directions apart; the additional data does so again, alone."""
    pair = Pair()
    pair.host.receive_untrusted(pair.request()[0], NOW)
    from sealmesh.sealed.frames import Direction, Kind, encode_frame
    from sealmesh.sealed.stream import SealingStream

    key = pair.client._response_key
    sealing = SealingStream(Direction.REQUEST, key, Randomness())
    frame = sealing.seal(encode_frame(Kind.PING, b""))
    outcome = feed_client(pair.client, [b"\xe1\x01" + sealing.header + frame], eof=False)
    assert outcome.error is not None
    assert outcome.events == []

"""Two cores and a link: whole, byte by byte, cut everywhere, dropped, repeated, reordered, spliced, flipped."""

from __future__ import annotations

import itertools

import pytest

from kit.sealed import (
    ANSWER_HEAD,
    ANSWERS,
    BODIES,
    HEAD,
    NOW,
    TRAILER,
    Pair,
    Randomness,
    bytewise,
    feed_client,
    feed_host,
)
from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import FRAME_MAX
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    Opened,
    PingEvent,
    RequestHead,
    SealedError,
    Trailer,
)
from sealmesh.sealed.suites import SUITE_ENCAPSULATION_LENGTH, Suite
from sealmesh.wire.operations import Operation

suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)
SHORT = {"bodies": (b"q",), "answers": (b"a",)}


@suites
def test_whole_exchange(suite: Suite) -> None:
    pair = Pair(suite=suite)
    request = b"".join(pair.request())
    events = pair.host.receive_untrusted(request, NOW)
    assert events == [
        Opened(exchange_id=pair.client.exchange_id, suite=suite),
        HeadEvent(head=HEAD),
        BodyEvent(data=b"".join(BODIES)),
        PingEvent(),
        EndEvent(trailer=Trailer()),
    ]
    pair.host.receive_eof_untrusted()
    answer = b"".join(pair.response())
    assert pair.client.receive_untrusted(answer) == [
        PingEvent(),
        HeadEvent(head=ANSWER_HEAD),
        BodyEvent(data=b"".join(ANSWERS)),
        EndEvent(trailer=TRAILER),
    ]
    pair.client.receive_eof_untrusted()
    assert pair.client.complete
    assert pair.client.ended
    assert pair.host.ended
    assert pair.client.exporter == pair.host.exporter
    assert len(pair.client.exporter) == 32
    assert pair.host.heard == 5
    assert pair.client.heard == 6
    for text in (*BODIES, *ANSWERS, b"/v1/chat"):
        assert text not in request + answer


@suites
def test_byte_by_byte(suite: Suite) -> None:
    pair = Pair(suite=suite)
    outcome = feed_host(pair.host, bytewise(b"".join(pair.request())))
    assert outcome.error is None
    assert outcome.body == b"".join(BODIES)
    answered = feed_client(pair.client, bytewise(b"".join(pair.response())))
    assert answered.error is None
    assert answered.body == b"".join(ANSWERS)
    assert answered.events[-1] == EndEvent(trailer=TRAILER)


@suites
def test_request_cut_at_every_offset(suite: Suite) -> None:
    pair = Pair(suite=suite, **SHORT)
    request = b"".join(pair.request())
    # The encapsulation and the frames are where cuts differ; a few offsets stand for the middle of a long one.
    encapsulation_end = 13 + SUITE_ENCAPSULATION_LENGTH[suite]
    for cut in [*range(20), *range(encapsulation_end - 2, len(request))]:
        outcome = feed_host(Pair(suite=suite).new_host() if cut < 13 else pair.new_host(), [request[:cut]])
        assert outcome.error is not None, cut
        assert not outcome.has(EndEvent), cut
        if outcome.has(Opened):
            # Each opening has used the request up, so the next cut needs a fresh one.
            pair = Pair(suite=suite, **SHORT)
            request = b"".join(pair.request())
    assert feed_host(pair.new_host(), [request]).has(EndEvent)


@suites
def test_response_cut_at_every_offset(suite: Suite) -> None:
    length = len(b"".join(Pair(suite=suite, **SHORT).answered()))
    for cut in range(length):
        pair = Pair(suite=suite, **SHORT)
        answer = b"".join(pair.answered())
        assert len(answer) == length
        outcome = feed_client(pair.client, [answer[:cut]])
        assert outcome.error is not None, cut
        assert not outcome.has(EndEvent), cut
        assert not pair.client.complete
        assert b"a".startswith(outcome.body)  # what was released before the cut is a prefix of the truth


def _variants(frames: list[bytes]) -> dict[str, list[bytes]]:
    """Return every single loss, repetition and swap of frames; the first item stays, as without it nothing opens."""
    first, rest = frames[0], frames[1:]
    changed: dict[str, list[bytes]] = {}
    for i in range(len(rest)):
        changed[f"without {i}"] = [first, *rest[:i], *rest[i + 1 :]]
        changed[f"repeated {i}"] = [first, *rest[: i + 1], rest[i], *rest[i + 1 :]]
    for i, j in itertools.combinations(range(len(rest)), 2):
        swapped = list(rest)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        changed[f"swapped {i} {j}"] = [first, *swapped]
    return changed


VARIANTS_OF_ANSWER = sorted(_variants([b""] * 6))
VARIANTS_OF_REQUEST = sorted(_variants([b""] * 5))


@pytest.mark.parametrize("name", VARIANTS_OF_ANSWER)
def test_response_frames_dropped_repeated_reordered(name: str) -> None:
    pair = Pair()
    frames = _variants(pair.answered())[name]
    outcome = feed_client(pair.client, frames)
    assert outcome.error is not None
    # The last frame repeated shows only after the end was released; everything else never reaches an end.
    assert outcome.has(EndEvent) == (name == "repeated 4")
    assert b"".join(ANSWERS).startswith(outcome.body)
    with pytest.raises(RemoteProtocolError):
        pair.client.receive_untrusted(b"")


@pytest.mark.parametrize("name", VARIANTS_OF_REQUEST)
def test_request_frames_dropped_repeated_reordered(name: str) -> None:
    pair = Pair()
    frames = _variants(pair.request())[name]
    outcome = feed_host(pair.host, [b"".join(frames)])
    assert outcome.error is not None
    assert not outcome.has(EndEvent)
    assert pair.host.refusal is None  # HEAD had authenticated: the stream is reset, nothing is explained
    with pytest.raises(LocalProtocolError):
        pair.host.send_ping()


@pytest.mark.parametrize("place", range(6))
def test_response_frames_spliced_from_another_exchange(place: int) -> None:
    one, other = Pair(), Pair(random=Randomness(b"other"))
    frames, others = one.answered(), other.answered()
    outcome = feed_client(one.client, [*frames[:place], others[place], *frames[place + 1 :]])
    assert outcome.error is not None
    assert not outcome.has(EndEvent)


@pytest.mark.parametrize("place", range(1, 5))
def test_request_frames_spliced_from_another_exchange(place: int) -> None:
    one, other = Pair(), Pair(random=Randomness(b"other"))
    frames, others = one.request(), other.request()
    outcome = feed_host(one.host, [*frames[:place], others[place], *frames[place + 1 :]])
    assert outcome.error is not None
    assert not outcome.has(EndEvent)


def test_request_reflected_as_the_answer() -> None:
    pair = Pair()
    frames = pair.request()
    assert feed_client(pair.client, frames).error is not None
    # Also when the reflected stream is given the right beginning: the same header, then the same frames.
    pair = Pair()
    frames = pair.request()
    stream = b"".join(frames)[13 + 104 :]
    outcome = feed_client(pair.client, [b"\xe1\x01" + stream])
    assert outcome.error is not None
    assert outcome.events == []


def test_every_flipped_bit_of_a_short_answer_is_noticed() -> None:
    length = len(b"".join(Pair(**SHORT).answered()))
    for position in range(length):
        pair = Pair(**SHORT)
        answer = bytearray(b"".join(pair.answered()))
        answer[position] ^= 1 << (position % 8)
        outcome = feed_client(pair.client, [bytes(answer)])
        assert outcome.error is not None, position
        assert not outcome.has(EndEvent), position


def test_every_flipped_bit_of_a_short_request_is_noticed() -> None:
    pair = Pair(**SHORT)
    request = b"".join(pair.request())
    for position in range(len(request)):
        if pair.host.opened:
            pair = Pair(**SHORT)
            request = b"".join(pair.request())
        host = pair.host = pair.new_host()
        changed = bytearray(request)
        changed[position] ^= 1 << (position % 8)
        outcome = feed_host(host, [bytes(changed)])
        assert outcome.error is not None, position
        assert not outcome.has(EndEvent), position


def test_large_bodies_cross_in_frames_within_the_limit() -> None:
    body = bytes(range(256)) * 1024
    pair = Pair(bodies=(body,), answers=(body, b"x"))
    outcome = feed_host(pair.host, [b"".join(pair.request())])
    assert outcome.body == body
    answer = b"".join(pair.response())
    pieces = [answer[i : i + 10_007] for i in range(0, len(answer), 10_007)]
    assert feed_client(pair.client, pieces).body == body + b"x"
    client = pair.new_client()
    client.send_head(HEAD)
    assert [len(frame) <= 4 + FRAME_MAX for frame in client.body_frames(body)] == [True] * 5


def test_answer_frames_are_padded_as_asked() -> None:
    head = RequestHead(operation=Operation.COMPLETIONS, padding=512)
    pair = Pair(head=head, answers=(b"a", b"b" * 511, b"c" * 512, b"d" * 513, b"e" * 100_000))
    frames = pair.answered()
    sizes = [len(frame) - 4 - 17 - 5 for frame in (frames[0][26:], *frames[1:5], frames[-1])]
    assert sizes == [512] * 6
    assert len(frames[5]) - 4 - 17 - 5 == 1024
    assert feed_client(pair.client, frames).body == b"a" + b"b" * 511 + b"c" * 512 + b"d" * 513 + b"e" * 100_000


def test_error_instead_of_an_answer() -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.request()[0], NOW)
    error = SealedError(status=503, code="backend_unavailable", message="The engine is gone.", retry_after_s=7)
    events = pair.client.receive_untrusted(pair.host.send_error(error))
    assert events == [ErrorEvent(error=error)]
    pair.client.receive_eof_untrusted()
    assert pair.client.ended
    assert not pair.client.complete
    assert pair.host.ended
    with pytest.raises(LocalProtocolError):
        pair.client.send_ping()
    # What the client had sent before it read the error is thrown away, as is its end.
    assert pair.host.receive_untrusted(b"whatever", NOW) == []
    pair.host.receive_eof_untrusted()


def test_asker_gives_up() -> None:
    pair = Pair()
    first = pair.client.send_head(HEAD)
    error = SealedError(status=499, code="client_closed", message="")
    events = pair.host.receive_untrusted(first + pair.client.send_error(error), NOW)
    assert events[-1] == ErrorEvent(error=error)
    assert pair.host.ended
    with pytest.raises(LocalProtocolError):
        pair.host.send_ping()
    pair.host.receive_eof_untrusted()


def test_pings_pass_in_every_open_phase() -> None:
    pair = Pair()
    client, host = pair.client, pair.host
    assert host.receive_untrusted(client.send_ping(), NOW) == [PingEvent()]
    assert not host.opened
    host.receive_untrusted(client.send_head(HEAD) + client.send_ping(), NOW)
    assert client.receive_untrusted(host.start() + host.send_ping()) == [PingEvent()]
    host.receive_untrusted(client.send_body(b"x") + client.send_ping() + client.finish(), NOW)
    assert client.receive_untrusted(host.send_ping()) == [PingEvent()]
    answer = host.send_head(ANSWER_HEAD) + host.send_ping() + host.send_body(b"y") + host.send_ping()
    assert len(client.receive_untrusted(answer)) == 4

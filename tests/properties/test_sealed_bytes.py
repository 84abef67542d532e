"""Any bytes give events or the one exception; any content and any cut arrive whole."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.sealed import ANSWER_HEAD, ANSWERS, BODIES, HEAD, NOW, TRAILER, Pair, feed_client, feed_host
from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import PADDING_MAX
from sealmesh.sealed.exchange import EndEvent, ErrorEvent, HeadEvent, RequestHead, ResponseHead, SealedError, Trailer
from sealmesh.sealed.frames import CONTENT_MAX, Kind, Phase, content_room, decode_frame_untrusted, encode_frame
from sealmesh.sealed.messages import (
    encode_error,
    encode_request_head,
    encode_response_head,
    encode_trailer,
    parse_error_untrusted,
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
)
from sealmesh.sealed.stream import FrameCutter
from sealmesh.sealed.suites import Suite, make_prefix
from sealmesh.wire.operations import REQUEST_HEADERS, RESPONSE_HEADERS, Operation

bounded = settings(deadline=None, max_examples=60)
PARSERS = (
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
    parse_error_untrusted,
    decode_frame_untrusted,
)
values = st.from_regex(r"\A[!-~]([ -~]{0,20}[!-~])?\Z")


def headers(names: frozenset[str]) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Return headers as they may travel."""
    return st.dictionaries(st.sampled_from(sorted(names)), values).map(lambda found: tuple(found.items()))


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 1 << 20), max_size=12)


@bounded
@given(pieces=st.lists(st.binary(max_size=300), max_size=6), start=st.sampled_from([b"", b"\xe1\x01", b"\xe0\x01"]))
def test_any_bytes_to_a_client(pieces: list[bytes], start: bytes) -> None:
    client = Pair().client
    client.send_head(HEAD)
    client.finish()
    outcome = feed_client(client, [start, *pieces])
    assert not outcome.has(HeadEvent)
    assert not client.complete


@bounded
@given(pieces=st.lists(st.binary(max_size=300), max_size=6), right=st.integers(0, 2))
def test_any_bytes_to_a_host(pieces: list[bytes], right: int) -> None:
    pair = Pair()
    request = pair.request()[0]
    start = (b"", make_prefix(Suite.X25519, pair.epoch.keys[0].public), request[: 13 + 104 + 24])[right]
    outcome = feed_host(pair.host, [start, *pieces])
    assert outcome.error is not None
    assert outcome.events == []


@bounded
@given(plains=st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=6), of_host=st.booleans())
def test_any_authentic_plaintext(plains: list[tuple[bytes, bool]], of_host: bool) -> None:
    """Whoever holds the keys and seals nonsense gets no further than anyone else."""
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    sealing = pair.host._sealing if of_host else pair.client._sealing
    assert sealing is not None
    start = pair.host._preamble if of_host else b""
    frames = []
    for plain, final in plains:
        frames.append(sealing.seal(plain, final=final))
        if final:
            break
    if of_host:
        pair.client.finish()
        outcome = feed_client(pair.client, [start, *frames])
    else:
        outcome = feed_host(pair.host, frames)
    assert (outcome.error is None) == (outcome.has(EndEvent) or outcome.has(ErrorEvent))


@bounded
@given(content=st.binary(max_size=400))
def test_any_content_to_the_parsers(content: bytes) -> None:
    for parse in PARSERS:
        try:
            parse(content)
        except RemoteProtocolError:
            continue


@bounded
@given(pieces=st.lists(st.binary(max_size=50), max_size=20))
def test_the_cutter_gives_back_what_it_got(pieces: list[bytes]) -> None:
    """Frames out, each with its length, are a prefix of the bytes in."""
    cutter, out = FrameCutter(), b""
    fed = b""
    try:
        for piece in pieces:
            cutter.feed(piece)
            fed += piece
            while (frame := cutter.next_frame_untrusted()) is not None:
                out += len(frame).to_bytes(4, "big") + frame
    except RemoteProtocolError:
        assert fed.startswith(out)
        return
    assert fed.startswith(out)
    assert cutter.held == len(fed) - len(out)


@bounded
@given(bodies=st.lists(st.binary(max_size=2000), max_size=5), padding=st.integers(0, PADDING_MAX), cut=cuts)
def test_any_content_and_any_cut_arrive_whole(bodies: list[bytes], padding: int, cut: list[int]) -> None:
    head = RequestHead(operation=Operation.RESPONSES, padding=padding)
    pair = Pair(head=head, bodies=bodies, answers=bodies)
    asked = feed_host(pair.host, _cut(b"".join(pair.request()), cut))
    assert asked.error is None
    assert asked.body == b"".join(bodies)
    answered = feed_client(pair.client, _cut(b"".join(pair.response()), cut))
    assert answered.error is None
    assert answered.body == b"".join(bodies)
    assert answered.events[-1] == EndEvent(trailer=TRAILER)


@bounded
@given(position=st.integers(0, 1 << 20), change=st.integers(1, 255), cut=cuts)
def test_any_changed_byte_is_noticed(position: int, change: int, cut: list[int]) -> None:
    pair = Pair()
    request = bytearray(b"".join(pair.request()))
    request[position % len(request)] ^= change
    asked = feed_host(pair.host, _cut(bytes(request), cut))
    assert asked.error is not None
    assert not asked.has(EndEvent)
    assert b"".join(BODIES).startswith(asked.body)
    pair = Pair()
    answer = bytearray(b"".join(pair.answered()))
    answer[position % len(answer)] ^= change
    answered = feed_client(pair.client, _cut(bytes(answer), cut))
    assert answered.error is not None
    assert not answered.has(EndEvent)
    assert b"".join(ANSWERS).startswith(answered.body)


@bounded
@given(kind=st.sampled_from(list(Kind)), content=st.binary(max_size=3000), padding=st.integers(0, PADDING_MAX))
def test_frames_come_back(kind: Kind, content: bytes, padding: int) -> None:
    plain = encode_frame(kind, content, padding=padding)
    assert decode_frame_untrusted(plain) == (kind, content)
    assert len(content) <= content_room(padding) <= CONTENT_MAX


@bounded
@given(
    operation=st.sampled_from(list(Operation)),
    found=headers(REQUEST_HEADERS),
    padding=st.integers(0, PADDING_MAX),
    cache_key=st.binary(max_size=32),
)
def test_request_heads_come_back(
    operation: Operation, found: tuple[tuple[str, str], ...], padding: int, cache_key: bytes
) -> None:
    head = RequestHead(operation=operation, headers=found, padding=padding, cache_key=cache_key)
    assert parse_request_head_untrusted(encode_request_head(head)) == head


@bounded
@given(
    head=st.builds(ResponseHead, status=st.integers(200, 599), headers=headers(RESPONSE_HEADERS)),
    trailer=st.builds(
        Trailer,
        prompt_tokens=st.integers(0, 1 << 40),
        completion_tokens=st.integers(0, 1 << 40),
        cached_tokens=st.integers(0, 1 << 40),
    ),
    error=st.builds(
        SealedError,
        status=st.integers(400, 599),
        code=st.from_regex(r"\A[a-z][a-z0-9_]{0,63}\Z"),
        message=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        retry_after_s=st.none() | st.integers(0, 86_400),
    ),
)
def test_answers_come_back(head: ResponseHead, trailer: Trailer, error: SealedError) -> None:
    assert parse_response_head_untrusted(encode_response_head(head)) == head
    assert parse_trailer_untrusted(encode_trailer(trailer)) == trailer
    assert parse_error_untrusted(encode_error(error)) == error


MOVES = ("head", "body", "ping", "finish", "error")


@bounded
@given(calls=st.lists(st.tuples(st.booleans(), st.sampled_from(MOVES)), max_size=12))
def test_any_order_of_calls_keeps_both_ends_in_step(calls: list[tuple[bool, str]]) -> None:
    """What one end may send the other accepts, and what it may not changes nothing."""
    pair = Pair()
    client, host = pair.client, pair.host
    error = SealedError(status=500, code="internal", message="")
    of_client = {
        "head": lambda: client.send_head(HEAD),
        "body": lambda: client.send_body(b"x"),
        "ping": client.send_ping,
        "finish": client.finish,
        "error": lambda: client.send_error(error),
    }
    of_host = {
        "head": lambda: host.send_head(ANSWER_HEAD),
        "body": lambda: host.send_body(b"y"),
        "ping": host.send_ping,
        "finish": lambda: host.finish(TRAILER),
        "error": lambda: host.send_error(error),
    }
    for by_client, move in calls:
        before = repr(client), repr(host)
        try:
            data = (of_client if by_client else of_host)[move]()
        except LocalProtocolError:
            assert (repr(client), repr(host)) == before
            continue
        if by_client:
            host.receive_untrusted(data, NOW)
        else:
            client.receive_untrusted(data)
        assert client._phases == host._phases
        assert Phase.FAILED not in client._phases.values()

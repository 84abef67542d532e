"""Frames: layout, padding, and the table of moves."""

import pytest

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import FRAME_MAX
from sealmesh.sealed.frames import (
    CONTENT_MAX,
    ENDED,
    MOVES,
    PLAINTEXT_MAX,
    Direction,
    Kind,
    Phase,
    content_room,
    decode_frame_untrusted,
    encode_frame,
    next_phase,
)


def test_layout() -> None:
    assert encode_frame(Kind.BODY, b"abc") == b"\x02\x00\x00\x00\x03abc"
    assert encode_frame(Kind.PING, b"", padding=4) == b"\x04\x00\x00\x00\x00" + bytes(4)
    assert encode_frame(Kind.BODY, memoryview(b"abcde"), padding=4) == b"\x02\x00\x00\x00\x05abcde" + bytes(3)
    assert PLAINTEXT_MAX + 17 == FRAME_MAX
    assert CONTENT_MAX + 5 == PLAINTEXT_MAX


@pytest.mark.parametrize("padding", [0, 1, 7, 512, 16384])
@pytest.mark.parametrize("length", [0, 1, 511, 512, 513])
def test_padded_frames_decode(padding: int, length: int) -> None:
    plain = encode_frame(Kind.BODY, b"x" * length, padding=padding)
    kind, content = decode_frame_untrusted(plain)
    assert kind == Kind.BODY
    assert content == b"x" * length
    if padding:
        assert (len(plain) - 5) % padding == 0
        assert len(plain) - 5 >= padding


@pytest.mark.parametrize("padding", [0, 1, 7, 512, 16384])
def test_the_room_of_a_padded_frame_fits(padding: int) -> None:
    room = content_room(padding)
    assert len(encode_frame(Kind.BODY, bytes(room), padding=padding)) <= PLAINTEXT_MAX
    assert room > CONTENT_MAX - max(padding, 1)


def test_too_much_content_is_ours_to_notice() -> None:
    encode_frame(Kind.BODY, bytes(CONTENT_MAX))
    with pytest.raises(LocalProtocolError):
        encode_frame(Kind.BODY, bytes(CONTENT_MAX + 1))


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\x02",
        b"\x02\x00\x00\x00",
        b"\x02\x00\x00\x00\x01",
        b"\x02\xff\xff\xff\xffabc",
        b"\x02\x00\x00\x00\x00\x01",
    ],
)
def test_malformed_frames(plain: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_frame_untrusted(plain)


@pytest.mark.parametrize("position", [0, 1, 500, 998, 999])
def test_padding_of_other_bytes_wherever_they_are(position: int) -> None:
    padding = bytearray(1000)
    padding[position] = 0x80
    with pytest.raises(RemoteProtocolError, match="zeros"):
        decode_frame_untrusted(b"\x02\x00\x00\x00\x01x" + bytes(padding))


def test_the_whole_table() -> None:
    """Spells the table out a second time, so that a change to it is a decision."""
    allowed = {
        (Phase.START, Kind.HEAD, Phase.BODY),
        (Phase.START, Kind.PING, Phase.START),
        (Phase.START, Kind.ERROR, Phase.ABORTED),
        (Phase.BODY, Kind.BODY, Phase.BODY),
        (Phase.BODY, Kind.PING, Phase.BODY),
        (Phase.BODY, Kind.TRAILER, Phase.COMPLETE),
        (Phase.BODY, Kind.ERROR, Phase.ABORTED),
    }
    assert {(phase, kind, after) for (phase, kind), after in MOVES.items()} == allowed
    for phase in ENDED:
        for kind in range(256):
            assert next_phase(Direction.REQUEST, phase, kind, request=phase) is None
    for phase in Phase:
        for kind in (0, *range(6, 256)):
            assert next_phase(Direction.REQUEST, phase, kind, request=phase) is None


@pytest.mark.parametrize("request_phase", list(Phase))
def test_a_response_head_needs_the_whole_request(request_phase: Phase) -> None:
    move = next_phase(Direction.RESPONSE, Phase.START, Kind.HEAD, request=request_phase)
    assert (move is Phase.BODY) == (request_phase is Phase.COMPLETE)
    assert next_phase(Direction.RESPONSE, Phase.START, Kind.PING, request=request_phase) is Phase.START

"""The strict secretstream, and the cutter of frames."""

import pytest
from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)

from kit.sealed import Randomness
from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import FRAME_MAX
from sealmesh.sealed.frames import PLAINTEXT_MAX, Direction
from sealmesh.sealed.stream import FrameCutter, OpeningStream, SealingStream

KEY = bytes(range(32))


def _both(direction: Direction = Direction.REQUEST) -> tuple[SealingStream, OpeningStream]:
    sealing = SealingStream(direction, KEY, Randomness())
    return sealing, OpeningStream(direction, KEY, sealing.header)


def test_frames_open_in_order_and_end() -> None:
    sealing, opening = _both()
    frames = [sealing.seal(b"one"), sealing.seal(b""), sealing.seal(b"three", final=True)]
    assert [opening.open_untrusted(frame[4:]) for frame in frames] == [(b"one", False), (b"", False), (b"three", True)]
    assert [int.from_bytes(frame[:4], "big") for frame in frames] == [20, 17, 22]
    assert sealing.spent
    assert opening.spent
    with pytest.raises(LocalProtocolError):
        sealing.seal(b"more")
    with pytest.raises(LocalProtocolError):
        opening.open_untrusted(frames[0][4:])


def test_it_is_libsodiums_own_stream() -> None:
    """Starts a sender by libsodium's init_push, which draws its own header."""
    state = crypto_secretstream_xchacha20poly1305_state()
    header = crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    sealed = crypto_secretstream_xchacha20poly1305_push(state, b"text", b"sealmesh/1 response", 3)
    opening = OpeningStream(Direction.RESPONSE, KEY, header)
    assert opening.open_untrusted(sealed) == (b"text", True)


@pytest.mark.parametrize("tag", [1, 2, 4, 5, 128, 255])
def test_other_tags_end_the_stream(tag: int) -> None:
    state = crypto_secretstream_xchacha20poly1305_state()
    header = crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    sealed = crypto_secretstream_xchacha20poly1305_push(state, b"text", b"sealmesh/1 request", tag)
    opening = OpeningStream(Direction.REQUEST, KEY, header)
    with pytest.raises(RemoteProtocolError, match="tag"):
        opening.open_untrusted(sealed)
    assert opening.spent


def test_the_first_failure_is_the_last_call() -> None:
    sealing, opening = _both()
    good = sealing.seal(b"good")[4:]
    with pytest.raises(RemoteProtocolError):
        opening.open_untrusted(b"\x00" * 40)
    with pytest.raises(LocalProtocolError):
        opening.open_untrusted(good)


def test_directions_do_not_mix() -> None:
    sealing = SealingStream(Direction.REQUEST, KEY, Randomness())
    opening = OpeningStream(Direction.RESPONSE, KEY, sealing.header)
    with pytest.raises(RemoteProtocolError):
        opening.open_untrusted(sealing.seal(b"x")[4:])


@pytest.mark.parametrize("length", [0, 1, 16, 17, 1000])
def test_garbage_does_not_open(length: int) -> None:
    _, opening = _both()
    with pytest.raises(RemoteProtocolError):
        opening.open_untrusted(bytes(length))


def test_the_longest_frame() -> None:
    sealing, opening = _both()
    frame = sealing.seal(bytes(PLAINTEXT_MAX))
    assert len(frame) == 4 + FRAME_MAX
    assert opening.open_untrusted(frame[4:]) == (bytes(PLAINTEXT_MAX), False)
    with pytest.raises(LocalProtocolError):
        sealing.seal(bytes(PLAINTEXT_MAX + 1))
    assert not sealing.spent


def test_a_wiped_stream_holds_no_key_and_seals_nothing() -> None:
    sealing, opening = _both()
    opening.open_untrusted(sealing.seal(b"plaintext")[4:])
    for stream in (sealing, opening):
        assert bytes(stream._state.statebuf) != bytes(52)
        stream.wipe()
        stream.wipe()
        assert not any(bytes(stream._state.statebuf))
        assert not any(bytes(stream._state.rawbuf))
        assert "spent" in repr(stream)
    with pytest.raises(LocalProtocolError):
        sealing.seal(b"under zeros")


def test_cutter_whole_and_split() -> None:
    frame = (40).to_bytes(4, "big") + bytes(range(40))
    cutter = FrameCutter()
    cutter.feed(frame * 3)
    assert [cutter.next_frame_untrusted() for _ in range(4)] == [frame[4:]] * 3 + [None]
    assert cutter.held == 0
    taken = []
    for i in range(len(frame * 3)):
        cutter.feed((frame * 3)[i : i + 1])
        while (one := cutter.next_frame_untrusted()) is not None:
            taken.append(one)
    assert taken == [frame[4:]] * 3
    cutter.feed(frame + frame[:10])
    assert cutter.next_frame_untrusted() == frame[4:]
    assert cutter.next_frame_untrusted() is None
    assert cutter.held == 10
    cutter.feed(frame[10:] + b"\x00")
    assert cutter.next_frame_untrusted() == frame[4:]
    assert cutter.peek() == 0
    cutter.clear()
    assert cutter.peek() is None


def test_cutter_takes_parts() -> None:
    cutter = FrameCutter()
    cutter.feed(b"abc")
    assert cutter.take(4) is None
    assert cutter.take(2) == b"ab"
    cutter.feed(b"de")
    assert cutter.take(3) == b"cde"
    assert cutter.take(1) is None


def test_cutter_keeps_no_hold_on_the_callers_buffer() -> None:
    data = bytearray((17).to_bytes(4, "big") + bytes(17))
    cutter = FrameCutter()
    cutter.feed(data)  # type: ignore[arg-type]
    data[4:] = b"\xff" * 17
    assert cutter.next_frame_untrusted() == bytes(17)


@pytest.mark.parametrize("length", [0, 16, FRAME_MAX + 1, 2**32 - 1])
def test_cutter_refuses_lengths_before_the_bytes(length: int) -> None:
    cutter = FrameCutter()
    cutter.feed(length.to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError, match="length"):
        cutter.next_frame_untrusted()

"""Bodies: the same bytes however they are cut, and never more than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.api.bodies import Budget, ChunkedBody, Holder, LengthBody
from sealmesh.errors import BusyError, RequestError
from sealmesh.limits import HTTP_CHUNK_LINE_MAX, HTTP_HEAD_MAX


def holder(limit: int = 1000, total: int = 1000) -> Holder:
    return Holder(limit=limit, budget=Budget(total))


def feed(body: LengthBody | ChunkedBody, data: bytes, step: int) -> bytes:
    """Feed in steps; return what is left over behind the body."""
    buffer = bytearray()
    for at in range(0, len(data), step):
        buffer += data[at : at + step]
        body.feed_untrusted(buffer)
    return bytes(buffer)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=8), step=st.integers(1, 40), rest=st.binary(max_size=9)
)
def test_chunks_give_their_bytes_and_leave_what_follows(chunks: list[bytes], step: int, rest: bytes) -> None:
    data = b"".join(b"%X;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nx: y\r\n\r\n"
    body = ChunkedBody(holder())
    assert feed(body, data + rest, step) == rest
    assert body.done
    assert body.holder.take() == b"".join(chunks)


@given(data=st.binary(max_size=60), step=st.integers(1, 70), rest=st.binary(max_size=9))
def test_a_length_takes_that_many_bytes(data: bytes, step: int, rest: bytes) -> None:
    body = LengthBody(len(data), holder())
    assert feed(body, data + rest, step) == rest
    assert body.done
    assert body.holder.take() == data


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"x\r\n", "bad_http"),
        (b"\r\n", "bad_http"),
        (b"-1\r\n", "bad_http"),
        (b"0x1\r\n", "bad_http"),
        (b"1\n", "bad_http"),
        (b"123456789\r\n", "bad_http"),
        (b"1\r\nab\r\n", "bad_http"),
        (b"1;" + b"x" * HTTP_CHUNK_LINE_MAX, "bad_http"),
        (b"3e9\r\n", "request_too_large"),
        (b"ffffffff\r\n", "request_too_large"),
        (b"0\r\n" + b"x: y\r\n" * (HTTP_HEAD_MAX // 6 + 1), "head_too_large"),
        (b"0\r\n" + b"x" * (HTTP_HEAD_MAX + 1), "head_too_large"),
    ],
)
@pytest.mark.parametrize("step", [5, 1 << 20])
def test_wrong_chunks_are_refused(data: bytes, code: str, step: int) -> None:
    with pytest.raises(RequestError) as caught:
        feed(ChunkedBody(holder()), data, step)
    assert caught.value.code == code


def test_chunks_that_grow_past_the_bound_together_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        feed(ChunkedBody(holder(limit=1000)), (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3, 100)
    assert caught.value.code == "request_too_large"


def test_bodies_share_their_room_and_give_it_back() -> None:
    budget = Budget(100)
    first, second = Holder(limit=100, budget=budget), Holder(limit=100, budget=budget)
    assert first.add(b"x" * 60)
    with pytest.raises(BusyError):
        LengthBody(60, second).feed_untrusted(bytearray(60))
    assert second.size == 0
    first.release()
    first.release()
    assert budget.used == 0
    LengthBody(60, second).feed_untrusted(bytearray(60))


def test_a_holder_hands_over_its_bytes_without_a_second_copy() -> None:
    held = holder(limit=1 << 20, total=1 << 20)
    for _ in range(100):
        held.add(b"x" * 1000)
    assert held.take() is held.take()

"""What of an event stream may be written before its authenticated end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.api.events import EventGate
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import SSE_EVENT_MAX

TOKEN = b'data: {"choices":[{"delta":{"content":"[DONE] data: [DONE] event: done"}}]}\n\n'
ENDS = [
    b"data: [DONE]\n\n",
    b"data:[DONE]\r\n\r\n",
    b"event: response.completed\ndata: {}\n\n",
    b"event: response.failed\ndata: {}\n\n",
    b"event: done\ndata: [DONE]\n\n",
    b"data: [DONE]\r\r",
    b"event: response.incomplete\rdata: {}\r\r",
    b'data: {"sequence_number":9,"type": "response.completed","response":{}}\n\n',
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_the_last_word_waits_for_the_end_and_everything_before_it_does_not(end: bytes, step: int) -> None:
    stream = TOKEN * 3 + end
    gate = EventGate()
    written = b"".join(gate.feed_untrusted(stream[at : at + step]) for at in range(0, len(stream), step))
    assert written == TOKEN * 3
    assert gate.finish() == end


@given(
    events=st.lists(
        st.sampled_from([TOKEN, b": comment\n\n", b"data: x\r\r", b"event: response.created\ndata: x\r\n\r\n", *ENDS]),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    tail=st.sampled_from([b"", b"data: {"]),
)
def test_cut_anywhere_it_gives_the_same_bytes_and_whole_events(
    events: list[bytes], cuts: list[int], tail: bytes
) -> None:
    stream = b"".join(events) + tail
    gate, written, at = EventGate(), b"", 0
    for cut in [*sorted(cuts), len(stream)]:
        written += gate.feed_untrusted(stream[at:cut])
        at = max(at, min(cut, len(stream)))
        assert stream.startswith(written)
        assert not written or written.endswith((b"\n\n", b"\n\r\n", b"\r\r"))
        assert not any(end.splitlines()[0] in written.replace(TOKEN, b"") for end in ENDS)
    assert written + gate.finish() == stream


def test_whole_events_pass_as_the_very_same_object() -> None:
    token = b'data: {"choices":[]}\n\n'
    assert EventGate().feed_untrusted(token) is token


def test_an_event_that_never_ends_is_an_error() -> None:
    gate = EventGate()
    for _ in range(SSE_EVENT_MAX // 65536):
        assert gate.feed_untrusted(b"x" * 65536) == b""
    with pytest.raises(RemoteProtocolError):
        gate.feed_untrusted(b"x")


def test_much_after_the_last_word_is_an_error() -> None:
    gate = EventGate()
    gate.feed_untrusted(b"data: [DONE]\n\n")
    assert gate.feed_untrusted(b"x" * (SSE_EVENT_MAX - 14)) == b""
    with pytest.raises(RemoteProtocolError):
        gate.feed_untrusted(b"x\n\n")

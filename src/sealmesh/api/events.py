"""What of a server-sent event stream may be written before its authenticated end.

The bytes are not parsed and not changed. Two things are held back: an event that is not whole yet, so that an error
event can follow a clean boundary, and whatever tells an app that the answer is complete. A cut between that word and
the authenticated end would otherwise look like a whole answer (attack A01).
"""

from __future__ import annotations

import re
from typing import Final

from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import SSE_EVENT_MAX

#: Lines that end an answer for some SDK: chat and completions say `[DONE]`, the Responses API names its last event, on
#: a line of its own or in its data only. A line ends with LF, CR or both.
_LAST_WORDS: Final = re.compile(
    rb"(?<![^\r\n])(?:data: ?\[DONE\]|event: ?(?:done|response\.(?:completed|failed|incomplete))"
    rb'|data:[^\r\n]*"type": ?"response\.(?:completed|failed|incomplete)")'
)
#: What every last word holds one of; most events hold none.
_MARKS: Final = (b"[DONE]", b"event:", b'"response.')
_BLANK_LINES: Final = (b"\n\n", b"\n\r\n", b"\r\r")


class EventGate:
    """Lets through whole events, up to the last word."""

    __slots__ = ("_held", "_last")

    def __init__(self) -> None:
        self._held = bytearray()
        self._last = False

    def feed_untrusted(self, data: bytes) -> bytes:
        """Take bytes of the stream, return those that may be written now.

        Raises:
            RemoteProtocolError: An event is too long, or too much follows the last word.
        """
        if not self._held and data.endswith(b"\n\n") and not any(mark in data for mark in _MARKS):
            return data  # whole events without a last word: nearly every call
        searched = len(self._held)
        self._held += data
        cut = 0 if self._last else self._last_blank_line(max(0, searched - 2))
        if not cut:
            if len(self._held) > SSE_EVENT_MAX:
                raise RemoteProtocolError("a server-sent event is too long")
            return b""
        whole = bytes(self._held[:cut])
        del self._held[:cut]
        word = _LAST_WORDS.search(whole)
        if word is None:
            return whole
        self._last = True
        self._held[:0] = whole[word.start() :]
        return whole[: word.start()]

    def finish(self) -> bytes:
        """The stream came to its authenticated end: return what was held back."""
        held, self._held = bytes(self._held), bytearray()
        return held

    def _last_blank_line(self, start: int) -> int:
        """Index behind the last blank line at or after `start`, 0 if there is none."""
        ends = [(self._held.rfind(mark, start), len(mark)) for mark in _BLANK_LINES]
        return max((at + length for at, length in ends if at >= 0), default=0)

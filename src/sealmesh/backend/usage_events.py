"""Token counts of an engine's stream, asked for by the host when the app did not ask.

Engines count for the last event only when they are asked to (`stream_options.include_usage`). The host always asks, so
that every exchange has its counts in the sealed trailer, and takes the event out again where the app did not ask.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.errors import BackendError

#: How the event with the counts begins to differ from all others: it has no choice.
_TIGHT: Final = b'"choices":[]'
_LOOSE: Final = b'"choices": []'
_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_EVENT: Final = re.compile(rb".*?(?:\n\n|\r\n\r\n)", re.DOTALL)


def asking_for_counts(body: bytes) -> tuple[bytes, bool]:
    """Return a streaming request that asks for the counts, and whether the app asked for them itself.

    Args:
        body: A JSON object.

    Raises:
        msgspec.DecodeError: It is none that can be read.
    """
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    given = msgspec.json.decode(fields.get("stream_options", b"null"))
    if given is not None and not isinstance(given, dict):
        return body, True  # wrong, as the engine will say
    options = given or {}
    if options.get("include_usage") is True:
        return body, True
    fields["stream_options"] = {**options, "include_usage": True}
    return msgspec.json.encode(fields), False


class CountsRemover:
    """Takes the event with the counts out of a stream, whose other bytes stay as they are."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed_untrusted(self, data: bytes) -> bytes:
        """Take bytes of the engine, return those that may go on now: whole events.

        Raises:
            BackendError: An event is too long.
        """
        if not self._held and _TIGHT not in data and _LOOSE not in data and data.endswith(b"\n\n"):
            return data  # nearly every call
        data = self._held + data
        cut = max((at + len(end) for end in _ENDS if (at := data.rfind(end)) >= 0), default=0)
        self._held = data[cut:]
        if len(self._held) > limits.SSE_EVENT_MAX:
            raise BackendError(502, "engine_broken", "The engine sent an event that is too long.")
        whole = data[:cut]
        if _TIGHT not in whole and _LOOSE not in whole:
            return whole
        pieces = _EVENT.findall(whole)
        return b"".join(event for event in pieces if not _holds_counts(event))

    def finish(self) -> bytes:
        """Return what has come after the last whole event."""
        held, self._held = self._held, b""
        return held


def _holds_counts(event: bytes) -> bool:
    """Whether an event has counts and no choice; one that cannot be read has none and stays."""
    if _TIGHT not in event and _LOOSE not in event:
        return False
    try:
        fields: Any = msgspec.json.decode(event.strip().removeprefix(b"data:"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("choices") == [] and isinstance(fields.get("usage"), dict)

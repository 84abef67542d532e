"""What holds a conversation together where the app does not name it: how it begins.

The next request of a conversation begins as the last one did: the same system prompt, the same first question. So all
up to the first user's message names it, in a digest that leaves this machine only salted anew for each host.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

#: Bytes that are looked at; a first message that is longer (a picture) is known by so much of its beginning.
LOOK_MAX: Final = 64 * 1024

_scan = json.JSONDecoder().raw_decode


def conversation_of(messages: memoryview) -> str:
    """Return a name for the conversation that a list of messages belongs to, "" if it is no list.

    Args:
        messages: The JSON text of the list; its nesting has been bounded before.
    """
    begun = bytes(messages[:LOOK_MAX])
    if begun[:1] != b"[":
        return ""
    # Cut in the middle of a character: that part is not looked at. A character more or less changes no boundary.
    text = begun.decode("utf-8", "ignore")
    end = _first_question_ends(text, cut=len(begun) == LOOK_MAX)
    return "begins:" + hashlib.sha256(text[:end].encode("utf-8", "surrogatepass")).hexdigest()


def _first_question_ends(text: str, *, cut: bool) -> int:
    """Where the first user's message ends, or the last message that is whole; the end of a text that was cut before."""
    at = 1
    while True:
        while text[at : at + 1] in (" ", "\n", "\r", "\t", ","):
            at += 1
        try:
            message, at = _scan(text, at)
        except (ValueError, RecursionError):
            return len(text) if cut else at
        if isinstance(message, dict) and message.get("role") == "user":
            return at

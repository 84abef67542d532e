"""Texts about a connection, which a peer chooses in part."""

from __future__ import annotations

from typing import Final

REASON_MAX: Final = 200  # characters; a longer reason explains no more


def one_line(text: str) -> str:
    """Return the text as one printable line of bounded length, fit for a log or a terminal [TR-16]."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:REASON_MAX])

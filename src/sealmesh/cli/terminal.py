"""What a terminal may see: text of peers is escaped, colour is left out where it is not wanted, words are calm.

Attack A20: a peer's name, or a model's answer, with escape codes, right-to-left overrides or 10 kB of letters.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

NAME_SHOWN_MAX: Final = 48  # characters of a peer's name in a table or a line
REASON_SHOWN_MAX: Final = 400  # characters of a reason, which our own code made from a peer's values
_MARKS_MAX: Final = 2  # combining marks on one letter; a pile of them covers the lines above
#: Controls, format controls (bidi overrides, joiners, tags), surrogates, private use, unassigned, separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me"})


def escape_letter(letter: str) -> str:
    """One character as a terminal may see it: itself, or its number in ASCII."""
    if letter.isascii() and letter.isprintable():
        return letter
    if unicodedata.category(letter) in _HIDDEN:
        number = ord(letter)
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return letter


def escape_peer_text(text: str, *, most: int = NAME_SHOWN_MAX) -> str:
    """Make one line of text from a peer safe to show: nothing in it moves the cursor, hides, or turns text around.

    Args:
        text: As the peer sent it, of any length and content.
        most: Characters shown at most; a longer text is cut and ends in "…".
    """
    shown: list[str] = []
    marks = 0
    for letter in text[: most + 1]:  # bounded before it is looked at
        marks = marks + 1 if unicodedata.category(letter) in _MARKS else 0
        if marks <= _MARKS_MAX:
            shown.append(escape_letter(letter))
    if len(text) <= most and sum(map(len, shown)) <= most:
        return "".join(shown)
    length = sum(map(len, shown))
    while length > most - 1:
        length -= len(shown.pop())
    return "".join(shown) + "…"


class AnswerEscaper:
    """Makes an answer safe to show as it comes in: line ends and tabs stay, everything else hidden is escaped.

    Joiners stay too, which emoji and many scripts need; they move nothing.
    """

    _KEPT: Final = frozenset("\n\t\u200c\u200d")

    def __init__(self) -> None:
        self._marks = 0

    def escape(self, text: str) -> str:
        """Return the next piece, escaped. Linear in its length."""
        if text.isascii() and text.isprintable():
            self._marks = 0
            return text
        return "".join(map(self._letter, text))

    def _letter(self, letter: str) -> str:
        if letter in self._KEPT:
            return letter
        if unicodedata.category(letter) in _MARKS:
            self._marks += 1
            return letter if self._marks <= _MARKS_MAX else ""
        self._marks = 0
        return escape_letter(letter)


def short_id(endpoint_id: str) -> str:
    """The first 12 characters of an id in hex, for people; commands and JSON give the whole."""
    return escape_peer_text(endpoint_id[:12]) + ("…" if len(endpoint_id) > 12 else "")


# --- tone and colour --------------------------------------------------------------------------------

_STYLES: Final[Mapping[str, str]] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


@dataclass(frozen=True, slots=True)
class Tone:
    """Whether a stream gets colour."""

    coloured: bool

    @classmethod
    def of(cls, stream: IO[str], environment: Mapping[str, str] | None = None) -> Tone:
        """Colour only for a real terminal, and never with NO_COLOR (no-color.org) or TERM=dumb."""
        environment = os.environ if environment is None else environment
        plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
        return cls(not plain and stream.isatty())

    def style(self, text: str, name: str) -> str:
        """`text` in that style; unchanged where there is no colour."""
        return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if self.coloured and text else text


def width(text: str) -> int:
    """Columns that escaped text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.category(letter) in _MARKS for letter in text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], tone: Tone) -> list[str]:
    """Lines of a table with columns as wide as needed. The cells must be escaped already."""
    kept = [list(row) for row in rows]
    widths = [max([width(heading), *(width(row[i]) for row in kept)]) for i, heading in enumerate(headings)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell + " " * (space - width(cell)) for cell, space in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    return [tone.style(line(headings), "dim"), *(line(row) for row in kept)]


def say(text: str) -> None:
    """A line for people: on stderr, so that stdout stays for what was asked."""
    print(text, file=sys.stderr, flush=True)

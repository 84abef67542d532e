"""Escaping, tone, tables and the words of the tiers."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.attestation.factors import Tier
from sealmesh.attestation.words import TIER_WORDS, tier_words
from sealmesh.cli.terminal import (
    AnswerEscaper,
    Tone,
    escape_peer_text,
    short_id,
    table,
    width,
)

ANY_TEXT = st.text(st.characters(), max_size=200)  # surrogates included
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("attic", "attic"),
        ("Müllers Rechner 部屋 🦙", "Müllers Rechner 部屋 🦙"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\nc\td\x00", "a\\x0db\\x0ac\\x09d\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069\u200b\ufeff", "\\u2066x\\u2069\\u200b\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
        ("", ""),
    ],
)
def test_escaping(text: str, shown: str) -> None:
    assert escape_peer_text(text) == shown


def test_a_pile_of_marks_is_cut_down() -> None:
    assert escape_peer_text("a" + "\u0301" * 40 + "b") == "a\u0301\u0301b"


@pytest.mark.parametrize(
    ("text", "most", "shown"), [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("\x1b\x1b", 6, "\\x1b…")]
)
def test_cutting(text: str, most: int, shown: str) -> None:
    assert escape_peer_text(text, most=most) == shown


class Endless(str):
    """A text that must not be walked through to its end."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the whole text was read")


def test_a_long_text_is_cut_before_it_is_looked_at() -> None:
    assert escape_peer_text(Endless("x" * 1000), most=10) == "x" * 9 + "…"


@given(ANY_TEXT, st.integers(1, 60))
def test_any_text_comes_out_safe_and_bounded(text: str, most: int) -> None:
    shown = escape_peer_text(text, most=most)
    assert len(shown) <= most
    assert not {unicodedata.category(letter) for letter in shown} & HIDDEN


@given(st.lists(ANY_TEXT, max_size=5))
def test_any_answer_comes_out_safe_however_it_is_cut(pieces: list[str]) -> None:
    escaper, whole = AnswerEscaper(), AnswerEscaper()
    shown = "".join(escaper.escape(piece) for piece in pieces)
    assert shown == whole.escape("".join(pieces))
    left = {letter for letter in shown if unicodedata.category(letter) in HIDDEN}
    assert left <= set("\n\t\u200c\u200d")


def test_an_answer_keeps_its_lines() -> None:
    assert AnswerEscaper().escape("a\n\tb\x1b]0;title\x07") == "a\n\tb\\x1b]0;title\\x07"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_only_where_it_is_wanted(stream: io.StringIO, environment: dict[str, str], coloured: bool) -> None:
    tone = Tone.of(stream, environment)
    assert (tone.style("x", "red") == "\x1b[31mx\x1b[0m") == coloured


def test_a_table_lines_up_wide_letters() -> None:
    lines = table(("A", "B"), [("部屋", "x"), ("abc", "y")], Tone(coloured=False))
    assert lines == ["A     B", "部屋  x", "abc   y"]
    assert {width(line[: line.index(last)]) for line, last in zip(lines, "Bxy", strict=True)} == {6}


def test_a_table_without_rows_has_its_headings() -> None:
    assert table(("A", "B"), [], Tone(coloured=False)) == ["A  B"]


def test_short_id() -> None:
    assert short_id("3f9c" * 16) == "3f9c3f9c3f9c…"
    assert short_id("\x1b") == "\\x1b"


def test_every_tier_has_words_that_say_who_can_read() -> None:
    for tier in Tier:
        assert tier.label in TIER_WORDS
        for blind in ("no", "software", None):
            assert "prompts" in tier_words(tier.label, blind)


def test_no_words_say_that_an_owner_cannot_read_but_for_listed_code_in_a_confidential_machine() -> None:
    claims = {
        (tier.label, blind)
        for tier in Tier
        for blind in ("no", "software", None)
        if "cannot" in tier_words(tier.label, blind)
    }
    assert claims == {("confidential", "software")}
    assert "treat it as none" in tier_words("\x1b[2J")

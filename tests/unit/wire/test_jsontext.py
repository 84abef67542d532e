"""What is asked of JSON before anything is built of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.wire.jsontext import is_deeper_than, is_utf8


@given(text=st.text(), at=st.integers(65_530, 65_540))
def test_utf8_is_what_python_takes_for_it_also_across_slices(text: str, at: int) -> None:
    assert is_utf8(b"x" * at + text.encode())
    assert is_utf8(bytearray(text.encode()))


@given(data=st.binary(max_size=40))
def test_any_bytes_are_judged_as_python_judges_them(data: bytes) -> None:
    try:
        data.decode()
        right = True
    except UnicodeDecodeError:
        right = False
    assert is_utf8(data) is right


def test_a_character_cut_at_the_end_is_no_utf8() -> None:
    assert not is_utf8("ü".encode()[:1])
    assert not is_utf8(b"x" * 65_535 + b"\xc3x")


@given(st.recursive(st.text('[]{}"\\', max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=12))
def test_depth_is_that_of_the_parsed_value(value: object) -> None:
    def depth(part: object) -> int:
        return 1 + max(map(depth, part), default=0) if isinstance(part, list) else 0

    text = json.dumps(value).encode()
    assert not is_deeper_than(text, depth(value))
    if depth(value):
        assert is_deeper_than(bytearray(text), depth(value) - 1)


@pytest.mark.parametrize("text", [b'"' + b"\\" * 1001, b'"[[[', b"]]]]", b'"\\"[[[[[', b""])
def test_unfinished_strings_and_stray_brackets_end_in_linear_time(text: bytes) -> None:
    assert not is_deeper_than(text, 1)

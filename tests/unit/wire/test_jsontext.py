"""What is asked of JSON before anything is built of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.wire.jsontext import (
    fold_long_values,
    has_more_members_than,
    has_more_values_than,
    is_deeper_than,
    is_utf8,
    unfold_values,
)


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


_NESTED = st.recursive(
    st.text('[]{},:"\\', max_size=4) | st.integers(0, 99),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('",[}', max_size=3), inner, max_size=4),
    max_leaves=16,
)


@given(_NESTED, st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_members_are_those_of_the_parsed_value(value: object, separators: tuple[str, str]) -> None:
    def values(part: object) -> int:
        inner = list(part.values()) if isinstance(part, dict) else part
        return 1 + max(0, len(inner) - 1) + sum(map(values, inner)) if isinstance(inner, list) else 0

    text = json.dumps(value, separators=separators).encode()
    members = len(value) if isinstance(value, list | dict) else 0
    assert not has_more_members_than(text, max(1, members))
    if members > 1:
        assert has_more_members_than(bytearray(text), members - 1)
    assert not has_more_values_than(text, values(value))
    if values(value):
        assert has_more_values_than(bytearray(text), values(value) - 1)


@given(
    st.dictionaries(
        st.text(max_size=12),
        st.recursive(
            st.text(max_size=40) | st.text('"\\\\a', max_size=40) | st.text("x", max_size=60).map("data:".__add__),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
            max_leaves=8,
        ),
    )
)
def test_long_values_come_back_as_they_were(value: dict[str, object]) -> None:
    text = json.dumps(value).encode()
    folded, values = fold_long_values(text, longest=10, token=b"t0ken")
    assert unfold_values(folded, values, token=b"t0ken") == text

    def shape(part: object, *, of: bool) -> object:
        if isinstance(part, dict):
            return {key: shape(inner, of=of) for key, inner in part.items()}
        if isinstance(part, list):
            return [shape(inner, of=of) for inner in part]
        assert isinstance(part, str)
        if of and len(json.dumps(part)) > 10:
            return "long data" if part.startswith("data:") else "long"
        if not of and "t0ken" in part:
            return "long data" if part.startswith("data:") else "long"
        return part

    assert shape(json.loads(folded), of=False) == shape(value, of=True)
    assert all(len(each) > 10 for each in values)


@pytest.mark.parametrize("text", [b'{"a":"' + b"x" * 40, b'{"a":"' + b"x" * 40 + b'\\"', b'"' + b"x" * 40 + b'"'])
def test_what_may_lack_its_end_stays(text: bytes) -> None:
    assert fold_long_values(text, longest=10, token=b"t0ken") == (text, [])

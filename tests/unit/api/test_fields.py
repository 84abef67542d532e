"""The top level of a request's JSON."""

from __future__ import annotations

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.api.fields import Fields, parse_fields_untrusted
from sealmesh.errors import RequestError
from sealmesh.limits import JSON_DEPTH_MAX
from sealmesh.wire.operations import Operation

CHAT = Operation.CHAT_COMPLETIONS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def parse(body: object, operation: Operation = CHAT) -> Fields:
    return parse_fields_untrusted(operation, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_what_the_way_of_a_request_needs_is_read() -> None:
    fields = parse({"messages": [{}], "stream": True, "model": "m\u00e9", "user": "u", "n": [[1]]})
    assert (fields.model, fields.stream, fields.session) == ("mé", True, "u")
    assert parse({"model": "m", "messages": [1], "prompt_cache_key": "k", "user": "u", "stream": None}).session == "k"
    assert parse({"model": "m", "messages": [1]}).stream is False


@pytest.mark.parametrize(
    ("operation", "field", "good", "bad"),
    [
        (CHAT, "messages", [[{}]], ["text", {}, 1, [], None, True]),
        (Operation.COMPLETIONS, "prompt", ["text", ["a"], [1], ""], [{}, 1, [], None]),
        (Operation.EMBEDDINGS, "input", ["text", ["a"], [[1]]], [{}, 1, [], None]),
        (Operation.RESPONSES, "input", ["text", [{}]], [{}, 1, [], None]),
    ],
)
def test_the_question_has_its_type(operation: Operation, field: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        parse({"model": "m", field: value}, operation)
    for value in bad:
        with pytest.raises(RequestError) as caught:
            parse({"model": "m", field: value}, operation)
        assert (caught.value.code, caught.value.param) == ("invalid_request", field)
    with pytest.raises(RequestError) as caught:
        parse({"model": "m"}, operation)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "model"),
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": ["m"]}, "model"),
        ({"model": "m", "stream": "yes"}, "stream"),
        ({"model": "m", "stream": 1}, "stream"),
        ({"model": "m", "user": 1}, "user"),
        ({"model": "m", "prompt_cache_key": {}}, "prompt_cache_key"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse({"messages": [{}], **fields})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_request", param)


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert (caught.value.code, caught.value.param) == ("invalid_request", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b'{"model": "m", "messages": [}',
        b'{"model": "m", "messages": [1]} x',
        b'{"model": "m", "messages": [1], "x": NaN}',
        b'{"model": "m", "messages": ["\xff"]}',
        b'{"model": "m", "messages": [1], "x": "\xed\xa0\x80"}',
        b'{"model": "m", "messages": [1], "x": "\xc3"}',
        b'{"model": "m", "messages": ["\\ud800"]}',
    ],
)
def test_bytes_that_are_no_json(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_nesting_is_allowed_up_to_the_bound_and_not_beyond() -> None:
    def nested(levels: int, around: bytes = b"1") -> bytes:
        return b'{"model":"m","messages":' + b"[" * levels + around + b"]" * levels + b"}"

    parse(nested(JSON_DEPTH_MAX - 1))
    parse(nested(1, b'"' + b"[{" * 1000 + b'\\"' + b"[" * 1000 + b'"'))  # in a string they nest nothing
    parse(nested(1, b"[],{}," * 1000 + b"1"))
    for body in (nested(JSON_DEPTH_MAX), b"[" * 1_000_000, nested(1, b'"\\\\"' + b"," + b"[" * 500)):
        with pytest.raises(RequestError) as caught:
            parse(body)
        assert caught.value.code == "invalid_json"


def test_a_model_name_that_is_too_long_to_exist_is_unknown() -> None:
    for name in ("m" * 129, "é" * 65, "m" * 100_000, ""):
        with pytest.raises(RequestError) as caught:
            parse({"model": name, "messages": [1]})
        assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert parse({"model": "m" * 128, "messages": [1]}).model == "m" * 128


@given(extra=st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_other_fields_are_the_engines_affair(extra: dict[str, object]) -> None:
    assert parse({**{f"x{key}": value for key, value in extra.items()}, "model": "m", "messages": [1]}).model == "m"


@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_fields_or_the_one_error(body: bytes) -> None:
    for operation in Operation:
        with contextlib.suppress(RequestError):
            parse_fields_untrusted(operation, body)


def test_fields_show_no_content() -> None:
    assert "secret" not in repr(Fields(model="secret-model", stream=True, session="secret"))


def test_a_huge_name_is_never_decoded() -> None:
    body = json.dumps(
        {"messages": [1], "model": "m", "user": "u" * (8 << 20), "prompt_cache_key": "k" * (8 << 20)}
    ).encode()
    tracemalloc.start()
    try:
        assert parse(body).session.startswith("begins:")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

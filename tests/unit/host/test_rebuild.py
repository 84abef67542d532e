"""What of an opened request reaches an engine, and what never does."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.backend.base import BackendRequest
from sealmesh.errors import BackendError
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.limits import JSON_DEPTH_MAX, JSON_MEMBERS_MAX
from sealmesh.sealed.exchange import RequestHead
from sealmesh.wire.operations import Operation

HEAD = RequestHead(
    operation=Operation.COMPLETIONS,
    headers=(("content-type", "application/json"), ("idempotency-key", "one")),
    cache_key=b"key",
)


def rebuild(body: bytes | bytearray, head: RequestHead = HEAD) -> BackendRequest:
    return rebuild_request_untrusted(head, body, serves={"echo"}.__contains__)


def refused(body: bytes) -> BackendError:
    with pytest.raises(BackendError) as error:
        rebuild(body)
    return error.value


def test_parsed_values_go_on_and_nothing_else() -> None:
    request = rebuild(bytearray(b' { "model" : "echo", "prompt" : "hi", "stream":true } \n'))
    assert request.operation is Operation.COMPLETIONS
    assert request.model == "echo"
    assert request.stream
    assert request.cache_key == b"key"
    assert request.headers == HEAD.headers
    assert json.loads(request.body) == {"model": "echo", "prompt": "hi", "stream": True}
    assert "hi" not in repr(request)


def test_of_two_members_with_one_name_only_the_last_goes_on() -> None:
    request = rebuild(b'{"model":"other","model":"echo","stream":true,"str\\u0065am":false}')
    assert request.model == "echo"
    assert not request.stream
    assert request.body.count(b"model") == 1
    assert request.body.count(b"stream") == 1


def test_the_name_that_was_checked_is_the_name_that_goes_on() -> None:
    assert refused(b'{"model":"echo","mod\\u0065l":"other"}').code == "model_not_found"


def test_a13_a_million_fields_are_refused_before_an_object_is_made_of_each() -> None:
    """64 MiB of them took a gigabyte, and seconds in which this host was silent to everybody else."""
    more = b",".join(b'"%d":1' % number for number in range(JSON_MEMBERS_MAX - 1))
    assert rebuild(b'{"model":"echo",' + more + b"}").model == "echo"
    assert refused(b'{"model":"echo","x":1,' + more + b"}").code == "invalid_request"
    assert rebuild(b'{"model":"echo","prompt":[' + b"1," * 5000 + b"1]}").model == "echo"


@pytest.mark.parametrize("stream", [b"1", b'"true"', b"[]", b"{}", b"0", b"1.0", b'""', b"truetrue"])
def test_a_stream_that_is_no_truth_value_is_refused(stream: bytes) -> None:
    """An engine could take it for true where the host did not."""
    assert refused(b'{"model":"echo","stream":%s}' % stream).status == 400


@pytest.mark.parametrize(("stream", "taken"), [(b"true", True), (b"false", False), (b"null", False), (b" true ", True)])
def test_truth_values_are_taken(stream: bytes, taken: bool) -> None:
    assert rebuild(b'{"model":"echo","stream":%s}' % stream).stream is taken


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"model":"echo"} {}',
        b'{"model":"echo"}x',
        b'\xef\xbb\xbf{"model":"echo"}',
        b'{"model":"echo","x":NaN}',
        b'{"model":"echo","x":[Infinity]}',
        b'{"model":"echo","x":01}',
        b'{"model":"echo","x":"\xff"}',
        b'{"model":"echo","x":"\xed\xa0\x80"}',
        b'{"model":"echo","\xff":1}',
        b'{"model":"echo","x":"\n"}',
        b'{"model":"echo",}',
        b'{"model":"echo","x":' + b"[" * 1_000_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_what_is_no_json_object_is_refused_without_its_text(body: bytes) -> None:
    error = refused(body)
    assert (error.status, error.code) == (400, "invalid_json")
    assert "echo" not in error.message


def test_depth_is_bounded_and_brackets_in_strings_are_no_depth() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"echo","x":' + b"[" * levels + b"]" * levels + b"}"

    assert rebuild(nested(JSON_DEPTH_MAX - 1)).model == "echo"
    assert refused(nested(JSON_DEPTH_MAX)).code == "invalid_json"
    assert rebuild(b'{"model":"echo","x":"' + b"[" * 1000 + b'"}').model == "echo"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000, b"0." + b"1" * 5000])
def test_huge_numbers_are_passed_on_as_they_were_written(number: bytes) -> None:
    """They are never made a number here: that could take quadratic time, or become infinity."""
    assert number in rebuild(b'{"model":"echo","x":%s}' % number).body


@pytest.mark.parametrize("model", [b"null", b"1", b'["echo"]', b'{"a":1}', b'"\\ud800"'])
def test_a_model_that_is_no_text_is_none(model: bytes) -> None:
    assert refused(b'{"model":%s}' % model).status == 400


def test_a_model_that_is_not_served_is_not_found() -> None:
    error = refused(b'{"model":"a secret name"}')
    assert (error.status, error.code) == (404, "model_not_found")
    assert "secret" not in str(error)
    assert refused(b"{}").code == "invalid_request"


def test_headers_out_of_the_table_stay_behind() -> None:
    head = RequestHead(operation=Operation.COMPLETIONS, headers=(("authorization", "Bearer x"), ("accept", "*/*")))
    assert rebuild(b'{"model":"echo"}', head).headers == (("accept", "*/*"),)


@given(body=st.binary(max_size=80) | st.text('{}[]",:\\ abmodel123', max_size=80).map(str.encode))
def test_any_bytes_give_a_request_or_the_one_error(body: bytes) -> None:
    with contextlib.suppress(BackendError):
        request = rebuild(body)
        assert json.loads(request.body)["model"] == "echo"

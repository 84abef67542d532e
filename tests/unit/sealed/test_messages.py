"""Contents: both sides hold them to the same bounds."""

import dataclasses
from typing import Any

import pytest

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.sealed._codec import sealed_pb2
from sealmesh.sealed.messages import (
    RequestHead,
    ResponseHead,
    SealedError,
    Trailer,
    UnacceptableRequestError,
    encode_error,
    encode_request_head,
    encode_response_head,
    encode_trailer,
    parse_error_untrusted,
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
)
from sealmesh.wire.operations import REQUEST_HEADERS, RESPONSE_HEADERS, Operation

HEAD = RequestHead(
    operation=Operation.EMBEDDINGS,
    headers=tuple((name, 'a b; c="d"') for name in sorted(REQUEST_HEADERS)),
    padding=16384,
    cache_key=bytes(range(32)),
)


@pytest.mark.parametrize("operation", list(Operation))
def test_request_heads_come_back(operation: Operation) -> None:
    head = dataclasses.replace(HEAD, operation=operation)
    assert parse_request_head_untrusted(encode_request_head(head)) == head
    bare = RequestHead(operation=operation)
    assert parse_request_head_untrusted(memoryview(encode_request_head(bare))) == bare


def test_answers_come_back() -> None:
    head = ResponseHead(status=599, headers=tuple((name, "x") for name in sorted(RESPONSE_HEADERS)))
    assert parse_response_head_untrusted(encode_response_head(head)) == head
    trailer = Trailer(prompt_tokens=1 << 40, completion_tokens=2, cached_tokens=0)
    assert parse_trailer_untrusted(encode_trailer(trailer)) == trailer
    assert encode_trailer(Trailer()) == b""
    for retry in (None, 0, 86_400):
        error = SealedError(status=429, code="a_b9", message="ä" * 512, retry_after_s=retry)
        assert parse_error_untrusted(encode_error(error)) == error


BAD_HEADERS: list[Any] = [
    (("host", "x"),),
    (("authorization", "x"),),
    (("Accept", "x"),),
    (("accept", "x"), ("accept", "y")),
    (("accept", ""),),
    (("accept", " x"),),
    (("accept", "x "),),
    (("accept", "x\n"),),
    (("accept", "a\r\nb: c"),),
    (("accept", "a\x00"),),
    (("accept", "ä"),),
    (("accept", "x" * 1025),),
]


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_request_headers_are_bounded_on_both_sides(headers: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request_head(dataclasses.replace(HEAD, headers=headers))
    message = sealed_pb2.RequestHead(method="POST", path="/v1/embeddings")
    for name, value in headers:
        message.headers.add(name=name, value=value)
    with pytest.raises(UnacceptableRequestError) as caught:
        parse_request_head_untrusted(message.SerializeToString())
    assert caught.value.error.status == 400
    for _, value in headers:
        assert len(value) < 2 or value not in str(caught.value) + caught.value.error.message


@pytest.mark.parametrize("headers", [h for h in BAD_HEADERS if h[0][0] != "accept"] + [(("content-type", "a\nb"),)])
def test_response_headers_are_bounded_on_both_sides(headers: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode_response_head(ResponseHead(status=200, headers=headers))
    message = sealed_pb2.ResponseHead(status=200)
    for name, value in headers:
        message.headers.add(name=name, value=value)
    with pytest.raises(RemoteProtocolError):
        parse_response_head_untrusted(message.SerializeToString())


@pytest.mark.parametrize("change", [{"padding": -1}, {"padding": 16385}, {"cache_key": bytes(33)}])
def test_other_bounds_of_a_request(change: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request_head(dataclasses.replace(HEAD, **change))
    if change.get("padding") != -1:
        message = sealed_pb2.RequestHead(method="POST", path="/v1/embeddings", **change)
        with pytest.raises(UnacceptableRequestError):
            parse_request_head_untrusted(message.SerializeToString())


@pytest.mark.parametrize("status", [0, 199, 600])
def test_status_of_an_answer(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_response_head(ResponseHead(status=status))
    with pytest.raises(RemoteProtocolError):
        parse_response_head_untrusted(sealed_pb2.ResponseHead(status=status).SerializeToString())


@pytest.mark.parametrize(
    "change",
    [
        {"status": 399},
        {"status": 600},
        {"code": ""},
        {"code": "A"},
        {"code": "a\n"},
        {"code": "a" * 65},
        {"message": "ä" * 513},
        {"retry_after_s": 86_401},
    ],
)
def test_errors_are_bounded_on_both_sides(change: dict[str, Any]) -> None:
    good = {"status": 500, "code": "internal", "message": "", "retry_after_s": 1}
    encode_error(SealedError(**good))  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        encode_error(SealedError(**{**good, **change}))
    with pytest.raises(RemoteProtocolError):
        parse_error_untrusted(sealed_pb2.Error(**{**good, **change}).SerializeToString())


def test_an_error_of_half_characters_is_ours_to_notice() -> None:
    with pytest.raises(LocalProtocolError):
        encode_error(SealedError(status=500, code="internal", message="\ud800"))


@pytest.mark.parametrize("count", [-1, (1 << 40) + 1])
def test_counts_are_bounded(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_trailer(Trailer(cached_tokens=count))
    if count > 0:
        with pytest.raises(RemoteProtocolError):
            parse_trailer_untrusted(sealed_pb2.Trailer(cached_tokens=count).SerializeToString())


def test_contents_are_bounded_before_they_are_parsed() -> None:
    for parse, maximum in (
        (parse_request_head_untrusted, 16384),
        (parse_response_head_untrusted, 16384),
        (parse_trailer_untrusted, 4096),
        (parse_error_untrusted, 4096),
    ):
        # An unknown field of that length: harmless to parse, so it is the bound that refuses it.
        with pytest.raises(RemoteProtocolError) as caught:
            parse(b"\xfa\x01\x80\x80\x01" + bytes(16384) if maximum == 16384 else b"\xfa\x01\x80\x20" + bytes(4096))
        assert "longer" in str(caught.value.__cause__ or caught.value)


def test_secrets_stay_out_of_repr() -> None:
    assert "cache_key" not in repr(HEAD)

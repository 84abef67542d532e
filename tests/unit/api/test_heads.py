"""Heads: what is parsed, what is refused, and with which code."""

from __future__ import annotations

import pytest

from sealmesh.api.heads import _body_length, check_unfinished_head_untrusted, find_head_end, parse_head_untrusted
from sealmesh.errors import RequestError
from sealmesh.limits import HTTP_HEADERS_MAX


def head(line: str = "POST /v1/x?q=1 HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def test_a_head_is_parsed() -> None:
    parsed = parse_head_untrusted(head("POST /v1/x?q=1 HTTP/1.1", "Host: a", "Content-Length: 5", "X-Y:  z  "))
    assert (parsed.method, parsed.path, parsed.query, parsed.version) == ("POST", "/v1/x", "q=1", "1.1")
    assert (parsed.length, parsed.has_body, parsed.get(b"host"), parsed.get(b"x-y")) == (5, True, b"a", b"z")
    assert parsed.wants_more_requests
    assert not parse_head_untrusted(head("GET / HTTP/1.1", "Connection: x, Close")).wants_more_requests
    assert not parse_head_untrusted(head("GET / HTTP/1.0")).wants_more_requests


def test_an_absolute_target_has_its_authority() -> None:
    parsed = parse_head_untrusted(head("GET http://a:1/v1?x HTTP/1.1"))
    assert (parsed.authority, parsed.path, parsed.query) == ("a:1", "/v1", "x")
    assert parse_head_untrusted(head("GET http://a HTTP/1.1")).path == "/"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (head("GET / HTTP/2.0"), "http_version"),
        (head("GET /"), "http_version"),
        (head("GET / HTTP/1.1", "no colon"), "bad_http"),
        (head("GET / HTTP/1.1", "x : y"), "bad_http"),
        (head("GET / HTTP/1.1", "x: \x00"), "bad_http"),
        (head("GET / HTTP/1.1", "a: b", " folded: c"), "bad_http"),
        (head("G@T / HTTP/1.1"), "bad_http"),
        (head("GET  HTTP/1.1"), "bad_http"),
        (head("GET http:/// HTTP/1.1"), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Length: -1"), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Length: 1_0"), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Length: 1" + "0" * 40), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"), "bad_http"),
        (head("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), "bad_http"),
        (head("POST / HTTP/1.1", "Transfer-Encoding: identity"), "bad_http"),
        (head("POST / HTTP/1.0", "Transfer-Encoding: chunked"), "bad_http"),
        (head("POST / HTTP/1.1", "Host: a", "Host: a"), "bad_http"),
        (head("POST / HTTP/1.1", "Origin: http://a", "Origin: http://b"), "bad_http"),
        (head("POST / HTTP/1.1", "Content-Encoding: gzip"), "unsupported_encoding"),
        (head("POST / HTTP/1.1", "Expect: a miracle"), "expectation_failed"),
        (head("GET / HTTP/1.1", *["x: y"] * (HTTP_HEADERS_MAX + 1)), "head_too_large"),
    ],
)
def test_a_wrong_head_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_head_untrusted(data)
    assert caught.value.code == code


def test_as_many_headers_as_allowed_are_taken() -> None:
    assert len(parse_head_untrusted(head("GET / HTTP/1.1", *["x: y"] * HTTP_HEADERS_MAX)).headers) == HTTP_HEADERS_MAX


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02\x00", b"{", b"A" * 33, b"GET /\n", b"GET / SMTP/1.1\r\n", b"GET /\r\n"]
)
def test_what_can_no_longer_become_http_is_refused_before_it_is_whole(start: bytes) -> None:
    with pytest.raises(RequestError):
        check_unfinished_head_untrusted(bytearray(start), 0)


def test_a_beginning_of_a_head_is_let_wait_wherever_it_is_cut() -> None:
    whole = head("OPTIONS /v1/models HTTP/1.1", "Host: localhost", "Accept: */*")
    buffer = bytearray()
    for at in range(len(whole) - 1):
        searched = len(buffer)
        buffer += whole[at : at + 1]
        assert find_head_end(buffer, searched) == -1
        check_unfinished_head_untrusted(buffer, searched)
    assert find_head_end(bytearray(whole), len(whole) - 1) == len(whole)


def test_a_bare_line_feed_is_seen_across_a_cut() -> None:
    buffer = bytearray(b"GET / HTTP/1.1\r\nx: y")
    check_unfinished_head_untrusted(buffer, 0)
    searched = len(buffer)
    with pytest.raises(RequestError):
        check_unfinished_head_untrusted(buffer + b"\n", searched)


def test_a_length_and_chunks_are_refused_here_too_and_not_only_by_the_parser() -> None:
    for headers in (
        ((b"content-length", b"1"), (b"transfer-encoding", b"chunked")),
        ((b"transfer-encoding", b"chunked"), (b"content-length", b"1")),
    ):
        with pytest.raises(RequestError):
            _body_length(headers)

"""The head of an HTTP request: found, bounded and parsed, before anything acts on it.

httptools (llhttp, strict) parses one whole head at a time and nothing else: where a message ends is counted here, so
that no byte behind it is ever taken for part of it, and an `Upgrade` is simply ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import httptools

from sealmesh.api.errors import refusal
from sealmesh.errors import RequestError
from sealmesh.limits import HTTP_HEADERS_MAX

_END: Final = b"\r\n\r\n"
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)")
_LINE: Final = re.compile(rb"[^ ]+ [^ \x00-\x1f\x7f]+ HTTP/\d\.\d\r\Z")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_LENGTH: Final = re.compile(rb"\d{1,18}")
_SINGLE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"origin", b"authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request line and its headers.

    Attributes:
        method: As sent (methods are case-sensitive).
        authority: Host and port of an absolute target, else "".
        path: Of the target, percent-encoding untouched; no query.
        query: Behind the `?`, or "".
        version: "1.0" or "1.1".
        headers: Names in lower case, values without surrounding blanks, both as bytes.
        length: Of the body in bytes; None for a chunked one.
    """

    method: str
    authority: str = ""
    path: str
    query: str = field(default="", repr=False)
    version: str
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    length: int | None = 0

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a header, by its lower-case name."""
        for each, value in self.headers:
            if each == name:
                return value
        return None

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head."""
        return self.length != 0

    @property
    def wants_more_requests(self) -> bool:
        """Whether the connection may stay open after the answer."""
        tokens = [token.strip().lower() for token in (self.get(b"connection") or b"").split(b",")]
        return self.version == "1.1" and b"close" not in tokens

    @property
    def expects_continue(self) -> bool:
        """Whether the app waits for `100 Continue` before it sends the body."""
        return (self.get(b"expect") or b"").lower() == b"100-continue"


def find_head_end(buffer: bytearray, searched: int) -> int:
    """Return the index behind the blank line that ends a head, or -1.

    Args:
        buffer: What came so far, leading blank lines already taken off.
        searched: How many bytes an earlier call has searched in vain.
    """
    found = buffer.find(_END, max(0, searched - len(_END) + 1))
    return found + len(_END) if found >= 0 else -1


def check_unfinished_head_untrusted(buffer: bytearray, searched: int) -> None:
    """Refuse what can no longer become HTTP, so that garbage is answered at once and not by a timeout.

    Raises:
        RequestError: 400 `bad_http`.
    """
    if not _METHOD.match(buffer[:33]):
        raise refusal("bad_http")
    if _BARE_LF.search(buffer, max(0, searched - 1)):
        raise refusal("bad_http")
    if searched == 0 or b"\n" not in buffer[:searched]:
        line, newline, _ = bytes(buffer).partition(b"\n")
        if newline and not _LINE.match(line):
            raise refusal("bad_http")


class _Collector:
    """What httptools calls back while it parses one head."""

    __slots__ = ("complete", "headers", "target", "too_many")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.too_many = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) == HTTP_HEADERS_MAX:
            self.too_many = True
            raise refusal("head_too_large")  # ends the parser's loop; `too_many` tells why
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head_untrusted(data: bytes) -> RequestHead:
    """Parse one whole head, blank line included.

    Raises:
        RequestError: 400 `bad_http`, 415, 417, 431 or 505.
    """
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # a server may ignore an upgrade [RFC 9110 7.8]; common clients offer h2c with every request
    except httptools.HttpParserError:
        raise refusal("head_too_large" if collector.too_many else "bad_http") from None
    if not collector.complete:
        raise refusal("bad_http")
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise RequestError(505, "http_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    headers = tuple(collector.headers)
    _refuse_repeated(headers)
    authority, path, query = _split_target(collector.target)
    head = RequestHead(
        method=parser.get_method().decode("ascii"),
        authority=authority,
        path=path,
        query=query,
        version=version,
        headers=headers,
        length=_body_length(headers),
    )
    _refuse_codings(head)
    return head


def _refuse_repeated(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Refuse a second header of a kind that decides something: which one counts would be a guess."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in _SINGLE:
            if name in seen:
                raise refusal("bad_http")
            seen.add(name)


def _body_length(headers: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """Return the body's length, None for chunked; both at once or any other coding is refused [RFC 9112 6.3]."""
    length: int | None = 0
    declared = False
    for name, value in headers:
        if name == b"content-length":
            if not _LENGTH.fullmatch(value):
                raise refusal("bad_http")
            length, declared = int(value), True
    for name, value in headers:
        if name == b"transfer-encoding":
            if declared or value.lower() != b"chunked":
                raise refusal("bad_http")
            length = None
    return length


def _refuse_codings(head: RequestHead) -> None:
    """Refuse compressed bodies (attack A13: nothing is ever decompressed) and unknown expectations."""
    if (head.get(b"content-encoding") or b"identity").lower() != b"identity":
        raise refusal("unsupported_encoding")
    if head.get(b"expect") is not None and not head.expects_continue:
        raise refusal("expectation_failed")
    if head.version == "1.0" and head.length is None:
        raise refusal("bad_http")


def _split_target(target: bytes) -> tuple[str, str, str]:
    """Split a target into authority, path and query. Latin-1 keeps every byte apart; unknown paths end in 404."""
    text = target.decode("latin-1")
    authority = ""
    scheme, mark, rest = text.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        authority, slash, rest = rest.partition("/")
        text = slash + rest
        if not authority:
            raise refusal("bad_http")
    path, _, query = text.partition("?")
    return authority, path or "/", query

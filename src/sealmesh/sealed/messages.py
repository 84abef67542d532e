"""What HEAD, TRAILER and ERROR frames say, checked on both sides against the same bounds.

The sender's check raises LocalProtocolError, the receiver's RemoteProtocolError; neither lets a header, an operation
or a number through that the other would refuse (docs/spec/exchange.md, "Contents").
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.limits import (
    CACHE_KEY_MAX,
    ERROR_CODE_MAX,
    ERROR_CONTENT_MAX,
    ERROR_MESSAGE_MAX,
    HEAD_CONTENT_MAX,
    PADDING_MAX,
    RETRY_AFTER_MAX,
    SEALED_HEADER_VALUE_MAX,
    SEALED_HEADERS_MAX,
    TOKENS_MAX,
    TRAILER_CONTENT_MAX,
)
from sealmesh.sealed._codec import sealed_pb2
from sealmesh.wire.operations import REQUEST_HEADERS, RESPONSE_HEADERS, Operation, find_operation

Headers = tuple[tuple[str, str], ...]

# Visible ASCII and blanks: no CR, LF or NUL can travel, so no header can become two.
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_ERROR_CODE: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

_LOAD: Final = struct.Struct(">HH")

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What is asked.

    Attributes:
        operation: Which endpoint of the API.
        headers: Lower-case names out of `REQUEST_HEADERS`, each at most once.
        padding: The answer's frames are to be padded to multiples of this many bytes; 0 none, at most `PADDING_MAX`.
        cache_key: Secret per conversation (or b""): only requests with the same one may share state.
    """

    operation: Operation
    headers: Headers = ()
    padding: int = 0
    cache_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """How the answer begins.

    Attributes:
        status: HTTP status, 200 to 599.
        headers: Lower-case names out of `RESPONSE_HEADERS`, each at most once.
    """

    status: int
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """How a direction ends well: token counts in a response, zeros in a request and where none were reported."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedError:
    """How a direction ends otherwise. Text from a peer: escape before showing.

    Attributes:
        status: HTTP status that fits, 400 to 599.
        code: Stable code, lower case.
        message: In words, without any content of the request.
        retry_after_s: When trying again may help, in seconds; None if the sender does not say.
    """

    status: int
    code: str
    message: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much a host has to do. Its own word, good for an order of hosts and nothing else [EX-63].

    Attributes:
        slots: Answers that it produces at once; 0 no bound known.
        taken: Requests that it has.
    """

    slots: int
    taken: int


class UnacceptableRequestError(RemoteProtocolError):
    """An authentic request that asks for something this node does not do: answered with a sealed ERROR.

    Args:
        error: What to answer.
    """

    def __init__(self, error: SealedError) -> None:
        super().__init__(f"the request is not acceptable: {error.code}")
        self.error = error


def _header_fault(headers: Iterable[tuple[str, str]], allowed: frozenset[str]) -> str | None:
    seen: set[str] = set()
    for name, value in headers:
        if name not in allowed or name in seen:
            return "a header is not allowed, or is repeated"
        if len(value) > SEALED_HEADER_VALUE_MAX or _HEADER_VALUE.fullmatch(value) is None:
            return "a header's value is malformed"
        seen.add(name)
        if len(seen) > SEALED_HEADERS_MAX:
            return "there are too many headers"
    return None


def check_request_head(head: RequestHead) -> str | None:
    """Return what is wrong with a request's head, or None [EX-33]."""
    if not 0 <= head.padding <= PADDING_MAX:
        return "the padding is out of bounds"
    if len(head.cache_key) > CACHE_KEY_MAX:
        return "the cache key is too long"
    return _header_fault(head.headers, REQUEST_HEADERS)


def check_response_head(head: ResponseHead) -> str | None:
    """Return what is wrong with a response's head, or None [EX-34]."""
    if not 200 <= head.status <= 599:
        return "the status is out of bounds"
    return _header_fault(head.headers, RESPONSE_HEADERS)


def check_trailer(trailer: Trailer) -> str | None:
    """Return what is wrong with a trailer, or None [EX-35]."""
    counts = (trailer.prompt_tokens, trailer.completion_tokens, trailer.cached_tokens)
    return None if all(0 <= count <= TOKENS_MAX for count in counts) else "a token count is out of bounds"


def check_error(error: SealedError) -> str | None:
    """Return what is wrong with an error, or None [EX-36]."""
    if not 400 <= error.status <= 599:
        return "the error's status is out of bounds"
    if len(error.code) > ERROR_CODE_MAX or _ERROR_CODE.fullmatch(error.code) is None:
        return "the error's code is malformed"
    try:
        length = len(error.message.encode())
    except UnicodeEncodeError:
        return "the error's message is no text"
    if length > ERROR_MESSAGE_MAX:
        return "the error's message is too long"
    if error.retry_after_s is not None and not 0 <= error.retry_after_s <= RETRY_AFTER_MAX:
        return "the error's delay is out of bounds"
    return None


def _local(fault: str | None) -> None:
    if fault is not None:
        raise LocalProtocolError(fault)


def _remote(fault: str | None) -> None:
    if fault is not None:
        raise RemoteProtocolError(fault, code=2)


def _encode(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _parse_untrusted(kind: type[_M], content: memoryview | bytes, maximum: int) -> _M:
    if len(content) > maximum:  # [EX-37]
        raise RemoteProtocolError("a frame's content is longer than its kind allows", code=2)
    try:
        return kind.FromString(bytes(content))
    except DecodeError as error:
        raise RemoteProtocolError("a frame's content cannot be parsed", code=2) from error


def _pairs(headers: Iterable[sealed_pb2.Header]) -> Headers:
    return tuple((header.name, header.value) for header in headers)


def _protobuf(headers: Headers) -> list[sealed_pb2.Header]:
    return [sealed_pb2.Header(name=name, value=value) for name, value in headers]


def encode_request_head(head: RequestHead) -> bytes:
    """Return the content of a request's HEAD.

    Raises:
        LocalProtocolError: The other side would refuse it.
    """
    _local(check_request_head(head))
    return _encode(
        sealed_pb2.RequestHead(
            method=head.operation.method,
            path=head.operation.path,
            headers=_protobuf(head.headers),
            padding=head.padding,
            cache_key=head.cache_key,
        )
    )


def parse_request_head_untrusted(content: memoryview | bytes) -> RequestHead:
    """Parse the content of a request's HEAD.

    Raises:
        RemoteProtocolError: It is malformed; as `UnacceptableRequestError` with what to answer, since whoever sent it
            is authentic and learns why [EX-32].
    """
    try:
        message = _parse_untrusted(sealed_pb2.RequestHead, content, HEAD_CONTENT_MAX)
    except RemoteProtocolError as error:
        raise UnacceptableRequestError(
            SealedError(status=400, code="invalid_request", message="The request's head cannot be parsed.")
        ) from error
    operation = find_operation(message.method, message.path)
    if operation is None:
        raise UnacceptableRequestError(
            SealedError(status=404, code="unknown_operation", message="This host does not serve that operation.")
        )
    head = RequestHead(
        operation=operation,
        headers=_pairs(message.headers),
        padding=message.padding,
        cache_key=message.cache_key,
    )
    fault = check_request_head(head)
    if fault is not None:
        raise UnacceptableRequestError(
            SealedError(status=400, code="invalid_request", message=f"In the request's head, {fault}.")
        )
    return head


def encode_response_head(head: ResponseHead) -> bytes:
    """Return the content of a response's HEAD.

    Raises:
        LocalProtocolError: The other side would refuse it.
    """
    _local(check_response_head(head))
    return _encode(sealed_pb2.ResponseHead(status=head.status, headers=_protobuf(head.headers)))


def parse_response_head_untrusted(content: memoryview | bytes) -> ResponseHead:
    """Parse the content of a response's HEAD.

    Raises:
        RemoteProtocolError: It is malformed or holds what may not travel.
    """
    message = _parse_untrusted(sealed_pb2.ResponseHead, content, HEAD_CONTENT_MAX)
    head = ResponseHead(status=message.status, headers=_pairs(message.headers))
    _remote(check_response_head(head))
    return head


def encode_trailer(trailer: Trailer) -> bytes:
    """Return the content of a TRAILER.

    Raises:
        LocalProtocolError: The other side would refuse it.
    """
    _local(check_trailer(trailer))
    return _encode(
        sealed_pb2.Trailer(
            prompt_tokens=trailer.prompt_tokens,
            completion_tokens=trailer.completion_tokens,
            cached_tokens=trailer.cached_tokens,
        )
    )


def parse_trailer_untrusted(content: memoryview | bytes) -> Trailer:
    """Parse the content of a TRAILER.

    Raises:
        RemoteProtocolError: It is malformed.
    """
    message = _parse_untrusted(sealed_pb2.Trailer, content, TRAILER_CONTENT_MAX)
    trailer = Trailer(
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        cached_tokens=message.cached_tokens,
    )
    _remote(check_trailer(trailer))
    return trailer


def encode_load(load: Load) -> bytes:
    """Return the content of a host's PING."""
    return _LOAD.pack(min(load.slots, 0xFFFF), min(load.taken, 0xFFFF))


def load_of_ping_untrusted(content: memoryview | bytes) -> Load | None:
    """Return the load that a PING tells; whatever else it holds is passed over, and raises nothing [EX-63]."""
    if len(content) != _LOAD.size:
        return None
    slots, taken = _LOAD.unpack(content)
    return Load(slots=slots, taken=taken)


def encode_error(error: SealedError) -> bytes:
    """Return the content of an ERROR.

    Raises:
        LocalProtocolError: The other side would refuse it.
    """
    _local(check_error(error))
    return _encode(
        sealed_pb2.Error(status=error.status, code=error.code, message=error.message, retry_after_s=error.retry_after_s)
    )


def parse_error_untrusted(content: memoryview | bytes) -> SealedError:
    """Parse the content of an ERROR.

    Raises:
        RemoteProtocolError: It is malformed.
    """
    message = _parse_untrusted(sealed_pb2.Error, content, ERROR_CONTENT_MAX)
    error = SealedError(
        status=message.status,
        code=message.code,
        message=message.message,
        retry_after_s=message.retry_after_s if message.HasField("retry_after_s") else None,
    )
    _remote(check_error(error))
    return error

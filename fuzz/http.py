"""What apps send to the API, and what a host rebuilds out of an opened request."""

from __future__ import annotations

from fuzz.harness import Harness, Target, holds

from kit.sealed import HEAD
from sealmesh.api.bodies import Budget, ChunkedBody, Holder, LengthBody
from sealmesh.api.errors import RequestError
from sealmesh.api.events import EventGate
from sealmesh.api.fields import parse_fields_untrusted
from sealmesh.api.heads import check_unfinished_head_untrusted, parse_head_untrusted
from sealmesh.errors import BackendError, BusyError, RemoteProtocolError
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.wire.operations import Operation

_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 2\r\nAccept: */*\r\n\r\n"
_JSON = b'{"model":"m","messages":[{"role":"user","content":"hi \\u00e9"}],"input":"hi","stream":true,"user":"u"}'
_REFUSES = (RequestError, BusyError)


def _chunked(data: bytes) -> None:
    holder = Holder(limit=1 << 12, budget=Budget(1 << 13))
    body = ChunkedBody(holder)
    buffer = bytearray()
    for start in range(0, len(data), 5):
        buffer += data[start : start + 5]
        body.feed_untrusted(buffer)
    holds(holder.size <= 1 << 12)


def _length(data: bytes) -> None:
    body = LengthBody(100, Holder(limit=64, budget=Budget(80)))
    body.feed_untrusted(bytearray(data))


def _events(data: bytes) -> None:
    gate = EventGate()
    out = b""
    for start in range(0, len(data), 9):
        out += gate.feed_untrusted(data[start : start + 9])
    holds(out + gate.finish() == data)


def _fields(data: bytes) -> None:
    for operation in (Operation.CHAT_COMPLETIONS, Operation.RESPONSES):
        parse_fields_untrusted(operation, data)


def _rebuild(data: bytes) -> None:
    request = rebuild_request_untrusted(HEAD, data, serves=lambda model: model == "m")
    holds(request.model == "m")
    holds(request.operation is HEAD.operation)


HARNESS = Harness(
    head=Target(parse_head_untrusted, _REFUSES, [_HEAD, b"GET /v1/models HTTP/1.0\r\n\r\n"]),
    unfinished_head=Target(lambda data: check_unfinished_head_untrusted(bytearray(data), 0), _REFUSES, [_HEAD[:40]]),
    chunked=Target(_chunked, _REFUSES, [b"5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n"]),
    length=Target(_length, _REFUSES, [b"0123456789" * 3]),
    events=Target(
        _events, (RemoteProtocolError,), [b"data: a\n\ndata: b\n\ndata: [DONE]\n\n", b"event: response.completed\n\n"]
    ),
    fields=Target(_fields, _REFUSES, [_JSON]),
    rebuild=Target(_rebuild, (BackendError,), [_JSON]),
)

"""What apps send to the API, what a host rebuilds out of an opened request, and what an engine answers."""

from __future__ import annotations

from fuzz.harness import Harness, Target, holds

from kit.sealed import HEAD
from sealmesh.api.bodies import Budget, ChunkedBody, Holder, LengthBody
from sealmesh.api.errors import RequestError
from sealmesh.api.events import EventGate
from sealmesh.api.fields import Fields, parse_fields_untrusted
from sealmesh.api.heads import check_unfinished_head_untrusted, parse_head_untrusted
from sealmesh.api.kept import ResponseStore
from sealmesh.api.responses import Turn
from sealmesh.backend.links import refuse_links_untrusted
from sealmesh.backend.responses import Answered, response_from_chat_untrusted
from sealmesh.backend.responses_events import ChatEvents, ResponseEvents
from sealmesh.backend.responses_request import chat_from_responses_untrusted
from sealmesh.backend.usage_events import CountsRemover
from sealmesh.console.members import parse_revocation_untrusted
from sealmesh.console.pins import parse_pin_untrusted
from sealmesh.errors import BackendError, BusyError, RemoteProtocolError
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.wire.operations import Operation

_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 2\r\nAccept: */*\r\n\r\n"
_JSON = b'{"model":"m","messages":[{"role":"user","content":"hi \\u00e9"}],"input":"hi","stream":true,"user":"u"}'
_ASKED = b'{"model":"m","instructions":"be kind","input":[{"role":"user","content":"hi"}]}'
_ANSWERED = Answered(identifier="ab", created=7, model="m", echo={})
_WHOLE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
_CALL = b'{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}'
_STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[' + _CALL + b"]}}]}\n\n"
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_RESPONSE = b'{"id":"r","status":"completed","output":[{"type":"message","content":[]}],"model":"m"}'
_RESPONSE_EVENTS = b"".join(
    b'event: %b\ndata: {"type":"%b","response":%b}\n\n' % (name, name, _RESPONSE)
    for name in (b"response.created", b"response.in_progress", b"response.completed")
)
_LINKED = (
    b'{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:,"}},{"image\\u005furl":"http://x"}]}]}'
)
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


def _turn(data: bytes) -> None:
    store = ResponseStore(lambda: 0.0)
    fields = Fields(model="m", stream=True, session="", store=True)
    turn = Turn(store, fields, before=None, owner=b"", body=_ASKED)
    gate = EventGate()
    for start in range(0, len(data), 9):
        turn.take_events_untrusted(gate.feed_untrusted(data[start : start + 9]))
    turn.take_end_untrusted(gate.finish())
    holds(store.size <= len(data) * 8 + 4096)


def _turn_whole(data: bytes) -> None:
    fields = Fields(model="m", stream=False, session="", store=True)
    Turn(ResponseStore(lambda: 0.0), fields, before=None, owner=b"", body=_ASKED).take_whole_untrusted(data)


def _rebuild(data: bytes) -> None:
    request = rebuild_request_untrusted(HEAD, data, serves=lambda model: model == "m")
    holds(request.model == "m")
    holds(request.operation is HEAD.operation)


def _counts(data: bytes) -> None:
    remover = CountsRemover()
    out = b""
    for start in range(0, len(data), 9):
        out += remover.feed_untrusted(data[start : start + 9])
    out += remover.finish()
    holds(len(out) <= len(data))
    holds(b'"choices":[]' in data or b'"choices": []' in data or out == data)


def _responses_request(data: bytes) -> None:
    for stream in (False, True):
        chat_from_responses_untrusted(data, model="m", stream=stream)


def _responses_stream(data: bytes) -> None:
    chat, made = ChatEvents(), ResponseEvents(_ANSWERED)
    for start in range(0, len(data), 9):
        for event in chat.feed_untrusted(data[start : start + 9]):
            made.add_untrusted(event)
    made.end()
    holds(made.take().endswith(b"\n\n"))


HARNESS = Harness(
    head=Target(parse_head_untrusted, _REFUSES, [_HEAD, b"GET /v1/models HTTP/1.0\r\n\r\n"]),
    unfinished_head=Target(lambda data: check_unfinished_head_untrusted(bytearray(data), 0), _REFUSES, [_HEAD[:40]]),
    chunked=Target(_chunked, _REFUSES, [b"5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n"]),
    length=Target(_length, _REFUSES, [b"0123456789" * 3]),
    events=Target(
        _events, (RemoteProtocolError,), [b"data: a\n\ndata: b\n\ndata: [DONE]\n\n", b"event: response.completed\n\n"]
    ),
    fields=Target(_fields, _REFUSES, [_JSON]),
    responses_request=Target(_responses_request, _REFUSES, [_ASKED, _JSON]),
    responses_answer=Target(
        lambda data: response_from_chat_untrusted(data, _ANSWERED), (BackendError,), [_WHOLE, _STREAM]
    ),
    responses_stream=Target(_responses_stream, (BackendError,), [_STREAM]),
    counts=Target(_counts, (BackendError,), [_STREAM, b'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n']),
    turn=Target(_turn, (RemoteProtocolError,), [_RESPONSE_EVENTS]),
    turn_whole=Target(_turn_whole, (RemoteProtocolError,), [_RESPONSE]),
    links=Target(refuse_links_untrusted, _REFUSES, [_LINKED, _JSON]),
    pin=Target(
        parse_pin_untrusted, _REFUSES, [b'{"endpoint_id":"' + b"ab" * 32 + b'","fingerprint":"' + b"cd" * 32 + b'"}']
    ),
    revocation=Target(parse_revocation_untrusted, _REFUSES, [b'{"serial":"' + b"ab" * 16 + b'","keep_ticket":true}']),
    rebuild=Target(_rebuild, (BackendError,), [_JSON]),
)

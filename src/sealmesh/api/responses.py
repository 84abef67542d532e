"""The Responses API at the asking node: conversations that go on by `previous_response_id`.

A host keeps nothing between requests. So this node keeps what was said (`api/kept.py`) and sends each turn whole: the
host sees one request with all of its input. Ids are made here, from random bytes: a host that chose them could name
another host's answer, and put its own words into that conversation.

Kept are answers that came to their authenticated end, under the model that gave them and the API key that asked.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from sealmesh.api.errors import refusal
from sealmesh.api.fields import Fields
from sealmesh.api.kept import Kept, ResponseStore
from sealmesh.errors import RemoteProtocolError
from sealmesh.limits import HTTP_BODY_MAX, JSON_DEPTH_MAX, JSON_MEMBERS_MAX, RESPONSE_KEPT_MAX
from sealmesh.wire.jsontext import has_more_members_than, is_deeper_than, is_utf8

_BEGINS: Final = frozenset({b"response.created", b"response.in_progress", b"response.queued"})
_ENDS: Final = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})
_KEPT_STATES: Final = frozenset({"completed", "incomplete"})
_Object = dict[str, msgspec.Raw]


def require_previous(store: ResponseStore, fields: Fields, *, owner: bytes) -> Kept | None:
    """Return what a request goes on from, None if it begins a conversation.

    Raises:
        RequestError: 400 `previous_response_not_found`, also where another model or another key's app was answered.
    """
    if fields.previous_response_id is None:
        return None
    kept = store.find(fields.previous_response_id, owner=owner)
    if kept is None or kept.model != fields.model:
        raise refusal("previous_response_not_found", param="previous_response_id")
    return kept


class Turn:
    """One request of a conversation: what is sent instead of it, and what the app sees of its answer.

    Args:
        store: Where conversations are kept; not touched before the answer's end.
        fields: The request's fields; it keeps its answer, or goes on from one.
        before: What it goes on from (`require_previous`).
        owner: Digest of the API key that asks, or b"".
        body: The request as the app sent it, checked.

    Raises:
        RequestError: 413 if the conversation is too long to be sent.
    """

    def __init__(self, store: ResponseStore, fields: Fields, *, before: Kept | None, owner: bytes, body: bytes) -> None:
        self._store = store
        self._fields = fields
        self._owner = owner
        self._id = f"resp_{secrets.token_hex(24)}"
        self._root = self._id if before is None else before.root
        asked: _Object = msgspec.json.decode(body, type=_Object)
        self._items = (*(() if before is None else before.items), *_items_of_input(asked["input"]))
        if before is not None:
            asked["input"] = msgspec.Raw(b"[" + b",".join(self._items) + b"]")
        asked.pop("previous_response_id", None)
        asked["store"] = msgspec.Raw(b"false")  # at the host
        self._body = msgspec.json.encode(asked)
        if len(self._body) > HTTP_BODY_MAX:
            raise refusal("request_too_large", "The conversation is too long to be sent again.")
        self._begun = False
        self._silent = True  # the engine names its events in another way: nothing is changed or kept

    def take_body(self) -> bytes:
        """Return what is sent to a host, once: it is not held while the answer comes."""
        body, self._body = self._body, b""
        return body

    @property
    def session(self) -> str:
        """What holds the conversation together: the app's own word, else its first answer's id."""
        return self._fields.session or self._root

    # --- what comes back ---------------------------------------------------------------------------------------------

    def take_whole_untrusted(self, body: bytes) -> bytes:
        """Take a plain answer that came to its authenticated end; return it as the app gets it.

        Raises:
            RemoteProtocolError: It is no Response object.
        """
        return self._finish(_object_untrusted(body))

    def take_events_untrusted(self, data: bytes) -> bytes:
        """Take whole events before the last one; return them as the app gets them. Only the first few are looked into.

        Raises:
            RemoteProtocolError: An event that begins a Response holds none.
        """
        if self._begun or not data:
            return data
        out = bytearray()
        while data:
            event, end, rest = data.partition(b"\n\n")
            name, text = _split_event(event)
            if not end or name not in _BEGINS:
                self._begun = True
                break
            self._silent = False
            out += _event(name, text, self._named(_member_untrusted(text)), end)
            data = rest
        return bytes(out) + data

    def take_end_untrusted(self, data: bytes) -> bytes:
        """Take what a stream ends with, once it came to its authenticated end; return it as the app gets it.

        Raises:
            RemoteProtocolError: The last event holds no Response.
        """
        event, end, rest = data.partition(b"\n\n")
        name, text = _split_event(event)
        if self._silent or not end or name not in _ENDS:
            return data
        response = msgspec.Raw(self._finish(_member_untrusted(text)))
        return _event(name, text, msgspec.json.decode(response, type=_Object), end) + rest

    def _named(self, response: _Object) -> _Object:
        """Return a Response object with the ids that the app knows."""
        previous = self._fields.previous_response_id
        return response | {
            "id": msgspec.Raw(msgspec.json.encode(self._id)),
            "previous_response_id": msgspec.Raw(msgspec.json.encode(previous)),
            "store": msgspec.Raw(b"true" if self._fields.store else b"false"),
        }

    def _finish(self, response: _Object) -> bytes:
        body = msgspec.json.encode(self._named(response))
        if self._fields.store and not self._keep(response, body):
            body = msgspec.json.encode(self._named(response) | {"store": msgspec.Raw(b"false")})
        return body

    def _keep(self, response: _Object, body: bytes) -> bool:
        """Keep an answer to go on from; False if it is none, or must not be sent again."""
        try:
            status = msgspec.json.decode(response.get("status", b"null"), type=str)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        output = bytes(response.get("output", b""))
        if status not in _KEPT_STATES or output[:1] != b"[" or len(body) > RESPONSE_KEPT_MAX:
            return False
        if not is_utf8(body) or is_deeper_than(body, JSON_DEPTH_MAX):
            return False
        kept = Kept(
            model=self._fields.model,
            owner=self._owner,
            root=self._root,
            items=(*self._items, *_items_in(output)),
            body=body,
            last_used=self._store.now(),
        )
        return self._store.keep(self._id, kept)


def _items_of_input(asked: msgspec.Raw) -> tuple[bytes, ...]:
    """Return the items of a request's input, which is a string or a list, as at most one text."""
    if bytes(memoryview(asked)[:1]) == b'"':
        return (b'{"type":"message","role":"user","content":' + bytes(asked) + b"}",)
    return _items_in(bytes(asked))


def _items_in(listed: bytes) -> tuple[bytes, ...]:
    """Return what a list holds as one text, nothing where it is empty.

    They are not taken apart: of a few million small ones, a host's doing, each would be an object of its own.
    """
    held = listed[1:-1].strip()
    return (held,) if held else ()


def _split_event(event: bytes) -> tuple[bytes, bytes]:
    """Return the name and the data of an event of two lines; empty if it has another form."""
    first, _, second = event.partition(b"\n")
    if not first.startswith(b"event:") or not second.startswith(b"data:") or b"\n" in second:
        return b"", b""
    return first[6:].strip(), second[5:].strip()


def _event(name: bytes, text: bytes, response: _Object, end: bytes) -> bytes:
    """Return an event again with another Response object in it."""
    fields = _object_untrusted(text) | {"response": msgspec.Raw(msgspec.json.encode(response))}
    return b"event: " + name + b"\ndata: " + msgspec.json.encode(fields) + end


def _member_untrusted(text: bytes) -> _Object:
    """Return the Response object of an event."""
    return _object_untrusted(bytes(_object_untrusted(text).get("response", b"")))


def _object_untrusted(text: bytes) -> _Object:
    """Return the members of a JSON object.

    Raises:
        RemoteProtocolError: It is none.
    """
    try:
        if not has_more_members_than(text, JSON_MEMBERS_MAX):
            return msgspec.json.decode(text, type=_Object)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise RemoteProtocolError("a host's answer holds no Response object")

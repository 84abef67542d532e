"""The top level of a request's JSON, checked without building the rest: a body may be as large as 64 MiB.

msgspec walks the whole text, so that what is passed on is valid JSON, but makes objects only of the few fields that
the way of a request needs. Nothing of a field's value ever gets into an error.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sealmesh.api.conversation import conversation_of
from sealmesh.api.errors import refusal
from sealmesh.limits import JSON_DEPTH_MAX, JSON_MEMBERS_MAX, NAME_MAX
from sealmesh.wire.jsontext import has_more_members_than, is_deeper_than, is_utf8
from sealmesh.wire.operations import Operation

_SESSION_MAX: Final = 256  # bytes; a longer key holds no conversation together
_LOOK: Final = 64  # bytes of a field that are looked at to tell its type


_ABSENT: Final = msgspec.Raw(b"")


class _Top(msgspec.Struct):
    """Views into the body; nothing is decoded before its size is known."""

    model: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT
    messages: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    prompt_cache_key: msgspec.Raw = _ABSENT
    user: msgspec.Raw = _ABSENT
    previous_response_id: msgspec.Raw = _ABSENT
    store: msgspec.Raw = _ABSENT


_DECODER: Final = msgspec.json.Decoder(_Top)
#: Which field carries the question, and the JSON types that it may have.
_QUESTION: Final = {
    Operation.CHAT_COMPLETIONS: ("messages", b"[", "a list of messages"),
    Operation.COMPLETIONS: ("prompt", b'["', "a string or a list"),
    Operation.EMBEDDINGS: ("input", b'["', "a string or a list"),
    Operation.RESPONSES: ("input", b'["', "a string or a list"),
}


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """What the API needs to know of a request."""

    model: str
    stream: bool
    session: str
    previous_response_id: str | None = None
    store: bool = False

    @property
    def converses(self) -> bool:
        """Whether it goes on from a kept answer, or its own is to be kept (only requests of the Responses API do)."""
        return self.store or self.previous_response_id is not None

    def __repr__(self) -> str:
        return f"Fields(stream={self.stream})"


def parse_fields_untrusted(operation: Operation, body: bytes) -> Fields:
    """Check the body of a request and return its top-level fields.

    Raises:
        RequestError: 400 `invalid_json` or `invalid_request` with the field's name as `param`.
    """
    require_utf8_untrusted(body)
    require_shallow_untrusted(body)
    if has_more_members_than(body, JSON_MEMBERS_MAX):
        raise refusal("invalid_request", f"The body has more than {JSON_MEMBERS_MAX} fields.")
    try:
        top = _DECODER.decode(body)
    except msgspec.ValidationError:
        raise refusal("invalid_request", "The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise refusal("invalid_json") from None
    model = _text(top.model, "model", limit=NAME_MAX)
    if model is None:
        raise refusal("invalid_request", "`model` is missing.", param="model")
    if not model:
        raise refusal("model_not_found", param="model")
    _require_question(operation, top)
    session = _text(top.prompt_cache_key, "prompt_cache_key", limit=_SESSION_MAX) or ""
    session = session or _text(top.user, "user", limit=_SESSION_MAX) or ""
    stream = _flag(top.stream, "stream")
    if operation is not Operation.RESPONSES:
        if not session and operation is Operation.CHAT_COMPLETIONS:
            session = conversation_of(memoryview(top.messages))
        return Fields(model=model, stream=stream, session=session)
    previous = _text(top.previous_response_id, "previous_response_id", limit=_SESSION_MAX)
    store = bytes(memoryview(top.store)[:4]) in (b"", b"null") or _flag(top.store, "store")
    return Fields(model=model, stream=stream, session=session, previous_response_id=previous, store=store)


def _require_question(operation: Operation, top: _Top) -> None:
    """Refuse a request without its question, or with one of the wrong type."""
    name, kinds, words = _QUESTION[operation]
    start = bytes(memoryview(getattr(top, name))[:_LOOK]).lstrip()
    if not start or start == b"null":
        raise refusal("invalid_request", f"`{name}` is missing: it must be {words}.", param=name)
    if start[0] not in kinds:
        raise refusal("invalid_request", f"`{name}` must be {words}.", param=name)
    if start[:1] == b"[" and start[1:].lstrip()[:1] == b"]":
        raise refusal("invalid_request", f"`{name}` is empty.", param=name)


def _text(raw: msgspec.Raw, name: str, *, limit: int) -> str | None:
    """Return a string of the top level; None if absent or null, "" if longer than anything that is known by it."""
    view = memoryview(raw)
    start = bytes(view[:4])
    if not start or start == b"null":
        return None
    if start[:1] != b'"':
        raise refusal("invalid_request", f"`{name}` must be a string.", param=name)
    if len(view) > 6 * limit + 2:  # every byte of it may be written as \uXXXX
        return ""
    text: str = msgspec.json.decode(raw, type=str)
    return text if len(text.encode()) <= limit else ""


def _flag(raw: msgspec.Raw, name: str) -> bool:
    """Return a truth value of the top level; absent and null are false."""
    value = bytes(memoryview(raw)[:5])
    if value not in (b"", b"null", b"true", b"false"):
        raise refusal("invalid_request", f"`{name}` must be true or false.", param=name)
    return value == b"true"


def require_utf8_untrusted(body: bytes) -> None:
    """Refuse invalid UTF-8, also where no parser looks. Slice by slice: a decoded copy could take four times the body.

    Raises:
        RequestError: 400 `invalid_json`.
    """
    if not is_utf8(body):
        raise refusal("invalid_json")


def require_shallow_untrusted(body: bytes) -> None:
    """Refuse nesting that is deeper than any honest request's, before a parser recurses into it (attack A13).

    Raises:
        RequestError: 400 `invalid_json`.
    """
    if is_deeper_than(body, JSON_DEPTH_MAX):
        raise refusal("invalid_json", f"The body is nested deeper than {JSON_DEPTH_MAX} levels.")

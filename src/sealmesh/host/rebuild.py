"""Builds the backend's request anew from what was parsed; nothing of a peer's bytes reaches an engine's head.

A sealed request names an operation out of a table, a few headers, and a JSON object. The object's top level is
parsed and written again, so that duplicate keys, leading garbage and a second document have no effect (A24). Nor has a
name in other letters: engines written in Go take `Model` for `model`, and of both the last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from sealmesh.backend.base import BackendRequest
from sealmesh.errors import BackendError
from sealmesh.limits import JSON_DEPTH_MAX, JSON_MEMBERS_MAX
from sealmesh.sealed.exchange import RequestHead
from sealmesh.wire.jsontext import has_more_members_than, is_deeper_than, is_utf8
from sealmesh.wire.operations import REQUEST_HEADERS
from sealmesh.wire.parameters import PARAMETERS

_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()
_KNOWN_NAMES: Final = frozenset(name for parameters in PARAMETERS.values() for name in parameters)


def rebuild_request_untrusted(
    head: RequestHead, body: bytes | bytearray, *, serves: Callable[[str], bool]
) -> BackendRequest:
    """Parse the opened body and build what the backend is asked. Takes linear time; megabytes take tenths of seconds.

    Args:
        head: The request's authenticated head; its operation is already out of the table.
        body: The whole body, after the request's authenticated end.
        serves: Whether this host serves a model.

    Raises:
        BackendError: 400 or 404 as an app would get it; no text of the body is in it.
    """
    fields = _parse_untrusted(body)
    check_names_untrusted(fields)
    model = _text(fields.get("model"))
    if model is None:
        raise BackendError(400, "invalid_request", "the request names no model")
    if not serves(model):
        # Never passed on to whoever may serve it: a sealed request ends at the host that it was sealed to (A09).
        raise BackendError(404, "model_not_found", "this host does not serve the model")
    return BackendRequest(
        operation=head.operation,
        model=model,
        body=_encoder.encode(fields),
        stream=_flag(fields.get("stream")),
        cache_key=head.cache_key,
        headers=tuple((name, value) for name, value in head.headers if name in REQUEST_HEADERS),
    )


def _parse_untrusted(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    """Return the members of the top level, each as it stands there; of members with one name, the last.

    Raises:
        BackendError: It is no JSON object, no UTF-8, nested deeper than any honest request, or has more fields.
    """
    if not is_utf8(body):  # the parser looks only at what it decodes
        raise BackendError(400, "invalid_json", "the request body is not UTF-8")
    if is_deeper_than(body, JSON_DEPTH_MAX):
        raise BackendError(400, "invalid_json", f"the request body is nested deeper than {JSON_DEPTH_MAX} levels")
    if has_more_members_than(body, JSON_MEMBERS_MAX):
        raise BackendError(400, "invalid_request", f"the request has more than {JSON_MEMBERS_MAX} fields")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BackendError(400, "invalid_json", "the request body is not a JSON object") from None


def check_names_untrusted(fields: Collection[str]) -> None:
    """Refuse a name that differs from another, or from one of the API's, in the case of its letters only.

    An engine may take both for one: it would answer for a model that this host does not serve, or follow a link that
    nobody saw here.

    Raises:
        BackendError: There is one.
    """
    for name in fields:
        folded = name.casefold()
        if folded != name and (folded in _KNOWN_NAMES or folded in fields):
            raise BackendError(400, "invalid_request", f"`{folded}` must be written in small letters")


def _text(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _flag(raw: msgspec.Raw | None) -> bool:
    """Return a truth value; absent and null are false.

    Raises:
        BackendError: It is something else, which an engine could take for true where this host did not.
    """
    value = b"null" if raw is None else bytes(raw)[:6]
    if value not in (b"true", b"false", b"null"):
        raise BackendError(400, "invalid_request", "`stream` must be true or false")
    return value == b"true"

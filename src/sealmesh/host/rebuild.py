"""Builds the backend's request anew from what was parsed; nothing of a peer's bytes reaches an engine's head.

A sealed request names an operation out of a table, a few headers, and a JSON object. The object's top level is
parsed and written again, so that duplicate keys, leading garbage and a second document have no effect (A24).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from sealmesh.backend.base import BackendRequest
from sealmesh.errors import BackendError
from sealmesh.sealed.exchange import RequestHead
from sealmesh.wire.operations import REQUEST_HEADERS

_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()


def rebuild_request_untrusted(head: RequestHead, body: bytes | bytearray, *, serves: Callable[[str], bool]) -> BackendRequest:
    """Parse the opened body and build what the backend is asked.

    Args:
        head: The request's authenticated head; its operation is already out of the table.
        body: The whole body, after the request's authenticated end.
        serves: Whether this host serves a model.

    Raises:
        BackendError: 400 or 404 as an app would get it; no text of the body is in it.
    """
    try:
        fields = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BackendError(400, "invalid_json", "the request body is not a JSON object") from None
    model = _string(fields, "model")
    if model is None:
        raise BackendError(400, "invalid_request", "the request names no model")
    if not serves(model):
        raise BackendError(404, "model_not_found", "this host does not serve the model")
    return BackendRequest(
        operation=head.operation,
        model=model,
        body=_encoder.encode(fields),
        stream=fields.get("stream") == msgspec.Raw(b"true"),
        cache_key=head.cache_key,
        headers=tuple((name, value) for name, value in head.headers if name in REQUEST_HEADERS),
    )


def _string(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None

"""What all backends share: answers that are already whole, error objects, and token counts found in a tail."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.backend.base import BackendAnswer, Usage

#: Longest message of an engine that goes into an error object, in characters.
MESSAGE_MAX: Final = 1000

JSON_HEADERS: Final = (("content-type", "application/json"),)
SSE_HEADERS: Final = (("content-type", "text/event-stream"),)

_DECODER: Final = json.JSONDecoder()
_CONTEXT_WORDS: Final = ("maximum context length", "context size", "context length", "context window")


class WholeAnswer(BackendAnswer):
    """An answer whose body is in memory, read in pieces of at most `limits.BACKEND_CHUNK` bytes.

    Args:
        status: HTTP status.
        body: The whole body.
        headers: Lower-case names out of `RESPONSE_HEADERS`.
        usage: Token counts, if known.
    """

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        headers: tuple[tuple[str, str], ...] = JSON_HEADERS,
        usage: Usage | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self._at = 0
        self._usage = usage

    async def read(self) -> bytes:
        """Return the next piece, `b""` after the last."""
        piece = self._body[self._at : self._at + limits.BACKEND_CHUNK]
        self._at += len(piece)
        return piece

    @property
    def ready(self) -> bool:
        """See `BackendAnswer.ready`."""
        return True

    @property
    def usage(self) -> Usage | None:
        """Token counts, if they were given."""
        return self._usage

    async def close(self) -> None:
        """Drop what has not been read."""
        self._at = len(self._body)


def error_object(status: int, code: str, message: str, *, param: str | None = None) -> bytes:
    """Return an OpenAI error object as JSON.

    Args:
        status: Decides the object's `type`.
        code: Stable code.
        message: For people; cut to `MESSAGE_MAX` characters.
        param: The field that is wrong, if one is.
    """
    if status == 429:
        kind = "rate_limit_error"
    elif status < 500:
        kind = "invalid_request_error"
    else:
        kind = "server_error"
    return msgspec.json.encode(
        {"error": {"message": message[:MESSAGE_MAX], "type": kind, "param": param, "code": code}}
    )


def error_answer(
    status: int, code: str, message: str, *, param: str | None = None, headers: tuple[tuple[str, str], ...] = ()
) -> WholeAnswer:
    """Return an answer that carries an error object; headers are added to the content type."""
    return WholeAnswer(status, error_object(status, code, message, param=param), headers=(*JSON_HEADERS, *headers))


def engine_error(status: int, body: bytes) -> WholeAnswer:
    """Turn an engine's own error into an answer with an OpenAI error object, bounded.

    Engines differ: `{"error": {...}}` (OpenAI, llama.cpp, newer vLLM), `{"error": "text"}` (Ollama),
    `{"object": "error", "message": ...}` (older vLLM, SGLang), `{"detail": ...}` (FastAPI), or plain text.

    Args:
        status: The status as the engine gave it, 4xx or 5xx.
        body: Its body, already bounded by `limits.BACKEND_ERROR_BODY_MAX`.
    """
    message, code, param = f"The engine answered with status {status}.", "", None
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        inner = decoded.get("error", decoded)
        if isinstance(inner, str):
            message = inner
        elif isinstance(inner, dict):
            text = inner.get("message", inner.get("detail"))
            message = text if isinstance(text, str) and text else message
            kind = inner.get("type")
            named = inner.get("code")
            code = named if isinstance(named, str) else kind if isinstance(kind, str) else ""
            given = inner.get("param")
            param = given if isinstance(given, str) else None
    lowered = message[: 4 * MESSAGE_MAX].lower()
    if status in (400, 413, 422) and (
        code in ("context_length_exceeded", "exceed_context_size_error") or any(w in lowered for w in _CONTEXT_WORDS)
    ):
        status, code = 400, "context_length_exceeded"
    return error_answer(
        status, code[:64] or ("invalid_request" if status < 500 else "engine_error"), message, param=param
    )


def usage_from(fields: object) -> Usage | None:
    """Return token counts from an OpenAI `usage` object (chat, completions, embeddings or responses), or None."""
    if not isinstance(fields, dict):
        return None
    details = fields.get("prompt_tokens_details", fields.get("input_tokens_details"))
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0

    def count(*names: str) -> int:
        for name in names:
            value = fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
                return value
        return 0

    return Usage(
        prompt_tokens=count("prompt_tokens", "input_tokens"),
        completion_tokens=count("completion_tokens", "output_tokens"),
        cached_tokens=cached if isinstance(cached, int) and 0 <= cached < 1 << 53 else 0,
    )


def usage_in_tail(tail: bytes) -> Usage | None:
    """Return the token counts of the last `usage` object in the end of an answer, or None.

    Inside a JSON string a quote is escaped, so `"usage"` with both quotes bare is a key and never a model's text.

    Args:
        tail: The last few KiB of a JSON body or of an event stream.
    """
    at = tail.rfind(b'"usage"')
    while at >= 0:
        after = tail[at + 7 :].lstrip()
        if after.startswith(b":"):
            try:
                fields, _ = _DECODER.raw_decode(after[1:].decode("utf-8", "replace").lstrip())
            except (ValueError, RecursionError):
                fields = None
            found = usage_from(fields)
            if found is not None:
                return found
        at = tail.rfind(b'"usage"', 0, at)  # e.g. "usage": null in the last event but one
    return None

"""What an echo looks like in each of the OpenAI APIs, whole and as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from sealmesh.backend.base import Usage
from sealmesh.wire.operations import Operation


class ChatShape:
    """Chat completions, as chunks and whole."""

    kind = "chat.completion"

    def __init__(self, model: str, finish: str, usage: Usage, with_usage: bool) -> None:
        self.finish = finish
        self.with_usage = with_usage
        self.counts = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        }
        self.base: dict[str, Any] = {"id": "echo-1", "object": self.kind, "created": 0, "model": model}

    def _choice(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}}

    def _first(self) -> dict[str, Any] | None:
        return {"delta": {"role": "assistant", "content": ""}}

    def _last(self) -> dict[str, Any]:
        return {"delta": {}}

    def whole(self, text: str) -> bytes:
        """Return the answer in one piece."""
        choice = {"index": 0, **self._choice(text), "finish_reason": self.finish}
        return msgspec.json.encode({**self.base, "choices": [choice], "usage": self.counts})

    def _chunk(self, fields: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.kind == "chat.completion" else self.kind
        return b"data: " + msgspec.json.encode({**self.base, "object": kind, **fields}) + b"\n\n"

    def _event(self, part: dict[str, Any], finish: str | None = None) -> bytes:
        return self._chunk({"choices": [{"index": 0, **part, "finish_reason": finish}]})

    def events(self, pieces: list[str]) -> Iterator[bytes]:
        """Yield one event a piece, the first with what goes before it, then one with all that ends the stream."""
        opening = self._first()
        before = self._event(opening) if opening is not None else b""
        # One template, split at the text: a benchmark measures the mesh and not this encoder.
        head, _, tail = self._event(self._delta("\x00")).partition(msgspec.json.encode("\x00"))
        for piece in pieces:
            yield before + head + msgspec.json.encode(piece) + tail
            before = b""
        end = before + self._event(self._last(), self.finish)
        if self.with_usage:
            end += self._chunk({"choices": [], "usage": self.counts})
        yield end + b"data: [DONE]\n\n"


class TextShape(ChatShape):
    """Plain completions."""

    kind = "text_completion"

    def _choice(self, text: str) -> dict[str, Any]:
        return {"text": text, "logprobs": None}

    _delta = _choice

    def _first(self) -> dict[str, Any] | None:
        return None

    def _last(self) -> dict[str, Any]:
        return {"text": "", "logprobs": None}


SHAPES: Final = {
    Operation.CHAT_COMPLETIONS: ChatShape,
    Operation.COMPLETIONS: TextShape,
}

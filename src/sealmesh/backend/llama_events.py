"""llama.cpp's events where OpenAI's differ: several choices, counts that stand in the wrong event, legacy logprobs.

The engine makes one choice a run. More are made one run after the other in the same slot, because the engine's own way
(`n`) copies a prompt's state into other askers' slots. Here the runs become choices of one answer.
"""

from __future__ import annotations

from typing import Any, Final

from sealmesh.backend.llama_tools import ToolCalls
from sealmesh.wire.operations import Operation

_COUNTS: Final = ("prompt_tokens", "completion_tokens")
_LOGPROBS: Final = b'"logprobs":{'  # with bare quotes: in a string they would be escaped
_USAGE: Final = b'"usage":'


class EventShaper:
    """Makes one answer's events out of those of its runs.

    Args:
        operation: Chat or completions.
        choices: How many runs there are.
        with_usage: Whether an event with the counts ends the stream.
        calls: Whether the choices are JSON that becomes tool calls (`llama_tools`).
        bare_logprobs: Whether log probabilities of tokens that were not chosen are left out.
    """

    def __init__(
        self,
        operation: Operation,
        *,
        choices: int = 1,
        with_usage: bool = False,
        calls: bool = False,
        bare_logprobs: bool = False,
    ) -> None:
        self._chat = operation is Operation.CHAT_COMPLETIONS
        self._choices = choices
        self._with_usage = with_usage
        self._bare_logprobs = bare_logprobs
        self._base: dict[str, Any] = {}
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._cached = 0
        self._offsets: dict[int, int] = {}
        self._calls = [ToolCalls() for _ in range(choices)] if calls else []

    def changes(self, event: bytes) -> bool:
        """Whether an event has to be looked into at all: of one chat answer none has."""
        if self._choices > 1 or self._calls:
            return True
        if self._chat:
            return self._bare_logprobs and _LOGPROBS in event
        return _LOGPROBS in event or _USAGE in event

    def shape(self, run: int, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Change one event in place; None where nothing of it is left to say.

        Args:
            run: Which run it belongs to, from 0.
            fields: The event.
        """
        if not self._base:
            self._base = {name: fields[name] for name in ("id", "created", "model", "object") if name in fields}
        if self._choices > 1:
            fields |= {name: self._base[name] for name in ("id", "created") if name in self._base}
        if self._choices > 1 or not self._chat:
            self._take_counts(run, fields)
        for choice in fields.get("choices", ()):
            choice["index"] = choice.get("index", 0) * self._choices + run
            logprobs = choice.get("logprobs")
            if self._bare_logprobs and isinstance(logprobs, dict):
                for token in logprobs.get("content") or []:
                    token["top_logprobs"] = []
            if not self._chat and isinstance(logprobs, dict):
                choice["logprobs"] = self._legacy(choice["index"], logprobs)
            if self._calls:
                delta, finish = self._calls[run].take(choice.get("delta") or {}, choice.get("finish_reason"))
                choice |= {"delta": delta, "finish_reason": finish}
        if self._calls and not any(one["delta"] or one["finish_reason"] for one in fields.get("choices", ())):
            fields.pop("choices", None)
        return fields if fields.get("choices") or "usage" in fields else None

    def closing(self) -> dict[str, Any] | None:
        """Return the event with the counts of all runs, None where the engine said them or nobody wants them."""
        if not self._with_usage or (self._chat and self._choices == 1):
            return None
        usage = {
            **self._counts,
            "total_tokens": sum(self._counts.values()),
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }
        return {**self._base, "choices": [], "usage": usage}

    def _take_counts(self, run: int, fields: dict[str, Any]) -> None:
        """Add counts up: a prompt counts once, however many choices it has."""
        usage = fields.pop("usage", None)
        if not isinstance(usage, dict):
            return
        self._counts["completion_tokens"] += usage.get("completion_tokens", 0)
        if run == 0:
            self._counts["prompt_tokens"] += usage.get("prompt_tokens", 0)
            self._cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)

    def _legacy(self, index: int, logprobs: dict[str, Any]) -> dict[str, Any]:
        """Return chat's log probabilities in the shape of completions. Offsets count from the answer's beginning."""
        made: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        at = self._offsets.get(index, 0)
        for token in logprobs.get("content") or []:
            made["tokens"].append(token["token"])
            made["token_logprobs"].append(token["logprob"])
            made["top_logprobs"].append({one["token"]: one["logprob"] for one in token.get("top_logprobs") or []})
            made["text_offset"].append(at)
            at += len(token["token"])
        self._offsets[index] = at
        return made

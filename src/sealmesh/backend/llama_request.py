"""What goes into llama.cpp and how its events become one whole answer.

The engine takes many fields beyond OpenAI's: some choose the slot or reach its cache, some make it print what was
asked. A request is therefore built from a list of fields that may pass, and every field that the host decides is set by
the host.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sealmesh.backend.base import BackendRequest, Usage
from sealmesh.errors import RequestError
from sealmesh.wire.operations import Operation

_SAMPLING: Final = frozenset(
    {
        "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
        "repeat_penalty", "seed", "stop", "logit_bias", "logprobs", "ignore_eos",
    }
)  # fmt: skip

#: Fields that may pass, by operation. `grammar` may not: the engine prints one that it cannot parse to stderr.
FIELDS: Final = {
    Operation.CHAT_COMPLETIONS: _SAMPLING
    | {
        "messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice",
        "parallel_tool_calls", "reasoning_effort", "chat_template_kwargs", "stream_options",
    },
    Operation.COMPLETIONS: _SAMPLING | {"prompt", "suffix", "echo", "stream_options"},
    Operation.EMBEDDINGS: frozenset({"input", "encoding_format", "dimensions"}),
}  # fmt: skip

#: Body bytes a token of context: no vocabulary that we know has longer tokens, escapes counted. Beyond it the engine's
#: tokenizer, which nothing can stop, is not even started.
_BYTES_PER_TOKEN: Final = 256
_BYTES_BESIDES: Final = 256 * 1024


def build_request(request: BackendRequest, *, slot: int, reuse: bool, context: int) -> tuple[bytes, int]:
    """Return the JSON for the engine, and how many prompts it holds.

    Args:
        request: As the host rebuilt it.
        slot: The slot that the host chose.
        reuse: Whether the slot's state may serve this request.
        context: Tokens that one request gets.

    Raises:
        RequestError: A field cannot be taken.
    """
    if len(request.body) > context * _BYTES_PER_TOKEN + _BYTES_BESIDES:
        raise RequestError(
            400, "context_length_exceeded", f"The request is longer than the model's context of {context} tokens."
        )
    try:
        fields: Any = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "invalid_json", "The body is not a JSON object that can be read.")
    refuse_more_choices(fields)
    allowed = FIELDS[request.operation]
    body: dict[str, Any] = {name: value for name, value in fields.items() if name in allowed and value is not None}
    body["model"] = request.model
    prompts = 1
    if request.operation is not Operation.EMBEDDINGS:
        body |= {"id_slot": slot, "cache_prompt": reuse, "n_cache_reuse": 0, "stream": True, "return_progress": True}
        if not request.stream:
            body["stream_options"] = {"include_usage": True}
        prompt = body.get("prompt")
        if isinstance(prompt, list) and prompt and not all(isinstance(item, int) for item in prompt):
            prompts = len(prompt)
    return msgspec.json.encode(body), prompts


def refuse_more_choices(fields: dict[str, Any]) -> None:
    """Refuse `n` beyond 1: the engine copies the prompt's state into other slots, whose keys then lie.

    Raises:
        RequestError: More than one choice is asked for.
    """
    for name in ("n", "best_of"):
        if fields.get(name) not in (None, 1):
            raise RequestError(400, "unsupported_value", f"This model gives one choice: {name} must be 1.", param=name)


def usage_from_timings(timings: dict[str, Any]) -> Usage:
    """Return token counts from the timings that every last event carries, asked for or not."""
    cached = int(timings.get("cache_n", 0))
    return Usage(
        prompt_tokens=cached + int(timings.get("prompt_n", 0)),
        completion_tokens=int(timings.get("predicted_n", 0)),
        cached_tokens=cached,
    )


class Collector:
    """Makes the whole answer out of events.

    The engine can be stopped only between events, so a request without `stream` is run with events too.
    """

    def __init__(self, operation: Operation) -> None:
        self._chat = operation is Operation.CHAT_COMPLETIONS
        self._choices: dict[int, dict[str, Any]] = {}
        self._base: dict[str, Any] = {}
        self._counts = {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0}
        self._cached = 0

    def add(self, event: dict[str, Any]) -> None:
        """Take one event."""
        for name in ("created", "model", "system_fingerprint", "id", "timings"):
            if name in event:
                self._base[name] = event[name]
        counts = event.get("usage")
        if isinstance(counts, dict):
            for name in self._counts:
                self._counts[name] += counts.get(name, 0)
            self._cached += (counts.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        for part in event.get("choices", ()):
            choice = self._choices.setdefault(
                part["index"], {"message": {}, "text": "", "logprobs": None, "finish": None}
            )
            choice["finish"] = part.get("finish_reason") or choice["finish"]
            if self._chat:
                _merge_delta(choice["message"], part.get("delta", {}))
            else:
                choice["text"] += part.get("text") or ""
            logprobs = part.get("logprobs")
            if isinstance(logprobs, dict):
                choice["logprobs"] = choice["logprobs"] or {"content": []}
                choice["logprobs"]["content"] += logprobs.get("content") or []

    def whole(self) -> bytes:
        """Return the answer as the engine's own server gives it without `stream`."""
        choices: list[dict[str, Any]] = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            if self._chat:
                message = {"role": "assistant", "content": None, **choice["message"]}
                if message["content"] is None and "tool_calls" not in message:
                    message["content"] = ""
                made = {"finish_reason": choice["finish"], "index": index, "message": message}
                if choice["logprobs"] is not None:
                    made["logprobs"] = choice["logprobs"]
            else:
                made = {
                    "text": choice["text"],
                    "index": index,
                    "logprobs": choice["logprobs"],
                    "finish_reason": choice["finish"],
                }
            choices.append(made)
        usage = {**self._counts, "prompt_tokens_details": {"cached_tokens": self._cached}}
        kind = "chat.completion" if self._chat else "text_completion"
        return msgspec.json.encode({"choices": choices, "object": kind, "usage": usage, **self._base})


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
            for part in value:
                at = part.get("index", 0)
                while len(calls) <= at:
                    calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
                call = calls[at]
                call |= {key: part[key] for key in ("id", "type") if part.get(key)}
                for key, text in (part.get("function") or {}).items():
                    call["function"][key] = call["function"].get(key, "") + (text or "")
        elif name == "role":
            message["role"] = value
        elif isinstance(value, str):
            message[name] = (message.get(name) or "") + value

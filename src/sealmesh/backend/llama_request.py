"""What goes into llama.cpp and how its events become one whole answer.

The engine takes many fields beyond OpenAI's: some choose the slot or reach its cache, some make it print what was
asked. A request is therefore built from a list of fields that may pass, and every field that the host decides is set by
the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sealmesh.backend.base import BackendRequest, Usage
from sealmesh.backend.llama_tools import describe_tools
from sealmesh.errors import RequestError
from sealmesh.wire.operations import Operation
from sealmesh.wire.parameters import PARAMETERS, Handling, refuse_unsupported

#: Fields beyond OpenAI's that may pass. `grammar` may not: the engine prints one that it cannot parse to stderr.
_BEYOND: Final = frozenset({"top_k", "min_p", "repeat_penalty", "ignore_eos", "chat_template_kwargs"})
#: Fields that the host sets itself.
_OF_THE_HOST: Final = frozenset({"model", "stream", "n", "user", "prompt_cache_key"})

#: Fields that may pass, by operation.
FIELDS: Final = {
    operation: (
        frozenset(name for name, one in PARAMETERS[operation].items() if one.in_process is Handling.WORKS)
        | (frozenset() if operation is Operation.EMBEDDINGS else _BEYOND)
    )
    - _OF_THE_HOST
    for operation in (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.EMBEDDINGS)
}
_CHOICES_MAX: Final = 16  # of one request: each is a whole answer, made while others wait for the slot
_SEED_MAX: Final = (1 << 32) - 1  # the engine's seeds; the last one asks for a random one

#: Body bytes a token of context: no vocabulary that we know has longer tokens, escapes counted. Beyond it the engine's
#: tokenizer, which nothing can stop, is not even started.
_BYTES_PER_TOKEN: Final = 256
_BYTES_BESIDES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """What the engine is asked.

    Attributes:
        bodies: JSON, one for each choice.
        prompts: How many prompts each holds.
        with_usage: Whether the asker wants the counts in its stream.
        calls: Whether the answer is JSON that becomes tool calls (`llama_tools`).
        bare_logprobs: Whether only the tokens' own log probabilities are wanted; the engine gives others with them.
    """

    bodies: tuple[bytes, ...] = field(repr=False)
    prompts: int
    with_usage: bool
    calls: bool = False
    bare_logprobs: bool = False


def build_request(
    request: BackendRequest, *, slot: int, reuse: bool, context: int, own_tools: bool = False
) -> EngineRequest:
    """Return what the engine is asked.

    Args:
        request: As the host rebuilt it.
        slot: The slot that the host chose.
        reuse: Whether the slot's state may serve this request.
        context: Tokens that one request gets.
        own_tools: Whether tools are described here, because the model's chat template knows none.

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
    refuse_unsupported(request.operation, fields, where="this model")
    if request.operation is Operation.CHAT_COMPLETIONS:
        refuse_other_than_text(fields.get("messages"))
    calls = own_tools and request.operation is Operation.CHAT_COMPLETIONS and describe_tools(fields)
    allowed = FIELDS[request.operation]
    body: dict[str, Any] = {name: value for name, value in fields.items() if name in allowed and value is not None}
    body["model"] = request.model
    if request.operation is Operation.EMBEDDINGS:
        return EngineRequest(bodies=(msgspec.json.encode(body),), prompts=1, with_usage=False)
    choices = _choices(fields)
    body |= {"id_slot": slot, "cache_prompt": reuse, "n_cache_reuse": 0, "stream": True, "return_progress": True}
    bare_logprobs = _ask_for_bare_logprobs(request.operation, body)
    options = body.get("stream_options")
    with_usage = not request.stream or (isinstance(options, dict) and options.get("include_usage") is True)
    if not request.stream:
        body["stream_options"] = {"include_usage": True}
    prompt = body.get("prompt")
    prompts = 1
    if isinstance(prompt, list) and prompt and not all(isinstance(item, int) for item in prompt):
        prompts = len(prompt)
    bodies = [msgspec.json.encode(body)]
    seed = body.get("seed")
    for number in range(1, choices):
        if isinstance(seed, int) and not isinstance(seed, bool):
            body["seed"] = (seed + number) % _SEED_MAX
        body["cache_prompt"] = True  # its own prompt, which the slot has just worked on
        bodies.append(msgspec.json.encode(body))
    return EngineRequest(
        bodies=tuple(bodies), prompts=prompts, with_usage=with_usage, calls=calls, bare_logprobs=bare_logprobs
    )


def _ask_for_bare_logprobs(operation: Operation, body: dict[str, Any]) -> bool:
    """Whether the tokens' own log probabilities are wanted and no others. The engine has no word for it: one other."""
    if operation is Operation.CHAT_COMPLETIONS:
        bare = body.get("logprobs") is True and body.get("top_logprobs") in (None, 0)
        name = "top_logprobs"
    else:
        bare = type(body.get("logprobs")) is int and body["logprobs"] == 0
        name = "logprobs"
    if bare:
        body[name] = 1
    return bare


def _choices(fields: dict[str, Any]) -> int:
    """Return how many choices are asked for.

    Raises:
        RequestError: None, too many, or no number.
    """
    choices = fields.get("n")
    if choices is None:
        return 1
    if not isinstance(choices, int) or isinstance(choices, bool) or not 1 <= choices <= _CHOICES_MAX:
        words = f"This model gives 1 to {_CHOICES_MAX} choices: n must be a number from 1 to {_CHOICES_MAX}."
        raise RequestError(400, "unsupported_value", words, param="n")
    return choices


def refuse_other_than_text(messages: object) -> None:
    """Refuse images, sound and files by their place: this model is loaded without what would read them.

    Raises:
        RequestError: 400 `unsupported_content`.
    """
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") not in ("text", "refusal"):
                raise RequestError(
                    400,
                    "unsupported_content",
                    "This model takes text only: choose another model for images, sound or files.",
                    param=f"messages[{at}].content[{place}]",
                )


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
                gathered = choice["logprobs"] = choice["logprobs"] or {}
                for name, values in logprobs.items():
                    gathered[name] = gathered.get(name, []) + (values or [])

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

"""What docs/reference/openai.md says, as data.

`test_openai_rows.py` executes each row, `scripts/openai_page.py` writes it to the page. What becomes of a parameter
stands in `sealmesh.wire.parameters`; here is the value that each is tried with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sealmesh.wire.operations import Operation

CHAT, TEXT = Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS
EMBEDDINGS, RESPONSES = Operation.EMBEDDINGS, Operation.RESPONSES

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]

#: What each request has besides the parameter that is tried.
BASE: dict[Operation, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 2},
    TEXT: {"prompt": "Once upon", "max_tokens": 2},
    EMBEDDINGS: {"input": "one"},
    RESPONSES: {"input": "Say hello.", "max_output_tokens": 2, "store": False},
}

#: A value that asks for something.
VALUES: dict[str, Any] = {
    "access_programs": ["x"], "audio": {"voice": "alloy", "format": "wav"}, "background": True,
    "background_options": {"x": 1}, "best_of": 2, "context_management": [{"type": "compaction"}],
    "conversation": "conv_1", "dimensions": 4, "echo": True, "encoding_format": "float", "frequency_penalty": 0.5,
    "function_call": "auto", "functions": [{"name": "f"}], "image": {"x": 1}, "include": ["x"], "input": "two",
    "instructions": "Be brief.", "logit_bias": {"1": -1}, "logprobs": True, "max_completion_tokens": 3,
    "max_output_tokens": 3, "max_tokens": 3, "max_tool_calls": 3,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}],
    "metadata": {"a": "b"}, "modalities": ["text", "audio"], "moderation": {"x": 1}, "n": 2,
    "parallel_tool_calls": False, "prediction": {"type": "content", "content": "x"}, "presence_penalty": 0.5,
    "prompt": ["One", "Two"], "prompt_cache_key": "k", "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h", "reasoning": {"effort": "low"}, "reasoning_effort": "low",
    "response_format": {"type": "json_object"}, "safety_identifier": "s", "seed": 7, "service_tier": "flex",
    "stop": ["zzz"], "store": True, "stream": True, "stream_options": {"include_usage": True}, "suffix": "x",
    "temperature": 0.5, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": TOOLS, "top_logprobs": 1,
    "top_p": 0.9, "truncation": "auto", "user": "u", "verbosity": "low", "web_search_options": {"x": 1},
}  # fmt: skip

#: Where an endpoint's form differs.
OTHER_VALUES: dict[tuple[Operation, str], Any] = {
    (TEXT, "logprobs"): 1,
    (RESPONSES, "tools"): [{"type": "function", **FUNCTION}],
    (RESPONSES, "prompt"): {"id": "p"},
    (TEXT, "user"): "u",
}

#: What a parameter makes sense with only.
TOGETHER: dict[tuple[Operation, str], dict[str, Any]] = {
    (CHAT, "stream_options"): {"stream": True},
    (TEXT, "stream_options"): {"stream": True},
    (RESPONSES, "stream_options"): {"stream": True},
    (CHAT, "top_logprobs"): {"logprobs": True},
    (CHAT, "tool_choice"): {"tools": TOOLS},
    (CHAT, "parallel_tool_calls"): {"tools": TOOLS},
    (RESPONSES, "tool_choice"): {"tools": [{"type": "function", **FUNCTION}]},
    (RESPONSES, "parallel_tool_calls"): {"tools": [{"type": "function", **FUNCTION}]},
}


def request(operation: Operation, name: str, value: Any) -> dict[str, Any]:
    """The body that tries one value, without the model."""
    return {**BASE[operation], **TOGETHER.get((operation, name), {}), name: value}


def value_for(operation: Operation, name: str) -> Any:
    """The value that a parameter is tried with."""
    return OTHER_VALUES.get((operation, name), VALUES[name])


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """What a stream has in it.

    Attributes:
        operation: Which endpoint.
        event: What is looked for: the type of a Responses event, or a path into a chunk; the page shows it.
        when: In words.
        body: Added to the request.
    """

    operation: Operation
    event: str
    when: str
    body: dict[str, Any] = field(default_factory=dict)


_CALLING = {"tools": TOOLS}
_CALLING_RESPONSES = {"tools": [{"type": "function", **FUNCTION}]}
EVENTS = [
    EventRow(operation=CHAT, event="choices.delta.role", when="first of each choice"),
    EventRow(operation=CHAT, event="choices.delta.content", when="each piece of text"),
    EventRow(operation=CHAT, event="choices.delta.tool_calls", when="each piece of a call", body=_CALLING),
    EventRow(operation=CHAT, event="choices.logprobs", when="with `logprobs`", body={"logprobs": True}),
    EventRow(operation=CHAT, event="choices.finish_reason", when="last of each choice"),
    EventRow(
        operation=CHAT,
        event="usage",
        when="after the choices, with `stream_options.include_usage`",
        body={"stream_options": {"include_usage": True}},
    ),
    EventRow(operation=CHAT, event="[DONE]", when="only after the authenticated end"),
    EventRow(operation=TEXT, event="choices.text", when="each piece of text"),
    EventRow(operation=TEXT, event="choices.finish_reason", when="last of each choice"),
    EventRow(operation=TEXT, event="[DONE]", when="only after the authenticated end"),
    *(
        EventRow(operation=RESPONSES, event=f"response.{name}", when=when, body=body)
        for name, when, body in (
            ("created", "first", {}),
            ("in_progress", "second", {}),
            ("output_item.added", "first of each item", {}),
            ("content_part.added", "before an item's text", {}),
            ("output_text.delta", "each piece of text", {}),
            ("output_text.done", "after an item's text", {}),
            ("content_part.done", "after it", {}),
            ("function_call_arguments.delta", "each piece of a call", _CALLING_RESPONSES),
            ("function_call_arguments.done", "after a call", _CALLING_RESPONSES),
            ("output_item.done", "last of each item", {}),
            ("completed", "last, only after the authenticated end", {}),
        )
    ),
]


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """A request that is an error.

    Attributes:
        when: In words.
        status: Of the answer.
        code: Of the error object.
        where: `works` where this node or its host says it, `passed on` where it is the engine's word.
        body: The request; None is not JSON at all.
        model: Which model is asked: `engine`, or a name that nobody has.
    """

    when: str
    status: int
    code: str
    where: str = "works"
    body: dict[str, Any] | None = None
    model: str = "engine"


ERRORS = [
    ErrorRow(when="the body is no JSON", status=400, code="invalid_json"),
    ErrorRow(when="a field is missing or has the wrong type", status=400, code="invalid_request", body={"messages": 7}),
    ErrorRow(
        when="no host has the model", status=404, code="model_not_found", body=BASE[CHAT], model="nobody-has-this"
    ),
    ErrorRow(
        when="a model in the host's process cannot do it",
        status=400,
        code="unsupported_parameter",
        body=request(CHAT, "verbosity", "low"),
        model="smollm2-135m",
    ),
    ErrorRow(
        when="the prompt is longer than the model's context",
        status=400,
        code="context_length_exceeded",
        body={"messages": [{"role": "user", "content": "word " * 9000}]},
        model="smollm2-135m",
    ),
    *(
        ErrorRow(
            when=f"the engine answers {status}",
            status=status,
            code="engine_says_no",
            where="passed on",
            body=request(CHAT, "seed", status),
        )
        for status in (400, 404, 422, 429, 500, 503)
    ),
]

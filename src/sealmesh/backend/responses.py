"""An engine's chat answer as a Response object; its events are in `responses_events`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sealmesh.backend.answers import usage_from
from sealmesh.errors import BackendError

_WORD_MAX: Final = 1024  # a call's id or name
CUT_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
WHOLE_REASONS: Final = ("stop", "tool_calls", "function_call")
#: Of a chat message or delta: where text stands, the part that it becomes, the part's member, the stem of its events.
TEXTS: Final = (
    ("reasoning_content", "reasoning_text", "text", "response.reasoning_text"),
    ("content", "output_text", "text", "response.output_text"),
    ("refusal", "refusal", "refusal", "response.refusal"),
)


def garbled(words: str = "The engine's answer is not one of chat completions.") -> BackendError:
    """What is raised for an answer that cannot be understood."""
    return BackendError(502, "engine_broken", words)


class Answered:
    """What every Response object of one answer has in common.

    Args:
        identifier: Hex digits that name the answer.
        created: Unix seconds.
        model: The model's name.
        echo: What is repeated of the request.
    """

    def __init__(self, *, identifier: str, created: int, model: str, echo: dict[str, Any]) -> None:
        self.identifier = identifier
        self._base: dict[str, Any] = {
            "id": f"resp_{identifier}", "object": "response", "created_at": created, "model": model, **echo,
        }  # fmt: skip

    def response(
        self,
        status: str,
        output: list[dict[str, Any]],
        *,
        usage: dict[str, Any] | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        """Return a Response object.

        Args:
            status: `in_progress`, `completed`, `incomplete` or `failed`.
            output: Its items.
            usage: Token counts, in its own words.
            reason: Why it is incomplete.
            error: Why it failed.
        """
        return self._base | {
            "status": status,
            "output": output,
            "usage": usage,
            "incomplete_details": None if reason is None else {"reason": reason},
            "error": None if error is None else {"code": "server_error", "message": error},
        }

    def ended(self, finish: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """Return the Response object of an answer that ended as chat's `finish_reason` says.

        Raises:
            BackendError: There is no such reason.
        """
        if finish in WHOLE_REASONS:
            return self.response("completed", output, usage=usage)
        if finish not in CUT_REASONS:
            raise garbled("The engine gave no reason for the end of its answer.")
        if output:
            output[-1]["status"] = "incomplete"
        return self.response("incomplete", output, usage=usage, reason=CUT_REASONS[finish])


class Item:
    """One output item as it grows: a message, reasoning, or a function call."""

    def __init__(self, kind: str, identifier: str, /, **more: Any) -> None:
        self.kind = kind
        self.fields: dict[str, Any] = {"id": identifier, "type": kind, "status": "in_progress", **more}
        self.part = ""  # type of the open part
        self.member = ""  # where that part's text stands
        self.stem = ""  # of its events' names
        self.text: list[str] = []

    def take_text(self) -> str:
        """Return the text so far, which is then kept as one piece."""
        self.text = ["".join(self.text)]
        return self.text[0]

    def part_object(self, text: str) -> dict[str, Any]:
        """Return the open part with a text."""
        more: dict[str, Any] = {"annotations": []} if self.part == "output_text" else {}
        return {"type": self.part, self.member: text, **more}

    def done(self) -> dict[str, Any]:
        """Close it and return it."""
        self.fields["status"] = "completed"
        if self.kind == "function_call":
            self.fields["arguments"] = self.take_text()
        elif self.part:
            self.fields["content"] = [*self.fields["content"], self.part_object(self.take_text())]
        return self.fields


def new_message(name: str, part: str) -> Item:
    """Return an empty message, or reasoning where the part is reasoning."""
    if part == "reasoning_text":
        return Item("reasoning", f"rs_{name}", summary=[], content=[])
    return Item("message", f"msg_{name}", role="assistant", content=[])


def new_call(name: str, call: dict[str, Any]) -> Item:
    """Return a function call without its arguments.

    Raises:
        BackendError: It has no name.
    """
    function = call.get("function")
    called = function.get("name") if isinstance(function, dict) else None
    if not isinstance(called, str) or not called or len(called) > _WORD_MAX:
        raise garbled("The engine called a tool without its name.")
    given = call.get("id")
    identifier = given if isinstance(given, str) and 0 < len(given) <= _WORD_MAX else f"call_{name}"
    return Item("function_call", f"fc_{name}", call_id=identifier, name=called, arguments="")


def arguments_of(call: dict[str, Any]) -> str:
    """Return a call's arguments, or the piece of them that has come.

    Raises:
        BackendError: They are no text.
    """
    function = call.get("function")
    text = (function.get("arguments") or "") if isinstance(function, dict) else ""
    if not isinstance(text, str):
        raise garbled()
    return text


def response_usage(fields: object) -> dict[str, Any] | None:
    """Return chat's token counts in the words of the Responses API, None if there are none."""
    counts = usage_from(fields)
    if counts is None or not isinstance(fields, dict):
        return None
    details = fields.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else 0
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {
            "reasoning_tokens": thought if isinstance(thought, int) and 0 <= thought < 1 << 53 else 0
        },
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }


def response_from_chat_untrusted(body: bytes, answered: Answered) -> bytes:
    """Return an engine's whole chat answer as a Response object.

    Raises:
        BackendError: It is no whole chat answer.
    """
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    choice = choice_of(fields)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        raise garbled()
    output: list[dict[str, Any]] = []
    last: Item | None = None
    for source, part, member, _ in TEXTS:
        text = message.get(source)
        if not isinstance(text, str | None):
            raise garbled()
        if text:
            item = new_message(f"{answered.identifier}_{len(output)}", part)
            if last is not None and last.kind == item.kind == "message":  # words, then a refusal: one message
                item = last
            else:
                output.append(item.fields)
            item.part, item.member, item.text = part, member, [text]
            item.done()
            last = item
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise garbled()
    for call in calls:
        item = new_call(f"{answered.identifier}_{len(output)}", call)
        item.text = [arguments_of(call)]
        output.append(item.done())
    if not output:  # the model said nothing: an empty message, as chat gives one
        item = new_message(f"{answered.identifier}_0", "output_text")
        item.part, item.member = "output_text", "text"
        output.append(item.done())
    finish = choice.get("finish_reason")
    ended = answered.ended(finish if isinstance(finish, str) else "", output, response_usage(fields.get("usage")))
    return msgspec.json.encode(ended)


def choice_of(fields: object) -> dict[str, Any] | None:
    """Return the only choice of a chat answer or chunk; None if there is none.

    Raises:
        BackendError: It is no chat answer.
    """
    if not isinstance(fields, dict):
        raise garbled()
    if fields.get("error") is not None:
        raise BackendError(502, "engine_error", "The engine failed in the middle of an answer.")
    choices = fields.get("choices")
    if not isinstance(choices, list) or len(choices) > 1:
        raise garbled()
    if not choices:
        return None
    if not isinstance(choices[0], dict) or choices[0].get("index", 0) != 0:
        raise garbled()
    return choices[0]

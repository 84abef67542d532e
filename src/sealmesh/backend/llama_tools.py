"""Tools for models whose chat template knows none: described in words, answered in JSON that a grammar holds in form.

The engine ignores tools that a template does not render, and so would answer another question. Here the tools become
part of the system message, and the answer is bound by a JSON schema to be one call or, where the app leaves the choice,
words. What the model says is turned into a chat answer's own tool calls as it comes.
"""

from __future__ import annotations

import json
import mmap
import re
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.errors import RequestError

_TEMPLATE_KEY: Final = b"tokenizer.chat_template"
_HEADER_MAX: Final = 64 * limits.MIB  # where a model's file says such things: before its weights
_TEMPLATE_MAX: Final = limits.MIB

_INTRODUCTION: Final = "You may call one of these functions, given with what they do and the schema of their arguments:"
_MUST: Final = 'Answer with one call, as {"name": <function>, "arguments": <object>}.'
_MAY: Final = (
    'Answer with one call, as {"name": <function>, "arguments": <object>}, or in words, as {"content": <text>}.'
)
_WORDS: Final = {
    "type": "object",
    "properties": {"content": {"type": "string"}},
    "required": ["content"],
    "additionalProperties": False,
}
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


def template_knows_tools(path: Path) -> bool:
    """Whether a model's file has a chat template that says tools to the model."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = min(len(data), _HEADER_MAX)
        if data.find(_TEMPLATE_KEY + b".tool_use", 0, end) >= 0:
            return True
        at = data.find(_TEMPLATE_KEY + b"\x08\x00\x00\x00", 0, end)  # a string [GGUF]
        if at < 0:
            return False
        at += len(_TEMPLATE_KEY) + 4
        length = min(int.from_bytes(data[at : at + 8], "little"), _TEMPLATE_MAX)
        return re.search(rb"\btools\b", data[at + 8 : at + 8 + length]) is not None


# --- what goes in ----------------------------------------------------------------------------------------------------


def describe_tools(fields: dict[str, Any]) -> bool:
    """Put a chat request's tools where the model reads them, and bind its answer to their form.

    Args:
        fields: The request, changed in place.

    Returns:
        Whether the answer will be one for `ToolCalls`.

    Raises:
        RequestError: 400, the tools or the choice among them cannot be used.
    """
    tools, choice = fields.pop("tools", None), fields.pop("tool_choice", None)
    fields.pop("parallel_tool_calls", None)
    messages = fields.get("messages")
    if isinstance(messages, list):
        fields["messages"] = messages = [_in_words(message) for message in messages]
    if tools is None or tools == [] or choice == "none":
        return False
    functions = _functions(tools)
    for name, neutral in (("response_format", {"type": "text"}), ("logprobs", False)):
        if fields.pop(name, None) not in (None, neutral):
            words = f"This model takes `{name}` or `tools`, not both at once."
            raise RequestError(400, "unsupported_parameter", words, param=name)
    wanted = _wanted(choice, functions)
    schema = _schema(wanted, words_too=choice in (None, "auto"))
    fields["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    if isinstance(messages, list):
        said = [_INTRODUCTION, *(json.dumps(one, ensure_ascii=False) for one in wanted.values())]
        said.append(_MAY if choice in (None, "auto") else _MUST)
        _add_to_system(messages, "\n".join(said))
    return True


def _functions(tools: object) -> dict[str, dict[str, Any]]:
    """Return the functions by name."""
    found: dict[str, dict[str, Any]] = {}
    for at, tool in enumerate(tools if isinstance(tools, list) else (None,)):
        match tool:
            case {"type": "function", "function": {"name": str(name)} as function} if name and name not in found:
                parameters = function.get("parameters") or _NO_ARGUMENTS
                if not isinstance(parameters, dict):
                    raise _wrong(f"tools[{at}].function.parameters", "The parameters of a tool must be a JSON schema.")
                found[name] = {
                    "name": name,
                    "description": str(function.get("description") or ""),
                    "parameters": parameters,
                }
            case _:
                raise _wrong(f"tools[{at}]", "A tool must be a function with a name of its own.")
    return found


def _wanted(choice: object, functions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    match choice:
        case None | "auto" | "required":
            return functions
        case {"type": "function", "function": {"name": str(name)}} if name in functions:
            return {name: functions[name]}
        case _:
            raise _wrong("tool_choice", "Use none, auto, required, or one of the tools by its name.")


def _schema(functions: dict[str, dict[str, Any]], *, words_too: bool) -> dict[str, Any]:
    """Return the schema of a call or of words. Definitions stand at the root, where `$ref` looks for them."""
    definitions: dict[str, Any] = {}
    forms: list[dict[str, Any]] = [_WORDS] if words_too else []
    for name, function in functions.items():
        parameters = dict(function["parameters"])
        for key in ("$defs", "definitions"):
            for word, definition in (parameters.pop(key, None) or {}).items():
                if definitions.setdefault(key, {}).setdefault(word, definition) != definition:
                    raise _wrong("tools", "Two tools define the same word of their schemas in different ways.")
        forms.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms}), **definitions}


def _in_words(message: Any) -> Any:
    """Return a message with calls and their results as text: the template renders nothing else."""
    match message:
        case {"role": "assistant", "tool_calls": list(calls)} if calls:
            said = [message["content"]] if isinstance(message.get("content"), str) and message["content"] else []
            for call in calls:
                match call:
                    case {"function": {"name": str(name), "arguments": str(arguments)}}:
                        said.append(f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}')
                    case _:
                        raise _wrong("messages", "A tool call needs its function's name and arguments.")
            return {"role": "assistant", "content": "\n".join(said)}
        case {"role": "tool", "content": content}:
            return {"role": "user", "content": _joined("The function returned: ", content)}
        case _:
            return message


def _joined(before: str, content: object) -> Any:
    if isinstance(content, list):
        return [{"type": "text", "text": before}, *content]
    return before + content if isinstance(content, str) else content


def _add_to_system(messages: list[Any], text: str) -> None:
    match messages[:1]:
        case [{"role": "system" | "developer" as role, "content": str(content)}]:
            messages[0] = {"role": role, "content": f"{content}\n\n{text}"}
        case [{"role": "system" | "developer" as role, "content": list(content)}]:
            messages[0] = {"role": role, "content": [*content, {"type": "text", "text": f"\n\n{text}"}]}
        case _:
            messages.insert(0, {"role": "system", "content": text})


def _wrong(place: str, words: str) -> RequestError:
    return RequestError(400, "invalid_request", words, param=place)


# --- what comes out --------------------------------------------------------------------------------------------------

_CALL: Final = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_CONTENT: Final = re.compile(r'\s*\{\s*"content"\s*:\s*"')
#: What of a JSON string can be decoded: whole escapes, and no half of a pair of surrogates at the end.
_DECODABLE: Final = re.compile(
    r'(?:[^"\\]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})*'
)
_CLOSING: Final = re.compile(r"[\s}]*\Z")


class ToolCalls:
    """Turns one choice's JSON, as it comes, into the deltas of a chat answer."""

    __slots__ = ("_called", "_held", "_text")

    def __init__(self) -> None:
        self._held = ""
        self._called = False  # a call has begun
        self._text = False  # words have begun

    def take(self, delta: dict[str, Any], finish: str | None) -> tuple[dict[str, Any], str | None]:
        """Return what an app is told instead of a delta and its finish reason."""
        self._held += delta.pop("content", None) or ""
        made = dict(delta)
        if not self._called and not self._text:
            made |= self._begin()
        if self._called:
            self._add_arguments(made, finish)
        elif self._text:
            if words := self._words():
                made["content"] = words
        elif finish is not None and self._held:  # cut before it took a form
            self._held = ""
        return made, "tool_calls" if self._called and finish == "stop" else finish

    def _begin(self) -> dict[str, Any]:
        if call := _CALL.match(self._held):
            self._called = True
            self._held = self._held[call.end() :]
            function = {"name": msgspec.json.decode(call[1], type=str), "arguments": ""}
            identifier = f"call_{secrets.token_hex(12)}"
            return {"tool_calls": [{"index": 0, "id": identifier, "type": "function", "function": function}]}
        if content := _CONTENT.match(self._held):
            self._text = True
            self._held = self._held[content.end() :]
        return {}

    def _add_arguments(self, made: dict[str, Any], finish: str | None) -> None:
        """Pass arguments on; closing braces wait, because the last one is not of the arguments."""
        closing = _CLOSING.search(self._held)
        at = closing.start() if closing is not None else len(self._held)
        if finish is not None:
            self._held = self._held.rstrip()
            at = len(self._held)
            if finish == "stop" and self._held.endswith("}"):
                self._held = self._held[:-1].rstrip()
                at = len(self._held)
        piece, self._held = self._held[:at], self._held[at:]
        if not piece:
            return
        if "tool_calls" in made:
            made["tool_calls"][0]["function"]["arguments"] = piece
        else:
            made["tool_calls"] = [{"index": 0, "function": {"arguments": piece}}]

    def _words(self) -> str:
        found = _DECODABLE.match(self._held)
        if found is None or not found[0]:
            return ""
        self._held = self._held[found.end() :]
        words: str = json.loads(f'"{found[0]}"', strict=False)
        return words

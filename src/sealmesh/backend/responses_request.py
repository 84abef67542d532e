"""A request of the Responses API as one of chat completions, for engines that speak only chat.

What chat cannot say is refused by name and never dropped: a dropped tool or a forgotten conversation would give an
answer to another question. A host keeps nothing between requests, so whatever points at kept state is refused too:
the asking node keeps conversations and sends each whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.errors import RequestError
from sealmesh.wire.jsontext import has_more_values_than
from sealmesh.wire.operations import Operation
from sealmesh.wire.parameters import PARAMETERS, refuse_unsupported

#: Longer values (instructions, tools, a schema) are not said back: each of three events would hold them.
_ECHO_MAX: Final = 16 * limits.KIB
_PARAM_MAX: Final = 64

#: Fields that chat has under the same name.
_SAME: Final = ("temperature", "top_p", "parallel_tool_calls")
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatQuestion:
    """A translated request.

    Attributes:
        body: The chat request, JSON.
        echo: What a Response object says back of its request.
    """

    body: bytes = field(repr=False)
    echo: dict[str, Any] = field(repr=False)


def chat_from_responses_untrusted(body: bytes, *, model: str, stream: bool) -> ChatQuestion:
    """Translate one request. Linear in its length.

    Args:
        body: A JSON object.
        model: The model's name, already checked.
        stream: Whether the answer comes as events.

    Raises:
        RequestError: 400 with the field's name as `param`; its message holds nothing of a value.
    """
    if has_more_values_than(body, limits.JSON_VALUES_MAX):
        raise RequestError(400, "invalid_request", f"The request holds more than {limits.JSON_VALUES_MAX} values.")
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "invalid_json", "The body is not a JSON object that can be read.")
    given = {name: value for name, value in fields.items() if value is not None}
    chat: dict[str, Any] = {"model": model, "messages": _messages(given), "stream": stream}
    if stream:
        chat["stream_options"] = {"include_usage": True}
    for name in _SAME:
        if name in given:
            kinds = (bool,) if name == "parallel_tool_calls" else (int, float)
            chat[name] = _typed(given[name], kinds, name)
    if "max_output_tokens" in given:
        most = _typed(given["max_output_tokens"], (int,), "max_output_tokens")
        if most < 1:
            raise _wrong("max_output_tokens", "must be at least 1")
        chat["max_tokens"] = most
    _add_tools(chat, given)
    _add_text(chat, given)
    if "reasoning" in given:
        effort = _typed(given["reasoning"], (dict,), "reasoning")
        _only(effort, {"effort"}, "reasoning")
        if effort.get("effort") is not None:
            chat["reasoning_effort"] = _typed(effort["effort"], (str,), "reasoning.effort")
    _check_metadata(given)
    refuse_unsupported(Operation.RESPONSES, given, where="this engine, for which /v1/responses is translated to chat")
    for name in given:
        if name not in PARAMETERS[Operation.RESPONSES]:
            raise _unsupported(name[:_PARAM_MAX], "this field cannot be used with this engine")
    try:
        return ChatQuestion(body=msgspec.json.encode(chat), echo=_echo(given))
    except (ValueError, OverflowError, RecursionError):  # a number that fits no engine
        raise RequestError(400, "invalid_request", "A value of the request cannot be passed on.") from None


# --- what was asked --------------------------------------------------------------------------------------------------


def _messages(given: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if "instructions" in given:
        messages.append({"role": "system", "content": _typed(given["instructions"], (str,), "instructions")})
    asked = given.get("input")
    if isinstance(asked, str):
        messages.append({"role": "user", "content": asked})
        return messages
    if not isinstance(asked, list) or not asked:
        raise _wrong("input", "must be a string or a list that is not empty")
    for index, item in enumerate(asked):
        _add_item(messages, item, f"input[{index}]")
    return messages


def _add_item(messages: list[dict[str, Any]], item: object, place: str) -> None:
    if not isinstance(item, dict):
        raise _wrong(place, "must be an object")
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if not isinstance(role, str) or role not in _ROLES:
                raise _wrong(f"{place}.role", "must be user, assistant, system or developer")
            messages.append({"role": _ROLES[role], "content": _content(item.get("content"), f"{place}.content")})
        case "function_call":
            call = {
                "id": _typed(item.get("call_id"), (str,), f"{place}.call_id"),
                "type": "function",
                "function": {
                    "name": _typed(item.get("name"), (str,), f"{place}.name"),
                    "arguments": _typed(item.get("arguments"), (str,), f"{place}.arguments"),
                },
            }
            # Calls of one turn are one message in chat, together with the words said before them.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(call)
        case "function_call_output":
            name = _typed(item.get("call_id"), (str,), f"{place}.call_id")
            content = _content(item.get("output"), f"{place}.output")
            messages.append({"role": "tool", "tool_call_id": name, "content": content})
        case "reasoning":
            pass  # an earlier answer's thoughts, sent back by apps that keep the conversation: chat has no place for it
        case _:
            raise _unsupported(place, "items of this type cannot be used with this engine")


def _content(content: object, place: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong(place, "must be a string or a list")
    parts = [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _part(part: Any, place: str) -> dict[str, Any]:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            image: dict[str, Any] = {"url": url}
            if isinstance(part.get("detail"), str):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case {"type": "input_text" | "output_text" | "text" | "refusal"}:
            raise _wrong(place, "needs its text")
        case {"type": "input_image"}:
            raise _unsupported(place, "an image needs `image_url`; files are not kept here")
        case _:
            raise _unsupported(place, "content of this type cannot be used with this engine")


def _add_tools(chat: dict[str, Any], given: dict[str, Any]) -> None:
    tools = _typed(given.get("tools", []), (list,), "tools")
    if tools:
        chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    match given.get("tool_choice"):
        case None:
            pass
        case "none" | "auto" | "required" as choice:
            chat["tool_choice"] = choice
        case {"type": "function", "name": str(name)}:
            chat["tool_choice"] = {"type": "function", "function": {"name": name}}
        case _:
            raise _unsupported("tool_choice", "use none, auto, required, or a function by its name")


def _tool(tool: object, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise _wrong(place, "must be an object")
    if tool.get("type") != "function":
        raise _unsupported(place, "only function tools can be used: built-in tools do not exist here")
    _typed(tool.get("name"), (str,), f"{place}.name")
    members = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in members if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _add_text(chat: dict[str, Any], given: dict[str, Any]) -> None:
    text = _typed(given.get("text", {}), (dict,), "text")
    if text.get("verbosity") == "medium":
        text = {name: value for name, value in text.items() if name != "verbosity"}
    _only(text, {"format"}, "text")
    match text.get("format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            chat["response_format"] = {"type": "json_object"}
        case {"type": "json_schema", "name": str(), "schema": dict()} as wanted:
            members = ("name", "description", "schema", "strict")
            schema = {name: wanted[name] for name in members if wanted.get(name) is not None}
            chat["response_format"] = {"type": "json_schema", "json_schema": schema}
        case _:
            raise _wrong("text.format", "must be text, json_object, or json_schema with `name` and `schema`")


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_metadata(given: dict[str, Any]) -> None:
    metadata = _typed(given.get("metadata", {}), (dict,), "metadata")
    if len(metadata) > 16 or not all(isinstance(value, str) for value in metadata.values()):
        raise _wrong("metadata", "must be an object of at most 16 strings")


def _typed(value: Any, kinds: tuple[type, ...], place: str) -> Any:
    """Return a value of one of some types; a truth value is no number.

    Raises:
        RequestError: It has another type.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise _wrong(place, "is missing or has the wrong type")
    return value


def _only(fields: dict[str, Any], names: set[str], place: str) -> None:
    for name, value in fields.items():
        if name not in names and value is not None:
            raise _unsupported(f"{place}.{name[:_PARAM_MAX]}", "this cannot be used with this engine")


def _wrong(place: str, words: str) -> RequestError:
    return RequestError(400, "invalid_request", f"A field of the request {words}.", param=place)


def _unsupported(place: str, words: str) -> RequestError:
    message = f"/v1/responses is translated to chat here: {words}."
    return RequestError(400, "unsupported_parameter", message, param=place)


# --- what is said back -----------------------------------------------------------------------------------------------


def _echo(given: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a Response object that repeat its request."""
    defaults: dict[str, Any] = {
        "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
    }  # fmt: skip
    said = {name: _short(given.get(name), default) for name, default in defaults.items()}
    return said | {"previous_response_id": None, "store": False, "truncation": "disabled"}


def _short(value: Any, default: Any) -> Any:
    return default if value is None or len(msgspec.json.encode(value)) > _ECHO_MAX else value

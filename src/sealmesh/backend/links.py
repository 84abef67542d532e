"""Links in a request that an engine would follow: refused, for an engine fetches nothing for an asker.

An engine that takes images fetches `http:` links itself, from inside its operator's network and with the operator's
address (attack A24); some read `file:` links too, and some go to the tool servers that a request names. Only `data:`
links hold what they name.

Engines differ in what they take for a link's name: those written in Go do not look at the case of its letters, and join
two members with one name. So names are compared without it, and what was looked at is written anew.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec

from sealmesh.errors import RequestError
from sealmesh.limits import JSON_VALUES_MAX, KIB
from sealmesh.wire.jsontext import fold_long_values, has_more_values_than, unfold_values

#: A request without this holds no member that an engine follows: the name, or an escape that could spell it.
_MAY_HOLD: Final = re.compile(rb"_url|\\u00[2-7]", re.IGNORECASE)
_QUESTIONS: Final = ("messages", "input")
_TOOLS: Final = "tools"
#: Longer values pass by the parser: no link that a person wrote is so long.
_LONGEST_PARSED: Final = 16 * KIB


def refuse_links_untrusted(body: bytes) -> bytes:
    """Refuse a request whose images, sound, files or tool servers are links to elsewhere. Linear.

    Args:
        body: A JSON object, not nested deeper than a request may be, its top level checked.

    Returns:
        The body with what was looked at written anew; most have nothing to be looked at.

    Raises:
        RequestError: 400 `unsupported_content`, or `invalid_json`.
    """
    if _MAY_HOLD.search(body) is None:
        return body
    if has_more_values_than(body, JSON_VALUES_MAX):
        words = f"A request with links holds at most {JSON_VALUES_MAX} values."
        raise RequestError(400, "unsupported_content", words)
    # An image of 32 MiB is not copied on the way through the parser and back (DESIGN.md section 10).
    token = secrets.token_hex(16).encode()
    text, values = fold_long_values(body, longest=_LONGEST_PARSED, token=token)
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        looked_at: dict[str, Any] = {
            name: msgspec.json.decode(fields[name]) for name in (*_QUESTIONS, _TOOLS) if name in fields
        }
        for name in _QUESTIONS:
            _refuse_in(looked_at.get(name), name)
        _refuse_tool_servers(looked_at.get(_TOOLS))
        return unfold_values(msgspec.json.encode({**fields, **looked_at}), values, token=token)
    except (msgspec.MsgspecError, UnicodeError, OverflowError, RecursionError):
        raise RequestError(400, "invalid_json", "The body is not a JSON object that can be read.") from None


def _refuse_in(question: object, place: str) -> None:
    waiting = [question]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key.casefold().endswith("_url"):
                    _require_data(inner, place)
                waiting.append(inner)


def _refuse_tool_servers(tools: object) -> None:
    """A tool's own members only: below them stand the parameters of functions, whatever they are called."""
    for tool in tools if isinstance(tools, list) else ():
        for key in tool if isinstance(tool, dict) else ():
            if key.casefold() == "server_url":
                words = "A host goes to no tool server for an asker: call it yourself and send what it says."
                raise RequestError(400, "unsupported_content", words, param=_TOOLS)


def _require_data(value: object, place: str) -> None:
    links = [inner for key, inner in value.items() if key.casefold() == "url"] if isinstance(value, dict) else [value]
    if any(isinstance(link, str) and not link.startswith("data:") for link in links):
        words = "Send images and files inside the request, as `data:` links: a host fetches nothing for an asker."
        raise RequestError(400, "unsupported_content", words, param=place)

"""Links in a request that an engine would follow: refused, for an engine fetches nothing for an asker.

An engine that takes images fetches `http:` links itself, from inside its operator's network and with the operator's
address (attack A24); some read `file:` links too. Only `data:` links hold what they name.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from sealmesh.errors import RequestError

#: A request without this holds no member that an engine follows: the name, or an escape that could spell it.
_MAY_HOLD: Final = re.compile(rb"_url|\\u00[2-7]")
_QUESTIONS: Final = ("messages", "input")


def refuse_links_untrusted(body: bytes) -> None:
    """Refuse a request whose images, sound or files are links to elsewhere. Linear; looks closer at few requests.

    Args:
        body: A JSON object, not nested deeper than a request may be.

    Raises:
        RequestError: 400 `unsupported_content`, or `invalid_json`.
    """
    if _MAY_HOLD.search(body) is None:
        return
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "invalid_json", "The body is not a JSON object that can be read.")
    for name in _QUESTIONS:
        waiting = [fields.get(name)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting += value
            elif isinstance(value, dict):
                for key, inner in value.items():
                    if key.endswith("_url"):
                        _require_data(inner, name)
                    waiting.append(inner)


def _require_data(value: object, place: str) -> None:
    link = value.get("url") if isinstance(value, dict) else value
    if isinstance(link, str) and not link.startswith("data:"):
        words = "Send images and files inside the request, as `data:` links: a host fetches nothing for an asker."
        raise RequestError(400, "unsupported_content", words, param=place)

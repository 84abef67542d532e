"""The official client, closed when its test ends.

Left to the garbage collector, its sockets and what would close them die in any order, and a socket that goes first
warns, in whatever test runs then.
"""

from __future__ import annotations

import openai

_open: list[openai.OpenAI] = []


def sdk(api_url: str) -> openai.OpenAI:
    """A client that tries once."""
    client = openai.OpenAI(base_url=f"{api_url}/v1", api_key="unused", max_retries=0, timeout=60)
    _open.append(client)
    return client


def close_clients() -> None:
    """Close what was made since the last call."""
    while _open:
        _open.pop().close()

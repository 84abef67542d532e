"""The operations that a sealed request may ask for, and the headers that may travel inside.

Both sides read the same table: the asker's node refuses to seal anything else, and the host refuses to build a
backend request for anything else (PROTOCOL.md, "Method and path must be in the table of the API").
"""

from __future__ import annotations

import enum
from typing import Final


class Operation(enum.Enum):
    """One endpoint of the OpenAI API: (method, path)."""

    CHAT_COMPLETIONS = ("POST", "/v1/chat/completions")
    COMPLETIONS = ("POST", "/v1/completions")
    EMBEDDINGS = ("POST", "/v1/embeddings")
    RESPONSES = ("POST", "/v1/responses")

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.value[0]

    @property
    def path(self) -> str:
        """The HTTP path, without host or query."""
        return self.value[1]


_BY_NAME: Final = {operation.value: operation for operation in Operation}

#: Request headers that may travel inside the seal. Nothing else of the app's head leaves its machine.
REQUEST_HEADERS: Final = frozenset({"content-type", "accept", "idempotency-key"})

#: Response headers that may travel back inside the seal.
RESPONSE_HEADERS: Final = frozenset({"content-type", "retry-after", "openai-processing-ms"})


def find_operation(method: str, path: str) -> Operation | None:
    """Return the operation for a method and path, or None where there is none."""
    return _BY_NAME.get((method, path))

"""The contract between a host and the engine behind it: one exchange in, bytes out.

A backend gets a request that the host has rebuilt from parsed values, never a peer's bytes of a head. It answers
with a status, a few headers and a body that is produced as the model produces it.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from sealmesh.wire.operations import Operation

#: Where the model runs, seen from the process that opened the prompt (ATTESTATION.md, Posture).
BackendPlace = Literal["in-process", "local", "remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model that a backend serves.

    Attributes:
        name: What apps ask for.
        context_length: Tokens that one request gets, prompt and answer together; 0 if the engine does not say.
        digest: SHA-256 of the weights file (32 bytes), or b"" where there is no file to hash.
    """

    name: str
    context_length: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRequest:
    """What a backend is asked, rebuilt from parsed values.

    Attributes:
        operation: Which endpoint of the OpenAI API.
        model: The model's name, already checked to be served here.
        body: A JSON object, re-encoded by the host; its top level has been parsed.
        stream: Whether the asker wants server-sent events.
        cache_key: The asker's per-conversation secret (or b""): only requests with the same key may share
            state made from a prompt.
        headers: Allowed request headers, lower case.
    """

    operation: Operation
    model: str
    body: bytes = field(repr=False)
    stream: bool
    cache_key: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as the engine reported them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class BackendAnswer(abc.ABC):
    """An answer in progress. Leaving the context manager early stops the engine within a second."""

    status: int
    #: Lower-case names out of `wire.operations.RESPONSE_HEADERS`.
    headers: tuple[tuple[str, str], ...]

    @abc.abstractmethod
    async def read(self) -> bytes:
        """Return what the engine has produced since the last call, coalesced, at most `limits.BACKEND_CHUNK` bytes.

        `b""` once the engine has ended properly.

        Raises:
            BackendError: The engine failed, or its stream ended without a proper end.
        """

    @property
    def ready(self) -> bool:
        """Whether `read` would return at once, as far as is known: what is ready goes out in one piece."""
        return False

    @property
    @abc.abstractmethod
    def usage(self) -> Usage | None:
        """Token counts, once the answer has ended and if the engine reported them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abc.abstractmethod
    async def close(self) -> None:
        """Stop generating if that has not ended. Never raises; a second call does nothing."""


class Backend(abc.ABC):
    """An engine with one or more models."""

    #: Where prompts go once opened.
    place: BackendPlace
    #: True where the engine may let one asker's prompt speed up another's (posture `shared_prefix_cache: on`).
    shared_prefix_cache: bool
    #: How many answers it produces at once; more wait in the host's queue. 0: no bound known.
    parallel: int

    @abc.abstractmethod
    async def start(self) -> None:
        """Load the model or reach the engine.

        Raises:
            BackendError: It cannot be used; the message says what to do.
        """

    @abc.abstractmethod
    def models(self) -> tuple[ModelInfo, ...]:
        """The models served, known after `start`."""

    @abc.abstractmethod
    async def ask(self, request: BackendRequest) -> BackendAnswer:
        """Send one request; returns once status and headers are known.

        Raises:
            BackendError: The engine could not be reached or broke its protocol. An engine's own 4xx and 5xx are
                answers with that status, their body made an OpenAI error object.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Stop everything and free the model. A second call does nothing."""

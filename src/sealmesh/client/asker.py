"""What the API asks and gets: one request of an app in, one answer out, whoever produces it.

Two things implement `Asker`: the dialer, which seals to a verified host, and the local way to this node's own
backend. The API knows neither.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from sealmesh.wire.operations import Operation

SealedBy = Literal["xwing", "x25519", "local", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRequest:
    """A request as an app sent it, its top level parsed and checked.

    Attributes:
        operation: Which endpoint.
        model: The model that was asked for.
        body: The JSON object as the app sent it (sealed as it is; the host rebuilds it).
        stream: Whether the app wants server-sent events.
        headers: Allowed headers of `wire.operations.REQUEST_HEADERS`, lower case.
        session: What holds a conversation together (`prompt_cache_key`, `user`), or "".
    """

    operation: Operation
    model: str
    body: bytes = field(repr=False)
    stream: bool
    headers: tuple[tuple[str, str], ...] = ()
    session: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerProof:
    """What was checked for this answer; becomes the `x-sealmesh-*` headers."""

    host: str
    sealed: SealedBy
    tier: str
    evidence: str
    exchange: str

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The answer headers of DESIGN.md section 9."""
        return (
            ("x-sealmesh-host", self.host),
            ("x-sealmesh-sealed", self.sealed),
            ("x-sealmesh-tier", self.tier),
            ("x-sealmesh-evidence", self.evidence),
            ("x-sealmesh-exchange", self.exchange),
        )


class Answer(abc.ABC):
    """An answer in progress. Leaving the context manager early tells the host to stop."""

    status: int
    headers: tuple[tuple[str, str], ...]
    proof: AnswerProof

    @abc.abstractmethod
    async def read(self) -> bytes:
        """Return the bytes that are ready, coalesced; `b""` only after the authenticated end.

        Raises:
            HostLostError: The host fell silent or the stream was cut.
            HostTooSlowError: The host pings but does not answer.
            RemoteProtocolError: A frame did not open or broke the order.
            BackendError: The host sent a sealed error (its engine failed in mid-answer).
            TransportError: The connection is gone.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abc.abstractmethod
    async def close(self) -> None:
        """Give the answer up if it has not ended. Never raises; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelListing:
    """A line of `/v1/models`. `plain`: what is asked of it goes unsealed, to hosts without a key."""

    name: str
    context_length: int
    hosts: int
    usable: bool
    best_tier: str
    plain: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


class Asker(abc.ABC):
    """Answers requests of apps."""

    @abc.abstractmethod
    def models(self) -> tuple[ModelListing, ...]:
        """Every advertised model, usable under the policy or not."""

    @abc.abstractmethod
    async def ask(self, request: AppRequest) -> Answer:
        """Find a host, send the request, return once the answer's status and headers have come.

        Other hosts are tried before this returns, never after.

        Raises:
            RoutingError: No host can take it.
            BusyError: Every host that could is busy.
            HostLostError, HostTooSlowError, TransportError, RemoteProtocolError: The last host tried failed so.
            BackendError: The host's engine failed before an answer.
        """

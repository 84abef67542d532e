"""What this node's apps asked for and got: counts only, never a text."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    HostTooSlowError,
    RemoteProtocolError,
    RequestError,
    RoutingError,
    TransportError,
    VerificationError,
)
from sealmesh.status import ExchangeStatus

#: Distinct reasons kept. A sealed error's code is a host's own word: it must not grow this node's memory or status.
REASONS_MAX: Final = 64
OTHER: Final = "other"


def reason_code(error: BaseException) -> str:
    """The stable code under which a failure is counted."""
    match error:
        case RoutingError():
            return error.fault.value
        case BackendError() | RequestError():
            return error.code
        case BusyError():
            return "busy"
        case HostLostError():
            return "host_lost"
        case HostTooSlowError():
            return "host_too_slow"
        case RemoteProtocolError():
            return "protocol_violation"
        case TransportError():
            return "transport"
        case VerificationError():
            return "not_verified"
        case asyncio.CancelledError():
            return "app_left"
        case _:
            return "internal"


def count_reason(reasons: Counter[str], code: str) -> None:
    """Count a reason; once `REASONS_MAX` are known, new ones go under one name."""
    reasons[code if code in reasons or len(reasons) < REASONS_MAX else OTHER] += 1


class OpenRequest:
    """One request's place in the counters. It ends once: whatever is reported after its end changes nothing."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Counters) -> None:
        self._counters: Counters | None = counters

    def done(self, *, prompt_tokens: int, completion_tokens: int) -> None:
        """It reached its authenticated end."""
        if (counters := self._take()) is not None:
            counters._done += 1
            counters.prompt_tokens += prompt_tokens
            counters.completion_tokens += completion_tokens

    def failed(self, error: BaseException) -> None:
        """It ended otherwise."""
        if (counters := self._take()) is not None:
            count_reason(counters._failed, reason_code(error))

    def left(self) -> None:
        """The app left before the end."""
        if (counters := self._take()) is not None:
            count_reason(counters._failed, "app_left")

    def _take(self) -> Counters | None:
        counters, self._counters = self._counters, None
        if counters is not None:
            counters._open -= 1
        return counters


class Counters:
    """Requests and tokens since the node started."""

    def __init__(self) -> None:
        self._open = 0
        self._done = 0
        self._failed: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def asked(self) -> OpenRequest:
        """A request was taken on."""
        self._open += 1
        return OpenRequest(self)

    def status(self) -> ExchangeStatus:
        """A snapshot for people."""
        return ExchangeStatus(open=self._open, done=self._done, failed_by_reason=dict(self._failed))

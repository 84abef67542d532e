"""What this node's apps asked for and got: counts only, never a text."""

from __future__ import annotations

import asyncio
from collections import Counter

from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    HostTooSlowError,
    RemoteProtocolError,
    RoutingError,
    TransportError,
)
from sealmesh.status import ExchangeStatus


def reason_code(error: BaseException) -> str:
    """The stable code under which a failure is counted."""
    match error:
        case RoutingError():
            return error.fault.value
        case BackendError():
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
        case asyncio.CancelledError():
            return "app_left"
        case _:
            return "internal"


class Counters:
    """Requests and tokens since the node started."""

    def __init__(self) -> None:
        self._open = 0
        self._done = 0
        self._failed: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def asked(self, model: str) -> None:
        """A request was taken on."""
        self._open += 1
        self._asked[model] += 1

    def done(self, model: str, *, prompt_tokens: int, completion_tokens: int) -> None:
        """It reached its authenticated end."""
        del model
        self._open -= 1
        self._done += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def failed(self, error: BaseException) -> None:
        """It ended otherwise."""
        self._open -= 1
        self._failed[reason_code(error)] += 1

    def left(self) -> None:
        """The app left before the end."""
        self._open -= 1
        self._failed["app_left"] += 1

    def status(self) -> ExchangeStatus:
        """A snapshot for people."""
        return ExchangeStatus(open=self._open, done=self._done, failed_by_reason=dict(self._failed))

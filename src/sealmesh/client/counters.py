"""What this node's apps asked for and got: counts only, never a text.

The one place that counts them. Hosts choose names, ids and codes, so labels are bounded in number: what comes after the
bound goes under `OTHER`, and nothing is counted under a name before one of our apps was answered by it.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from sealmesh.client.asker import AnswerProof
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
from sealmesh.status import AskedStatus, LatencyStatus, RouteStatus

_log = logging.getLogger("sealmesh.client")

#: Distinct reasons kept. A sealed error's code is a host's own word: it must not grow this node's memory or status.
REASONS_MAX: Final = 64
OTHER: Final = "other"
#: Combinations of model, host, sealing and tier that have counts of their own; a mesh of friends has a few dozen.
ROUTES_MAX: Final = 256
#: Pairs of model and sealing that have a histogram of their own.
HISTOGRAMS_MAX: Final = 64
#: Upper bounds in seconds: from a small model next door to a long prompt on a slow machine.
FIRST_TOKEN_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

_Key = TypeVar("_Key", bound=tuple[str, ...])


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


def within(known: Mapping[_Key, Any], key: _Key, most: int) -> _Key:
    """Return the labels to count under: their own while there is room, else `OTHER` in each place."""
    if key in known or len(known) < most:
        return key
    return tuple(OTHER for _ in key)  # type: ignore[return-value]


class Histogram:
    """Seconds, by bounds that never change."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(FIRST_TOKEN_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Take one measurement."""
        self._counts[bisect.bisect_left(FIRST_TOKEN_S, seconds)] += 1
        self._sum += seconds

    def status(self, model: str, sealed: str) -> LatencyStatus:
        """Return it as it is now, counts added up as Prometheus has them."""
        total = 0
        buckets: list[tuple[float, int]] = []
        for bound, count in zip(FIRST_TOKEN_S, self._counts, strict=False):
            total += count
            buckets.append((bound, total))
        return LatencyStatus(
            model=model, sealed=sealed, buckets=tuple(buckets), count=sum(self._counts), sum_s=round(self._sum, 6)
        )


class _Route:
    """Counts of one combination of model, host, sealing and tier."""

    __slots__ = ("completion_tokens", "prompt_tokens", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0


class OpenRequest:
    """One request's place in the counters. It ends once: whatever is reported after its end changes nothing."""

    __slots__ = ("_asked_at", "_counters", "_ended", "_model", "_proof", "_waits")

    def __init__(self, counters: Counters, *, model: str, stream: bool) -> None:
        self._counters = counters
        self._ended = False
        self._model = model
        self._asked_at = counters.clock()
        self._proof: AnswerProof | None = None
        self._waits = stream

    def answered_by(self, proof: AnswerProof) -> None:
        """The app gets this answer: from now on it is the host's, and its end is the request's end."""
        self._proof = proof

    def began(self) -> None:
        """The answer's first bytes are there. Called again it does nothing, at next to no cost."""
        if self._waits:
            self._waits = False
            if self._proof is not None:
                self._counters.note_first(self._model, self._proof.sealed, self._counters.clock() - self._asked_at)

    def done(self, *, prompt_tokens: int, completion_tokens: int) -> None:
        """It reached its authenticated end."""
        if (counters := self._take()) is not None:
            counters._done += 1
            counters.prompt_tokens += prompt_tokens
            counters.completion_tokens += completion_tokens
            if self._proof is not None:
                counters.note_done(self._model, self._proof, prompt_tokens, completion_tokens)

    def failed(self, error: BaseException) -> None:
        """It ended otherwise."""
        if (counters := self._take()) is not None:
            count_reason(counters._failed, reason_code(error))

    def left(self) -> None:
        """The app left before the end."""
        if (counters := self._take()) is not None:
            count_reason(counters._failed, "app_left")

    def _take(self) -> Counters | None:
        if self._ended:
            return None
        self._ended = True
        self._counters._open -= 1
        return self._counters


class Counters:
    """Requests and tokens since the node started.

    Args:
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._open = 0
        self._done = 0
        self._failed: Counter[str] = Counter()
        self._routes: dict[tuple[str, str, str, str], _Route] = {}
        self._first: dict[tuple[str, str], Histogram] = {}
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def asked(self, *, model: str = "", stream: bool = False) -> OpenRequest:
        """A request was taken on.

        Args:
            model: What it asks for; counted once a host has answered.
            stream: Whether its first bytes are a first token.
        """
        self._open += 1
        return OpenRequest(self, model=model, stream=stream)

    def note_first(self, model: str, sealed: str, seconds: float) -> None:
        """A streamed answer's first bytes took so long."""
        key = within(self._first, (model, sealed), HISTOGRAMS_MAX)
        self._first.setdefault(key, Histogram()).add(seconds)

    def note_done(self, model: str, proof: AnswerProof, prompt_tokens: int, completion_tokens: int) -> None:
        """An answer came to its authenticated end with these counts of its host."""
        key = within(self._routes, (model, proof.host, proof.sealed, proof.tier), ROUTES_MAX)
        route = self._routes.setdefault(key, _Route())
        route.requests += 1
        route.prompt_tokens += prompt_tokens
        route.completion_tokens += completion_tokens
        _log.debug(
            "exchange %s at %s: %d tokens asked, %d answered",
            proof.exchange[:32],
            proof.host[:12],
            prompt_tokens,
            completion_tokens,
        )

    def status(self) -> AskedStatus:
        """A snapshot for people and machines."""
        return AskedStatus(
            open=self._open,
            done=self._done,
            failed_by_reason=dict(self._failed),
            routes=tuple(
                RouteStatus(
                    model=model,
                    host=host,
                    sealed=sealed,
                    tier=tier,
                    requests=route.requests,
                    prompt_tokens=route.prompt_tokens,
                    completion_tokens=route.completion_tokens,
                )
                for (model, host, sealed, tier), route in sorted(self._routes.items())
            ),
            first_token=tuple(histogram.status(*key) for key, histogram in sorted(self._first.items())),
        )

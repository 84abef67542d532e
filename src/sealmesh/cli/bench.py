"""`sealmesh bench`: what an app feels through the running node, and how the answers came.

Time to first token, gaps between tokens and tokens per second, at one stream and at several. It asks the node's own
API as any app would; what sealing itself costs is measured by `make bench`, beside a plain tunnel.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sealmesh.cli.chat import choose_model, lock_line
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone, escape_peer_text, table
from sealmesh.errors import BackendError

#: Rounds at several streams: each gives many samples already.
_ROUNDS_MAX: Final = 3
_PROOF: Final = ("x-sealmesh-sealed", "x-sealmesh-tier", "x-sealmesh-host", "x-sealmesh-evidence")

Clock = Callable[[], float]
Tell = Callable[[str], None]


class _LeftError(Exception):
    """Another stream failed or the user left: what this one would still say is not wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One streamed answer as an app saw it. Seconds on one clock.

    Attributes:
        began: When the request was sent.
        arrivals: When each piece of text came, in order.
        ended: When the proper end came.
        tokens: As the answer's usage says, else the number of pieces.
        proof: Values of the `x-sealmesh-*` headers that say how it came.
    """

    began: float
    arrivals: tuple[float, ...]
    ended: float
    tokens: int
    proof: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What some answers felt like: milliseconds, and tokens per second over all streams together."""

    first_median_ms: float
    first_p99_ms: float
    gap_median_ms: float
    gap_p99_ms: float
    tokens_s: float


@dataclass(slots=True)
class Bench:
    """The requests and what is kept of them.

    Args:
        api: The node.
        model: What is asked.
        tokens: How long an answer may be.
        tell: Told how far it is.
        clock: Seconds.
    """

    api: NodeApi
    model: str
    tokens: int
    tell: Tell = lambda _: None
    clock: Clock = time.perf_counter
    _asked: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, *, runs: int, streams: int) -> dict[int, list[list[Sample]]]:
        """Ask, and return the samples by number of streams, a list for each round.

        Raises:
            SealmeshError: An answer failed: figures over the others would flatter.
        """
        self.tell("one request to warm up")
        self._one(self._body())
        rounds = {1: runs} if streams == 1 else {1: runs, streams: min(runs, _ROUNDS_MAX)}
        return {number: [self._round(number, turn, of) for turn in range(of)] for number, of in rounds.items()}

    def _round(self, streams: int, turn: int, of: int) -> list[Sample]:
        self.tell(f"round {turn + 1} of {of} at {streams} stream{'s' if streams > 1 else ''}")
        bodies = [self._body() for _ in range(streams)]
        if streams == 1:
            return [self._one(bodies[0])]
        with ThreadPoolExecutor(streams, thread_name_prefix="sealmesh-bench") as pool:
            waiting = [pool.submit(self._one_of_many, body) for body in bodies]
            try:
                ended = [future.exception() for future in waiting]
            except BaseException:
                self._stop.set()  # Ctrl-C: the other threads leave at their next token
                raise
        for error in sorted(filter(None, ended), key=lambda error: isinstance(error, _LeftError)):
            raise error
        return [future.result() for future in waiting]

    def _one_of_many(self, body: dict[str, object]) -> Sample:
        try:
            return self._one(body)
        except BaseException:
            self._stop.set()
            raise

    def _one(self, body: dict[str, object]) -> Sample:
        arrivals: list[float] = []
        began = self.clock()
        with self.api.chat(body) as answer:
            for _ in answer.pieces(thoughts=True):
                arrivals.append(self.clock())
                if self._stop.is_set():
                    raise _LeftError
        ended = self.clock()
        if not arrivals:
            raise BackendError(502, "empty_answer", "the model answered without a single token")
        said = answer.usage.get("completion_tokens")
        return Sample(
            began=began,
            arrivals=tuple(arrivals),
            ended=ended,
            tokens=said if isinstance(said, int) and said > 0 else len(arrivals),
            proof=tuple(answer.headers.get(name, "") for name in _PROOF),
        )

    def _body(self) -> dict[str, object]:
        """A request like no other before it, so that no cache answers for the model."""
        self._asked += 1
        prompt = f"Request {self._asked} of {time.time_ns()}. Count upwards from {self._asked}, one number a line."
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.tokens,
            "temperature": 0,
            "stream_options": {"include_usage": True},
        }


# --- figures -----------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them does not exceed; of few values, the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(rounds: Sequence[Sequence[Sample]]) -> Figures:
    """The figures of some rounds. The rate is the median round's: all its tokens over its whole time."""
    samples = [sample for one in rounds for sample in one]
    first = [(sample.arrivals[0] - sample.began) * 1000 for sample in samples]
    gaps = [
        (later - earlier) * 1000
        for sample in samples
        for earlier, later in zip(sample.arrivals, sample.arrivals[1:], strict=False)
    ] or [0.0]
    rates = [
        sum(sample.tokens for sample in one)
        / max(max(sample.ended for sample in one) - min(sample.began for sample in one), 1e-9)
        for one in rounds
    ]
    return Figures(
        first_median_ms=statistics.median(first),
        first_p99_ms=percentile(first, 0.99),
        gap_median_ms=statistics.median(gaps),
        gap_p99_ms=percentile(gaps, 0.99),
        tokens_s=statistics.median(rates),
    )


_ROWS: Final = (
    ("first token, median ms", "first_median_ms"),
    ("first token, p99 ms", "first_p99_ms"),
    ("gap between tokens, median ms", "gap_median_ms"),
    ("gap between tokens, p99 ms", "gap_p99_ms"),
    ("tokens per second", "tokens_s"),
)


def result_lines(measured: dict[int, list[list[Sample]]], tone: Tone) -> list[str]:
    """The result for people; every value of a peer is escaped."""
    found = {streams: figures(rounds) for streams, rounds in measured.items()}
    headings = ["", *(f"{streams} STREAM{'S' if streams > 1 else ''}" for streams in found)]
    rows = [
        [words, *(f"{getattr(one, name):,.1f}".rjust(len(headings[1])) for one in found.values())]
        for words, name in _ROWS
    ]
    lines = table(headings, rows, tone)
    lines += ["", "How the answers came"]
    lines += [f"  {count} × {lock_line(dict(zip(_PROOF, proof, strict=True)))}" for proof, count in _proofs(measured)]
    return lines


def result_json(model: str, tokens: int, measured: dict[int, list[list[Sample]]]) -> dict[str, Any]:
    """The result for programs."""
    return {
        "model": model,
        "max_tokens": tokens,
        "figures": [
            {
                "streams": streams,
                "rounds": len(rounds),
                "tokens": sum(sample.tokens for one in rounds for sample in one),
                **{name: round(getattr(figures(rounds), name), 3) for _, name in _ROWS},
            }
            for streams, rounds in measured.items()
        ],
        "answers": [
            {
                "count": count,
                **{name.removeprefix("x-sealmesh-"): value for name, value in zip(_PROOF, proof, strict=True)},
            }
            for proof, count in _proofs(measured)
        ],
    }


def _proofs(measured: dict[int, list[list[Sample]]]) -> list[tuple[tuple[str, ...], int]]:
    return Counter(sample.proof for rounds in measured.values() for one in rounds for sample in one).most_common()


# --- the command --------------------------------------------------------------------------------------------------


def run_bench(model: str | None, home: Path | None, *, runs: int, streams: int, tokens: int, as_json: bool) -> int:
    """Measure the running node and print what came out.

    Raises:
        ConfigError: No node runs, or it is not clear which model is meant.
        SealmeshError: An answer failed.
    """
    api = NodeApi.find(home)
    chosen = choose_model(api, model, ask=None)
    progress = _Progress(sys.stderr.isatty())
    try:
        measured = Bench(api=api, model=chosen, tokens=tokens, tell=progress.tell).run(runs=runs, streams=streams)
    finally:
        progress.clear()
    if as_json:
        print(json.dumps(result_json(chosen, tokens, measured), indent=2))
        return 0
    print(f"{escape_peer_text(chosen)}, answers of at most {tokens} tokens, through {api.state.api_url}")
    print("\n".join(result_lines(measured, Tone.of(sys.stdout))))
    return 0


@dataclass(slots=True)
class _Progress:
    """One line that rewrites itself, on a terminal only."""

    shown: bool

    def tell(self, words: str) -> None:
        if self.shown:
            sys.stderr.write(f"\r\x1b[K{words} …")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

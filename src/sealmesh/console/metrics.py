"""`/metrics`: the node's counts in the text format of Prometheus.

Counts only, never a text of a request. What comes from elsewhere (a model's name, a host's id) stands in label values
alone, escaped; how many there can be is bounded where they are counted (`client/counters.py`), so that no peer can make
this page grow.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from sealmesh.status import NodeStatus

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
#: What is added to the family's name, the labels' values, the number.
Sample = tuple[str, Labels, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric.

    Attributes:
        name: As a query names it.
        kind: Prometheus' type.
        words: What it counts, for people.
        labels: Names of its labels.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    words: str
    labels: Labels = ()


_ROUTE: Final = ("model", "host", "sealed", "tier")

INFO: Final = Family(name="sealmesh_info", kind="gauge", words="Always 1; says the version.", labels=("version",))
UPTIME: Final = Family(name="sealmesh_uptime_seconds", kind="gauge", words="Since the node's start.")
PEERS: Final = Family(name="sealmesh_peers", kind="gauge", words="Other members that are known.", labels=("connected",))
MODELS: Final = Family(
    name="sealmesh_models", kind="gauge", words="Models that somebody advertises.", labels=("usable",)
)
OPEN: Final = Family(name="sealmesh_requests_open", kind="gauge", words="Requests of this node's apps under way.")
REQUESTS: Final = Family(
    name="sealmesh_requests_total",
    kind="counter",
    words="Requests of this node's apps whose answer came to its authenticated end.",
    labels=_ROUTE,
)
FAILED: Final = Family(
    name="sealmesh_requests_failed_total",
    kind="counter",
    words="Requests of this node's apps that ended otherwise.",
    labels=("reason",),
)
TOKENS: Final = Family(
    name="sealmesh_tokens_total",
    kind="counter",
    words="Tokens of those answers as their hosts counted them, streamed or not.",
    labels=(*_ROUTE, "kind"),
)
FIRST_TOKEN: Final = Family(
    name="sealmesh_time_to_first_token_seconds",
    kind="histogram",
    words="From a streaming request's arrival to its answer's first bytes.",
    labels=("model", "sealed"),
)
SERVED_OPEN: Final = Family(name="sealmesh_served_open", kind="gauge", words="Exchanges of other nodes under way here.")
SERVED: Final = Family(
    name="sealmesh_served_total",
    kind="counter",
    words="Exchanges of other nodes answered here.",
    labels=("model",),
)
SERVED_REFUSED: Final = Family(
    name="sealmesh_served_refused_total",
    kind="counter",
    words="Exchanges of other nodes refused here.",
    labels=("reason",),
)
SERVED_TOKENS: Final = Family(
    name="sealmesh_served_tokens_total",
    kind="counter",
    words="Tokens of the answers given to other nodes.",
    labels=("model", "kind"),
)

#: In the order in which they stand on the page.
FAMILIES: Final = (
    INFO, UPTIME, PEERS, MODELS, OPEN, REQUESTS, FAILED, TOKENS, FIRST_TOKEN,
    SERVED_OPEN, SERVED, SERVED_REFUSED, SERVED_TOKENS,
)  # fmt: skip


def render(status: NodeStatus) -> bytes:
    """Return the page."""
    lines: list[str] = []
    for family, samples in _samples(status):
        lines.append(f"# HELP {family.name} {family.words}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, values, number in samples:
            names = family.labels if suffix != "_bucket" else (*family.labels, "le")
            pairs = ",".join(f'{name}="{escape_label(value)}"' for name, value in zip(names, values, strict=True))
            lines.append(
                f"{family.name}{suffix}{{{pairs}}} {_number(number)}"
                if pairs
                else f"{family.name}{suffix} {_number(number)}"
            )
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def escape_label(value: str) -> str:
    """Return a label's value so that it ends neither its quotes nor its line."""
    shown = "".join(each if each.isprintable() or each == "\n" else "?" for each in value)
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _samples(status: NodeStatus) -> Iterator[tuple[Family, Iterable[Sample]]]:
    asked = status.asked
    connected = Counter(peer.connected for peer in status.peers)
    usable = Counter(model.usable for model in status.models)
    routes = [((one.model, one.host, one.sealed, one.tier), one) for one in asked.routes]
    yield INFO, [("", (status.version,), 1)]
    yield UPTIME, [("", (), status.uptime_s)]
    yield PEERS, [("", (word,), connected[value]) for word, value in (("false", False), ("true", True))]
    yield MODELS, [("", (word,), usable[value]) for word, value in (("false", False), ("true", True))]
    yield OPEN, [("", (), asked.open)]
    yield REQUESTS, [("", labels, one.requests) for labels, one in routes]
    yield FAILED, [("", (reason,), count) for reason, count in sorted(asked.failed_by_reason.items())]
    yield (
        TOKENS,
        [
            ("", (*labels, kind), count)
            for labels, one in routes
            for kind, count in (("prompt", one.prompt_tokens), ("completion", one.completion_tokens))
        ],
    )
    yield FIRST_TOKEN, _histogram(status)
    served = status.served
    if served is None:
        return
    yield SERVED_OPEN, [("", (), served.open)]
    yield SERVED, [("", (one.model,), one.requests) for one in served.models]
    yield SERVED_REFUSED, [("", (reason,), count) for reason, count in sorted(served.refused_by_reason.items())]
    yield (
        SERVED_TOKENS,
        [
            ("", (one.model, kind), count)
            for one in served.models
            for kind, count in (("prompt", one.prompt_tokens), ("completion", one.completion_tokens))
        ],
    )


def _histogram(status: NodeStatus) -> Iterator[Sample]:
    for one in status.asked.first_token:
        labels = (one.model, one.sealed)
        for bound, count in one.buckets:
            yield "_bucket", (*labels, f"{bound:g}"), count
        yield "_bucket", (*labels, "+Inf"), one.count
        yield "_sum", labels, one.sum_s
        yield "_count", labels, one.count


def reference() -> str:
    """Return `docs/reference/metrics.md`, which a test compares with the file."""
    lines = [
        "# Metrics",
        "",
        "Generated from `sealmesh.console.metrics`; a test compares this page with the table.",
        "",
        "`GET /metrics` on the console's port (`127.0.0.1:3131`) gives the node's counts since its start, in the text",
        "format of Prometheus. It needs no token and holds no text of a request. The same counts are in `/api/status`,",
        "under `asked` and `served`.",
        "",
        "| metric | type | labels | counts |",
        "| --- | --- | --- | --- |",
    ]
    for one in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.words} |")
    lines += [
        "",
        "`host` is the host's endpoint id, `sealed` what `x-sealmesh-sealed` says, `tier` the tier of its evidence,",
        "`kind` is `prompt` or `completion`, `reason` a stable code. `sealmesh_served_...` is there where the node",
        "serves.",
        "",
        "The first 256 combinations of model, host, sealing and tier have lines of their own, the first 64 reasons and",
        "the first 64 pairs of model and sealing; what comes later is counted under `other`. A model's name or a",
        "host's id is counted only once one of this node's apps was answered by it, so advertising names adds nothing.",
        "",
    ]
    return "\n".join(lines)

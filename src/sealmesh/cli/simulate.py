"""`sealmesh simulate`: the figures of a simulated mesh, as a table and a plot for people, as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Final

from sealmesh.cli.terminal import Tone, say, table
from sealmesh.simulation.scenarios import Figures, Scenario, simulate

_BAR: Final = 40
_ROWS: Final[tuple[tuple[str, Callable[[Figures], str]], ...]] = (
    ("nodes, of which hosts with a record", lambda one: f"{one.nodes:,}, {one.hosts:,}"),
    ("links of a node: mean, most", lambda one: f"{one.links_mean:.1f}, {one.links_max}"),
    ("rounds of 10 s until learned: half, 99 %, all", lambda one: _rounds(one)),
    ("seconds until 99 % had learned", lambda one: f"{one.seconds_p99:.2f}" if one.learned else "-"),
    ("not learned by the end", lambda one: f"{one.unlearned:,}"),
    ("bytes of a node in a round at rest", lambda one: f"{one.bytes_at_rest:,.0f}"),
    ("bytes of a node in a round of this", lambda one: f"{one.bytes_per_node_round:,.0f}"),
    ("requests, and picks of a host that was gone", lambda one: f"{one.requests:,}, {one.stale_picks:.2%}"),
    ("peers cut off", lambda one: f"{one.misbehaved:,}"),
    ("honest records changed by lies", lambda one: f"{one.violations:,}"),
    ("rounds that lies cost", lambda one: f"{one.extra_rounds}"),
)


def _rounds(one: Figures) -> str:
    return f"{one.rounds_p50}, {one.rounds_p99}, {one.rounds_max}" if one.learned else "-"


def result_lines(one: Figures, tone: Tone) -> list[str]:
    """The result for people."""
    title = f"{one.scenario.upper()}, SEED {one.seed}"
    lines = table([title, ""], [(words, value(one)) for words, value in _ROWS], tone)
    if one.learned:
        lines += ["", tone.style("ROUND  SHARE THAT HAS LEARNED", "dim")]
        lines += [
            f"{number:5}  {'#' * round(share * _BAR):<{_BAR}} {share:6.1%}" for number, share in enumerate(one.learned)
        ]
    return lines


def run_simulate(scenario: str, *, nodes: int, seed: int, as_json: bool) -> int:
    """Play one scenario and print what came out.

    Raises:
        ConfigError: There cannot be a mesh of so many nodes.
    """
    if sys.stderr.isatty():
        say(f"playing {nodes:,} nodes; 1,000 take about half a minute …")
    figures = simulate(Scenario(scenario), nodes=nodes, seed=seed)
    if as_json:
        print(json.dumps(dataclasses.asdict(figures), indent=2))
    else:
        print("\n".join(result_lines(figures, Tone.of(sys.stdout))))
    return 0

"""`make simulate`: the targets of large meshes, played in full; ends with 1 where one is missed.

1,000 nodes in every scenario, 10,000 in `spread` and `partition`. Small ones: tests/simulation/test_meshes.py.
"""

from __future__ import annotations

import sys
import time

from sealmesh.simulation.scenarios import Figures, Scenario, simulate

KIB = 1024
RUNS = (*((1000, scenario) for scenario in Scenario), (10_000, Scenario.SPREAD), (10_000, Scenario.PARTITION))


def missed(figures: Figures) -> list[str]:
    """Name the targets that these figures miss."""
    most = 16 if figures.nodes > 1000 and figures.scenario == Scenario.SPREAD.value else 12
    held = {
        f"learned within {most} rounds (p99)": figures.rounds_p99 <= most,
        "learned by all": figures.unlearned == 0,
        "at rest under 4 KiB": figures.bytes_at_rest < 4 * KIB,
        "renewals under 16 KiB": figures.scenario != Scenario.SPREAD.value or figures.bytes_per_node_round < 16 * KIB,
        "lies change nothing": figures.violations == 0,
        "lies cost at most 10 rounds": figures.extra_rounds <= 10,
        "at most 1 % of requests pick who is gone": figures.stale_picks <= 0.01,
    }
    return [target for target, holds in held.items() if not holds]


def main() -> int:
    """Play all, print a line each."""
    failed = False
    for nodes, scenario in RUNS:
        began = time.perf_counter()
        figures = simulate(scenario, nodes=nodes, seed=1)
        seconds = time.perf_counter() - began
        lacking = missed(figures)
        failed = failed or bool(lacking)
        print(
            f"{nodes:6,} {scenario.value:9}  rounds p50 {figures.rounds_p50}, p99 {figures.rounds_p99}  "
            f"bytes at rest {figures.bytes_at_rest:,.0f}, then {figures.bytes_per_node_round:,.0f}  "
            f"stale {figures.stale_picks:.2%}  in {seconds:.1f} s  "
            + (f"MISSED: {'; '.join(lacking)}" if lacking else "holds"),
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

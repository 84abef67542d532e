"""What an isolated and hardened start costs: `python -m benchmarks.startup`. `--json`, `--rounds`.

All are processes of their own, in turns, so that a machine that slows down slows all of them. *hardened* is what
`sealmesh serve` does before it loads what a node is made of: a first start, `execve`, the second start with every
control in force that needs no settings.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

# As `cli/main.py` and `cli/handover.py` start anew, but into the file below, which ends once it is hardened.
FIRST = """
import os, sys
import sealmesh.cli.main
from sealmesh.cli import handover
from sealmesh.hardening import reexec
handover.plan(["serve"], ["python", "serve"], os.environ, isolate=True)
command = reexec.isolated_command(sys.executable, {second!r}, [], dict(os.environ))
os.execve(sys.executable, command, reexec.scrub(dict(os.environ))[0])
"""
SECOND = Path(__file__).with_name("startup_second.py")
TARGETS = {"hardened over python -I, ms": 50.0, "sealmesh --help, ms": 300.0}


def ways() -> dict[str, list[str]]:
    python = sys.executable
    return {
        "python -I": [python, "-I", "-c", "pass"],
        "hardened": [python, "-c", FIRST.format(second=str(SECOND))],
        "sealmesh --help": [python, "-m", "sealmesh", "--help"],
        "sealmesh version": [python, "-m", "sealmesh", "version"],
    }


def measure(rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds, the median of each way: by the clock, and of the processor, which other work changes less."""
    samples: dict[str, list[float]] = {name: [] for name in ways()}
    worked: dict[str, list[float]] = {name: [] for name in ways()}
    for number in range(rounds + 2):
        for name, command in ways().items():
            began, before = time.perf_counter(), _processor_time()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if number >= 2:  # the first ones fill caches
                samples[name].append((time.perf_counter() - began) * 1000)
                worked[name].append((_processor_time() - before) * 1000)
    medians = ({name: statistics.median(values) for name, values in kind.items()} for kind in (samples, worked))
    return next(medians), next(medians)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    figures, worked = measure(options.rounds)
    found = {
        "hardened over python -I, ms": figures["hardened"] - figures["python -I"],
        "sealmesh --help, ms": figures["sealmesh --help"],
    }
    rows = [(name, value, TARGETS[name], value <= TARGETS[name]) for name, value in found.items()]
    if options.json:
        told = [dict(zip(("what", "value", "aim", "met"), row, strict=True)) for row in rows]
        print(json.dumps({"cores": os.cpu_count(), "figures": figures, "processor": worked, "targets": told}))
        return
    for name, value in figures.items():
        print(f"{name:<30}{value:>8.1f} ms{worked[name]:>10.1f} ms of the processor")
    print()
    for name, value, aim, met in rows:
        print(f"{name:<30}{value:>8.1f}  ≤ {aim:g}  {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()

"""`python -m benchmarks`: what sealing and the mesh cost, as ratios in one run. `--json`, `--quick`, `--only`.

Client and host are processes of their own, so is the engine; the load generator is this process. The variants take
turns, round by round, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from sealmesh.cli.processes import NodeProcess


@dataclass(frozen=True)
class Variant:
    """One way from client to host: the suites, and what each side is started with."""

    suites: str = "1,2"
    serve: tuple[str, ...] = ()
    client: tuple[str, ...] = ()


VARIANTS = {
    "plain tunnel": Variant(serve=("--plain",), client=("--allow-plain-hosts",)),
    "sealed 1": Variant(suites="1"),
    "sealed 2": Variant(),
}


class BenchNode(NodeProcess):
    """A node started through `benchmarks.node`."""

    def __init__(self, own: list[str], command: str, *, home: Path, arguments: list[str]) -> None:
        self.own = own
        super().__init__(command, home=home, arguments=arguments)

    def command_line(self, command: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.node", *self.own, command]


def start_engine(stack: ExitStack) -> str:
    engine = stack.enter_context(
        subprocess.Popen([sys.executable, "-m", "benchmarks.engine"], stdout=subprocess.PIPE, text=True)
    )
    stack.callback(engine.kill)
    return json.loads(engine.stdout.readline())["api_url"]


def start_mesh(stack: ExitStack, root: Path, name: str, variant: Variant, engine: str) -> tuple[str, list[int]]:
    folder = root / name.replace(" ", "-")
    folder.mkdir()
    own = ["--suites", variant.suites]
    host = stack.enter_context(
        BenchNode(own, "serve", home=folder / "host", arguments=["--backend", engine, *variant.serve])
    )
    ready = host.wait_for("ready")
    ticket = folder / "ticket"
    ticket.touch(mode=0o600)
    ticket.write_text(ready["ticket"])
    client = stack.enter_context(
        BenchNode(own, "client", home=folder / "client", arguments=["--join-file", str(ticket), *variant.client])
    )
    return client.wait_for("ready")["api_url"], [host.pid, client.pid]


async def measure(urls: dict[str, str], *, rounds: int, scale: float) -> dict[str, dict[str, float]]:
    """Take turns between the variants, return the medians over the rounds."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in urls}

    def note(name: str, figure: str, value: float) -> None:
        samples[name].setdefault(figure, []).append(value)

    for url in urls.values():  # warm: connections, code, caches
        await load.first_token(url, rounds=5)
    for number in range(rounds):
        for name, url in urls.items():
            ttft = await load.first_token(url, rounds=int(60 * scale))
            note(name, "ttft_p50_ms", load.median(ttft))
            note(name, "ttft_p99_ms", load.percentile(ttft, 0.99))
            note(name, "tokens_s_1", await load.throughput(url, streams=1, tokens=int(20_000 * scale)))
            note(name, "tokens_s_32", await load.throughput(url, streams=32, tokens=int(2_000 * scale)))
            gap = await load.gaps(url, streams=32, rate=50, tokens=int(100 * scale))
            note(name, "gap_p50_ms", load.median(gap))
            note(name, "gap_p99_ms", load.percentile(gap, 0.99))
            note(name, "bulk_mb_s", await load.bulk(url, size=int(48 * 2**20 * min(1.0, scale))))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return {
        name: {figure: load.median(values) for figure, values in figures.items()} for name, figures in samples.items()
    }


FIGURES = {
    "ttft_p50_ms": "first token, median ms",
    "ttft_p99_ms": "first token, p99 ms",
    "tokens_s_1": "tokens/s, 1 stream",
    "tokens_s_32": "tokens/s, 32 streams",
    "gap_p50_ms": "gap at 50 tokens/s × 32, median ms",
    "gap_p99_ms": "gap at 50 tokens/s × 32, p99 ms",
    "bulk_mb_s": "bulk request, MB/s",
}


def targets(figures: dict[str, dict[str, float]]) -> list[tuple[str, float, str, bool]]:
    """The targets that this run can judge: what is compared, the ratio, what it should be, whether it is met."""
    direct, plain, sealed = figures.get("direct"), figures.get("plain tunnel"), figures.get("sealed 2")
    rows: list[tuple[str, float, str, bool]] = []

    def at_least(name: str, ratio: float, least: float) -> None:
        rows.append((name, ratio, f"≥ {least:g}", ratio >= least))

    if direct and sealed:
        at_least("sealed 2 of direct, tokens/s, 1 stream", sealed["tokens_s_1"] / direct["tokens_s_1"], 0.3)
        at_least("sealed 2 of direct, tokens/s, 32 streams", sealed["tokens_s_32"] / direct["tokens_s_32"], 0.6)
        over = sealed["ttft_p50_ms"] - direct["ttft_p50_ms"]
        rows.append(("sealed 2 over direct, first token, ms", over, "≤ 2.5", over <= 2.5))
    if plain and sealed:
        for figure in ("tokens_s_1", "tokens_s_32", "bulk_mb_s"):
            at_least(f"sealed 2 of plain tunnel, {FIGURES[figure]}", sealed[figure] / plain[figure], 0.9)
        at_least("plain tunnel of sealed 2, first token", plain["ttft_p50_ms"] / sealed["ttft_p50_ms"], 0.9)
    return rows


def table(figures: dict[str, dict[str, float]]) -> str:
    names = list(figures)
    width = max(len(words) for words in FIGURES.values())
    lines = [" " * width + "".join(f"{name:>16}" for name in names)]
    for figure, words in FIGURES.items():
        lines.append(f"{words:<{width}}" + "".join(f"{figures[name][figure]:>16,.1f}" for name in names))
    lines.append("")
    lines += [
        f"{name:<58}{ratio:>8.2f}  {aim:<7} {'met' if met else 'MISSED'}" for name, ratio, aim, met in targets(figures)
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the load: to see that it runs")
    parser.add_argument("--only", nargs="*", choices=["direct", *VARIANTS], help="leave the others out")
    options = parser.parse_args()
    wanted = options.only or ["direct", *VARIANTS]
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sealmesh-bench-")))
        engine = start_engine(stack)
        urls = {"direct": engine} if "direct" in wanted else {}
        for name, variant in VARIANTS.items():
            if name in wanted:
                urls[name], _ = start_mesh(stack, root, name, variant, engine)
        scale = 0.1 if options.quick else 1.0
        figures = asyncio.run(measure(urls, rounds=1 if options.quick else options.rounds, scale=scale))
    if options.json:
        rows = [dict(zip(("what", "ratio", "aim", "met"), row, strict=True)) for row in targets(figures)]
        print(json.dumps({"cores": os.cpu_count(), "figures": figures, "targets": rows}))
    else:
        print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

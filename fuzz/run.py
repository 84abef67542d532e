"""Runs one harness: with atheris where it is installed, over its seeds and simple changes of them with `--plain`.

See fuzz/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAMILIES = ("sealed", "admission", "records", "statements", "http", "devices", "guests", "chips", "builds")


def load(family: str) -> object:
    """Import a family's harness."""
    for folder in (ROOT / "tests", ROOT / "src"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(f"fuzz.{family}").HARNESS


def run_plain(family: str, count: int, seed: int) -> int:
    """Run the seeds, and `count` inputs made from them."""
    from fuzz.harness import Harness, mutations

    harness = load(family)
    if not isinstance(harness, Harness):
        raise TypeError(family)
    for data in [*harness.seeds, *mutations(harness.seeds, count, seed=seed)]:
        try:
            harness(data)
        except Exception:
            sys.stderr.write(f"the input that did it: {data.hex()}\n")
            raise
    return 0


def run_atheris(family: str, seconds: int, corpus: Path | None, options: list[str]) -> int:
    """Let atheris look for inputs until the time is over."""
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris is not installed: `pip install atheris`, or say --plain 10000\n")
        return 2
    with atheris.instrument_imports(include=["sealmesh"]):
        harness = load(family)
    with tempfile.TemporaryDirectory() as seeds:
        for index, data in enumerate(harness.seeds):  # type: ignore[attr-defined]
            (Path(seeds) / f"{index:04}").write_bytes(data)
        if corpus is not None:
            corpus.mkdir(parents=True, exist_ok=True)
        folders = ([str(corpus)] if corpus else []) + [seeds]
        limits = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"]
        atheris.Setup([family, *limits, *options, *folders], harness)
        atheris.Fuzz()
    return 0


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="?", choices=FAMILIES)
    parser.add_argument("--list", action="store_true", help="name the families")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--plain", type=int, metavar="COUNT", help="no atheris: this many changed seeds")
    parser.add_argument("--seed", type=int, default=0, help="of the plain changes")
    parser.add_argument("--corpus", type=Path, help="where atheris keeps what it found worth keeping")
    arguments, options = parser.parse_known_args()
    if arguments.list or arguments.family is None:
        sys.stdout.write("\n".join(FAMILIES) + "\n")
        return 0
    if arguments.plain is not None:
        return run_plain(arguments.family, arguments.plain, arguments.seed)
    return run_atheris(arguments.family, arguments.seconds, arguments.corpus, options)


if __name__ == "__main__":
    sys.exit(main())

"""A node for benchmarks: the product's own, with the suites chosen.

`python -m benchmarks.node --suites 1 serve …` has hosts with suite 1 only: no setting of the product can do it. What
sealing is compared with needs nothing of its own: it is the product's plain way, `--plain` and `--allow-plain-hosts`.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from sealmesh.sealed.suites import Suite


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--suites", default="1,2")
    own, rest = parser.parse_known_args()
    import sealmesh.node.run as node_run

    node_run.run = partial(node_run.run, suites=tuple(Suite(int(number)) for number in own.suites.split(",")))
    from sealmesh.cli.main import main as command

    sys.argv[1:] = rest
    command()


if __name__ == "__main__":
    main()

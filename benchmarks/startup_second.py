"""The second start of `benchmarks.startup`: everything up to where a node would be loaded."""

import os
import sys

source = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/src"
sys.path.append(source)
from sealmesh.cli.boot import prepare  # noqa: E402

prepare(source + "/sealmesh/cli/boot.py", sys.argv[1])

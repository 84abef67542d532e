"""What it costs to measure an installation: `python -m benchmarks.measure [PYTHON]`.

With the interpreter of another environment (one without what only developers need), that one is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys

_SCRIPT = """
import json, time
from sealmesh.hardening.measure import measure
found, took = None, []
for _ in range(6):
    begun = time.perf_counter()
    found = measure()
    took.append(time.perf_counter() - begun)
print(json.dumps({"files": found.files, "mb": found.size / 1e6, "first": took[0], "best": min(took[1:])}))
"""


def main() -> None:
    interpreter = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    run = subprocess.run([interpreter, "-c", _SCRIPT], capture_output=True, check=True)
    found = json.loads(run.stdout)
    times = f"first {found['first']:.2f} s, best of five {found['best']:.2f} s"
    print(f"{found['files']} files, {found['mb']:.0f} MB: {times}")


if __name__ == "__main__":
    main()

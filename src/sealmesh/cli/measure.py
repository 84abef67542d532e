"""`sealmesh measure`: what is installed here, as one digest, for people, for a list of builds, or line by line."""

from __future__ import annotations

import json
import sys

from sealmesh.cli.terminal import Tone, escape_peer_text, say
from sealmesh.hardening.measure import Environment, Measurement, measure


def show_measurement(*, as_json: bool, manifest: bool, environment: Environment | None = None) -> int:
    """Measure this environment and print what came of it.

    Args:
        as_json: One JSON object: what `sealmesh bless add` reads.
        manifest: The text whose SHA-256 the measurement is, byte for byte.
        environment: What to measure; the one that this process runs in where none is given.

    Raises:
        ConfigError: A file cannot be read.
    """
    measured = measure(environment)
    if as_json:
        described = measured.describe()
        if manifest:
            described["manifest"] = measured.manifest.decode()
        print(json.dumps(described))
    elif manifest:
        sys.stdout.write(measured.manifest.decode())
        for fault in measured.unblessed:
            say(f"unblessed: {escape_peer_text(fault, most=400)}")
    else:
        print("\n".join(measurement_lines(measured, Tone.of(sys.stdout))))
    return 0


def measurement_lines(measured: Measurement, tone: Tone) -> list[str]:
    """The measurement for people."""
    rows = [
        ("measurement", measured.digest.hex()),
        ("platform", measured.platform),
        (
            "installed",
            f"sealmesh {measured.version}; {measured.distributions} distributions, {measured.files} files, "
            f"{measured.size / 1e6:.0f} MB",
        ),
        *(("unblessed", escape_peer_text(fault, most=400)) for fault in measured.unblessed),
    ]
    lines = [f"{tone.style(name.ljust(11), 'dim')} {value}" for name, value in rows]
    if measured.unblessed:
        lines.append(tone.style("No list can vouch for this installation: install a built wheel to be blessed.", "dim"))
    lines.append(tone.style("A program says this of itself: it is no proof of what runs.", "dim"))
    return lines

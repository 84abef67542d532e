"""What tests of several rooms share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# No test is judged by the clock: on a busy machine these two fail whatever the code does.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Lets every test directory import `kit`, the fakes that several of them share.
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.swtpm import SoftwareTpm
    from sealmesh.backend.models import ModelFile


def pytest_configure(config: pytest.Config) -> None:
    """Search all that the run leaves behind for the text of its prompts (attack A18)."""
    from kit import marker

    config.pluginmanager.register(marker, "marker")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what passed of the validation on two machines, and keep it."""
    outcomes = {"passed": "pass", "failed": "FAIL", "error": "FAIL", "skipped": "left out"}
    rows = [
        f"{words:<8}  {report.nodeid.partition('::')[2].removeprefix('test_').replace('_', ' ')}"
        for outcome, words in outcomes.items()
        for report in terminalreporter.stats.get(outcome, ())
        if "test_two_machines.py" in report.nodeid and (report.when == "call" or outcome != "passed")
    ]
    if rows:
        terminalreporter.section("two machines")
        terminalreporter.write_line("\n".join(rows))
        kept = Path(__file__).parent.parent / "out" / "two-machines.txt"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def model_file() -> ModelFile:
    """The default model, verified; fetched with the user's package tool when it is not in the cache."""
    from sealmesh.backend.models import DEFAULT_MODEL, default_cache_dir, resolve

    pytest.importorskip("xllamacpp")
    return resolve(DEFAULT_MODEL, default_cache_dir())


@pytest.fixture(scope="session")
def _made_tpms() -> Iterator[list[SoftwareTpm]]:
    from kit.swtpm import made_tpms

    with made_tpms() as chips:
        yield chips


@pytest.fixture
def two_tpms(_made_tpms: list[SoftwareTpm]) -> Iterator[list[SoftwareTpm]]:
    """Two emulated TPMs of one maker, switched on. Mark the test with `swtpm`."""
    from kit.swtpm import running_tpms

    with running_tpms(_made_tpms) as chips:
        yield chips


@pytest.fixture
def tpm(_made_tpms: list[SoftwareTpm]) -> Iterator[SoftwareTpm]:
    """An emulated TPM with a certified endorsement key, switched on. Mark the test with `swtpm`."""
    from kit.swtpm import running_tpms

    with running_tpms(_made_tpms[:1]) as chips:
        yield chips[0]

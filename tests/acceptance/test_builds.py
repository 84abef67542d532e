"""Builds in real environments: the measurement of two fresh ones, and what a change does to it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from kit.environments import build_wheel, make_environment

#: As a user has it: nothing here says how Python should run.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("builds")]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two fresh environments with the same wheel in both."""
    folder = tmp_path_factory.mktemp("builds")
    wheel = build_wheel(folder)
    return make_environment(folder / "one", wheel), make_environment(folder / "some where" / "two", wheel)


def measured(interpreter: Path) -> dict[str, object]:
    """What `sealmesh measure` says in an environment; it leaves bytecode behind."""
    command = [str(interpreter.parent / "sealmesh"), "measure", "--json"]
    run = subprocess.run(command, capture_output=True, check=True, cwd="/", env=_ENVIRONMENT)
    found: dict[str, object] = json.loads(run.stdout)
    return found


def site_of(interpreter: Path) -> Path:
    (site,) = (interpreter.parents[1] / "lib").glob("python*/site-packages")
    return site


def test_two_fresh_environments_and_after_use(environments: tuple[Path, Path]) -> None:
    first, second = environments
    fresh = measured(first)
    assert fresh["unblessed"] == []
    assert measured(second) == fresh
    assert list(site_of(first).glob("sealmesh/__pycache__/*.pyc"))
    assert measured(first) == fresh
    command = [str(second), "-m", "sealmesh", "measure", "--manifest"]
    manifest = subprocess.run(command, capture_output=True, check=True, cwd="/").stdout
    assert hashlib.sha256(manifest).hexdigest() == fresh["measurement"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("sealmesh/host/serve.py", None), ("nacl/_sodium.abi3.so", None), ("stray.py", b""), ("a.pth", b"import sys\n")],
)
def test_a_change_shows(environments: tuple[Path, Path], name: str, content: bytes | None) -> None:
    untouched, changed = environments
    path = site_of(changed) / name
    before = path.read_bytes() if path.exists() else None
    after = content if content is not None else before[:-1] + bytes([before[-1] ^ 1])  # type: ignore[index]
    path.unlink(missing_ok=True)  # it may be a link to another environment's file
    path.write_bytes(after)
    try:
        command = [str(untouched), "-I", "-c", _MEASURE, str(site_of(changed))]
        found = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
        assert found != measured(untouched)["measurement"]
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)
    command = [str(untouched), "-I", "-c", _MEASURE, str(site_of(changed))]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    assert found == measured(untouched)["measurement"]


#: Measures another environment than its own: a broken one need not run.
_MEASURE = """
import dataclasses, sys
from pathlib import Path
from sealmesh.hardening.measure import measure, this_environment
site = Path(sys.argv[1])
prefix = site.parents[2]
other = dataclasses.replace(this_environment(), sites=(site,), prefix=prefix, scripts=prefix / "bin")
print(measure(other).digest.hex())
"""

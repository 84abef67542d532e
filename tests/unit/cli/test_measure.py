"""`sealmesh measure`: for people, for programs, and line by line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from sealmesh.cli.measure import measurement_lines, show_measurement
from sealmesh.cli.terminal import Tone
from sealmesh.hardening.measure import Environment, measure


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    site = tmp_path / "site-packages"
    (site / "thing-1.0.dist-info").mkdir(parents=True)
    (site / "thing-1.0.dist-info" / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
    (site / "thing.py").write_text("answer = 42\n")
    return Environment(sites=(site,), prefix=tmp_path, scripts=tmp_path / "bin", platform="linux-x86_64-cp311")


def test_people_get_the_digest_and_what_it_is_worth(environment: Environment) -> None:
    lines = measurement_lines(measure(environment), Tone(coloured=False))
    assert lines[0] == f"measurement {measure(environment).digest.hex()}"
    assert "1 distributions, 2 files" in lines[2]
    assert lines[-1] == "A program says this of itself: it is no proof of what runs."
    assert not any("unblessed" in line for line in lines)


def test_people_are_told_what_makes_it_unblessed(environment: Environment) -> None:
    measured = measure(dataclasses.replace(environment, outside=(Path("/elsewhere"),)))
    lines = measurement_lines(measured, Tone(coloured=False))
    assert lines[3] == "unblessed   modules can come from a folder outside of the environment"
    assert "install a built wheel" in lines[4]


def test_the_manifest_has_the_measurement_for_its_digest(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_measurement(as_json=False, manifest=True, environment=environment) == 0
    said = capsys.readouterr().out.encode()
    assert hashlib.sha256(said).digest() == measure(environment).digest


def test_programs_get_json(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_measurement(as_json=True, manifest=False, environment=environment) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == measure(environment).describe()
    assert show_measurement(as_json=True, manifest=True, environment=environment) == 0
    said = json.loads(capsys.readouterr().out)
    assert hashlib.sha256(said["manifest"].encode()).hexdigest() == said["measurement"]

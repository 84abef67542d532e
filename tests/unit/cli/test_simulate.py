"""`sealmesh simulate`, as it prints."""

from __future__ import annotations

import json

import pytest

from sealmesh.cli import options
from sealmesh.cli.simulate import run_simulate
from sealmesh.errors import ConfigError
from sealmesh.simulation.scenarios import Scenario


def test_the_option_names_every_scenario() -> None:
    assert [one.value for one in options.Scenario] == [one.value for one in Scenario]


def test_a_table_and_a_plot(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_simulate("partition", nodes=12, seed=2, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "PARTITION, SEED 2" in shown
    assert "rounds of 10 s until learned" in shown
    assert f"{'#' * 40} 100.0%" in shown


def test_one_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_simulate("join", nodes=12, seed=1, as_json=True) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["scenario"], figures["nodes"], figures["unlearned"]) == ("join", 12, 0)


def test_a_size_that_cannot_be_is_said() -> None:
    with pytest.raises(ConfigError, match="8 to 10,000"):
        run_simulate("spread", nodes=3, seed=1, as_json=False)

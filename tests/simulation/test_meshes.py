"""The targets of large meshes, on small ones: seeded runs of `sealmesh simulate`."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from sealmesh.errors import ConfigError
from sealmesh.simulation.scenarios import Figures, Scenario, simulate

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/simulate.schema.json").read_text())
KIB = 1024
NODES = 60


@cache
def played(scenario: Scenario) -> Figures:
    return simulate(scenario, nodes=NODES, seed=1)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_the_figures_have_the_published_form(scenario: Scenario) -> None:
    figures = json.loads(json.dumps(dataclasses.asdict(played(scenario))))
    jsonschema.validate(figures, SCHEMA)
    assert figures["scenario"] == scenario.value
    assert figures["links_mean"] >= 8
    assert figures["links_max"] <= 32  # nobody is the centre
    assert figures["bytes_at_rest"] <= 4 * KIB


def test_the_same_seed_gives_the_same_figures() -> None:
    assert simulate(Scenario.JOIN, nodes=20, seed=3) == simulate(Scenario.JOIN, nodes=20, seed=3)
    assert simulate(Scenario.JOIN, nodes=20, seed=3) != simulate(Scenario.JOIN, nodes=20, seed=4)


def test_a_change_is_known_to_all_within_twelve_rounds_and_renewals_are_cheap() -> None:
    figures = played(Scenario.SPREAD)
    assert figures.unlearned == 0
    assert figures.rounds_p99 <= 12
    assert figures.learned[0] == 0.0
    assert figures.learned[-1] == 1.0
    assert figures.bytes_at_rest < figures.bytes_per_node_round <= 16 * KIB


def test_newcomers_know_all_and_are_known() -> None:
    figures = played(Scenario.JOIN)
    assert figures.unlearned == 0
    assert figures.rounds_max <= 12


def test_a_mesh_that_was_halved_heals() -> None:
    figures = played(Scenario.PARTITION)
    assert figures.unlearned == 0
    assert figures.learned[0] == 0.0
    assert 1 <= figures.rounds_max <= 12


def test_three_liars_in_ten_change_nothing_and_keep_nothing_out() -> None:
    figures = played(Scenario.LIARS)
    assert figures.misbehaved > 0
    assert figures.violations == 0
    assert figures.unlearned == 0
    assert figures.extra_rounds <= 10


def test_who_says_goodbye_is_not_picked() -> None:
    figures = played(Scenario.CHURN)
    assert figures.requests == 3000
    assert figures.stale_picks <= 0.01


@pytest.mark.parametrize("nodes", [-1, 0, 7, 10_001])
def test_there_are_meshes_of_other_sizes_not(nodes: int) -> None:
    with pytest.raises(ConfigError, match="8 to 10,000"):
        simulate(Scenario.SPREAD, nodes=nodes, seed=1)

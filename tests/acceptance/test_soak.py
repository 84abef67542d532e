"""The short form of `make soak`: two minutes, a worker of its own, few requests a second so that others have room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.soak import run

OUT = Path(__file__).parents[2] / "out"
pytestmark = [pytest.mark.process, pytest.mark.xdist_group("soak")]


def test_two_minutes_of_killed_hosts_bring_no_wrong_answer_and_leave_nothing_behind() -> None:
    counts = run(minutes=2, seed=8, rate=15)
    OUT.mkdir(exist_ok=True)
    (OUT / "soak.json").write_text(json.dumps(counts, indent=1))
    assert counts["wrong"] == []
    assert sum(counts["right"].values()) > 1000
    assert counts["hosts killed"] >= 3
    assert counts["hosts stopped"] >= 3

"""The page of controls names every one, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from sealmesh.hardening.posture import Control
from sealmesh.hardening.seccomp import REFUSED

PAGE = (Path(__file__).parents[2] / "docs" / "explain" / "hardening.md").read_text()


def test_every_control_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE.partition("## Controls on Linux")[2].partition("## Demanding")[0]))
    assert {control.id for control in Control} <= named


def test_the_table_names_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    assert set(rows) <= {control.id for control in Control}


def test_the_number_of_refused_calls_is_the_real_one() -> None:
    assert f"{len(REFUSED)} calls fail with EPERM" in PAGE

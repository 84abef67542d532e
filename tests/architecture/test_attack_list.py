"""Every attack of the list has its tests, or stands in PENDING with the issue that brings them, and never both."""

from __future__ import annotations

import re
from pathlib import Path

ATTACKS = Path(__file__).parents[1] / "attacks"
ALL = {f"A{number:02d}" for number in range(1, 26)}


def pending() -> dict[str, str]:
    lines = (ATTACKS / "PENDING").read_text().splitlines()
    entries = [line.split(None, 2) for line in lines if line and not line.startswith("#")]
    assert all(len(entry) == 3 and re.fullmatch(r"#\d+", entry[1]) for entry in entries), "ID #ISSUE what is missing"
    return {entry[0]: entry[1] for entry in entries}


def attacks_with_tests() -> set[str]:
    found = {match[1].upper() for path in ATTACKS.glob("test_*.py") if (match := re.match(r"test_(a\d\d)_", path.name))}
    assert found, "no attack tests at all"
    return found


def test_no_attack_is_forgotten() -> None:
    assert attacks_with_tests() | set(pending()) == ALL


def test_no_attack_is_both_tested_and_pending() -> None:
    assert attacks_with_tests() & set(pending()) == set()


def test_every_attack_file_tests_something() -> None:
    for path in ATTACKS.glob("test_*.py"):
        assert re.search(r"^\s*(async )?def test_", path.read_text(), re.MULTILINE), path.name

"""The specifications and the code cite each other: no rule without a line, no line without a rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ("src/sealmesh/attestation", "src/sealmesh/host", "src/sealmesh/client")
SPECS = {"ST": "docs/spec/statements.md", "CH": "docs/spec/challenge.md"}


def defined(prefix: str) -> list[str]:
    return re.findall(rf"(?m)^(?:\d\. )?\[({prefix}-\d+)\]", (ROOT / SPECS[prefix]).read_text())


def cited(prefix: str) -> set[str]:
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    return {rule for path in paths for rule in re.findall(rf"\[({prefix}-\d+)\]", path.read_text())}


@pytest.mark.parametrize("prefix", SPECS)
def test_each_rule_is_defined_once(prefix: str) -> None:
    rules = defined(prefix)
    assert len(rules) > 15
    assert sorted(rules) == sorted(set(rules))


@pytest.mark.parametrize("prefix", SPECS)
def test_each_rule_is_cited_by_code_and_each_citation_exists(prefix: str) -> None:
    assert set(defined(prefix)) == cited(prefix)


@pytest.mark.parametrize("prefix", SPECS)
def test_each_must_has_a_rule(prefix: str) -> None:
    for paragraph in re.split(r"\n\n|\n(?=\d\. )", (ROOT / SPECS[prefix]).read_text()):
        if "MUST" in paragraph and "BCP 14" not in paragraph:
            assert re.search(rf"\[{prefix}-\d+\]", paragraph), paragraph

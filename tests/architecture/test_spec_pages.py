"""What stands in docs/spec is in step with the code, and the pages hang together."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_tables", ROOT / "scripts" / "spec_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_state_table_and_its_diagram_are_the_codes() -> None:
    text = (SPEC / "exchange.md").read_text()
    assert generator().page(text) == text, "run: python scripts/spec_tables.py"


def test_a_page_without_its_marks_is_noticed() -> None:
    with pytest.raises(ValueError, match="marks"):
        generator().page("no marks here")


def test_every_page_is_in_the_index() -> None:
    index = (SPEC / "README.md").read_text()
    pages = {path.name for path in SPEC.glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\| \[(\w+\.md)\]\(\1\) \|", index))


@pytest.mark.parametrize("page", sorted(path.name for path in SPEC.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (SPEC / page).read_text()):
        assert (SPEC / target).exists(), target


@pytest.mark.parametrize("page", sorted(path.name for path in SPEC.glob("*.md")))
def test_every_rule_that_a_page_refers_to_is_stated(page: str) -> None:
    stated = {
        rule
        for path in SPEC.glob("*.md")
        for rule in re.findall(r"(?m)^(?:\| |\d+\. )?\[([A-Z]{2}-\d+)\]", path.read_text())
    }
    assert set(re.findall(r"\[([A-Z]{2}-\d+)\]", (SPEC / page).read_text())) <= stated

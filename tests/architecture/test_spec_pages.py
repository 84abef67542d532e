"""What stands in docs/spec is in step with the code, and the pages hang together."""

from __future__ import annotations

import importlib.util
import re
import tomllib
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
    assert set(re.findall(r"\[([A-Z]{2}-\d+)\]", (SPEC / page).read_text())) <= stated_rules()


def stated_rules() -> set[str]:
    return {
        rule
        for path in SPEC.glob("*.md")
        for rule in re.findall(r"(?m)^(?:\| |\d+\. )?\[([A-Z]{2}-\d+)\]", path.read_text())
    }


@pytest.mark.parametrize("page", sorted({path.name for path in SPEC.glob("*.md")} - {"README.md", "reasons.md"}))
def test_every_must_stands_with_an_id(page: str) -> None:
    before, _, rules = (SPEC / page).read_text().partition("\n## 1.")
    assert rules, "a page begins with its words, and its rules with section 1"
    assert len(re.findall(r"\bMUST\b", before)) <= 3  # of BCP 14, and at the head of a table
    for paragraph in re.split(r"\n\n", rules):
        if re.search(r"\bMUST\b", paragraph):
            assert re.search(r"\[[A-Z]{2}-\d+\]", paragraph), paragraph


def test_the_code_cites_every_rule_that_is_not_pending_and_no_other() -> None:
    code = "\n".join(path.read_text() for path in sorted((ROOT / "src/sealmesh").rglob("*.py")))
    prefixes = "|".join(sorted({rule[:2] for rule in stated_rules()}))
    cited = set(re.findall(rf"\b((?:{prefixes})-\d+)\b", code))
    pending = set(tomllib.loads((ROOT / "tests/architecture/rules.toml").read_text())["pending"])
    assert cited <= stated_rules()
    assert stated_rules() - cited == pending

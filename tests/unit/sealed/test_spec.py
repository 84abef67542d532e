"""The specification and the code cite each other: no rule without a line, no line without a rule."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
RULE = re.compile(r"EX-(\d\d)")
#: From here on the rules are the drivers', in the rooms `client` and `host`.
DRIVERS = 60


def _defined() -> list[int]:
    text = (ROOT / "docs/spec/exchange.md").read_text()
    return [int(number) for number in re.findall(r"(?m)^(?:\d\. )?\[EX-(\d\d)\]", text)]


def _cited() -> set[int]:
    sources = [*(ROOT / "src/sealmesh/sealed").glob("*.py"), *(ROOT / "src/sealmesh/hardening").glob("*.py")]
    return {int(number) for path in sources for number in RULE.findall(path.read_text())}


def test_each_rule_is_defined_once() -> None:
    defined = _defined()
    assert len(defined) > 50
    assert len(defined) == len(set(defined))


def test_each_rule_is_cited_by_code_and_each_citation_exists() -> None:
    assert {rule for rule in _defined() if rule < DRIVERS} == {rule for rule in _cited() if rule < DRIVERS}


def test_each_must_has_a_rule() -> None:
    text = (ROOT / "docs/spec/exchange.md").read_text()
    for paragraph in re.split(r"\n\n|\n(?=\d\. )", text):
        if "MUST" in paragraph and "BCP 14" not in paragraph:
            assert RULE.search(paragraph), paragraph

"""Every rule of the two specifications is cited where it is obeyed, and nothing cites a rule that does not exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Rules about connections, and about what is shown to people: obeyed above the pure rooms.
ABOVE = {"AD": {22, 23}, "RE": set()}


def _rules(text: str, prefix: str) -> set[int]:
    return {int(number) for number in re.findall(rf"\[{prefix}-(\d+)\]", text)}


@pytest.mark.parametrize(("prefix", "page"), [("AD", "admission.md"), ("RE", "records.md")])
def test_rules_and_code_are_in_step(prefix, page):
    text = (ROOT / "docs/spec" / page).read_text()
    stated = {int(number) for number in re.findall(rf"^(?:\| )?\[{prefix}-(\d+)\]", text, flags=re.MULTILINE)}
    assert stated == set(range(1, max(stated) + 1))
    code = "\n".join(path.read_text() for path in sorted((ROOT / "src/sealmesh").rglob("*.py")))
    cited = _rules(code, prefix)
    assert cited <= stated
    assert stated - cited <= ABOVE[prefix]


@pytest.mark.parametrize("page", ["admission.md", "records.md"])
def test_what_must_be_belongs_to_a_rule(page):
    """A MUST outside a rule's paragraph, or a table of rules, has no id to cite."""
    text = (ROOT / "docs/spec" / page).read_text().split("\n## 1.", 1)[1]
    for paragraph in text.split("\n\n"):
        if re.search(r"\bMUST\b", paragraph):
            assert re.search(r"\[(AD|RE)-\d+\]", paragraph), paragraph

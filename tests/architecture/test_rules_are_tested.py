"""Every rule of docs/spec is shown by a vector or a test, and what is said to show it exists."""

from __future__ import annotations

import ast
import functools
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
REGISTRY = tomllib.loads((Path(__file__).parent / "rules.toml").read_text())
PENDING: dict[str, str] = REGISTRY["pending"]
SHOWN: dict[str, list[str]] = {
    rule: shown for page, rules in REGISTRY.items() if page != "pending" for rule, shown in rules.items()
}
RULE = r"[A-Z]{2}-\d+"


@functools.cache
def stated() -> dict[str, str]:
    """Rule -> its page, without the ending."""
    return {
        rule: path.stem
        for path in sorted((ROOT / "docs/spec").glob("*.md"))
        for rule in re.findall(rf"(?m)^(?:\| |\d+\. )?\[({RULE})\]", path.read_text())
    }


@functools.cache
def named_by_vectors() -> dict[str, set[str]]:
    """Rule -> the vectors that name it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "testvectors").glob("*/*.json"):
        for rule in json.loads(path.read_text()).get("rules", ()):
            found.setdefault(rule, set()).add(f"{path.parent.name}/{path.stem}")
    return found


@functools.cache
def cited_by_tests() -> set[str]:
    """Rules that a test cites in brackets."""
    return {rule for path in TESTS.rglob("test_*.py") for rule in re.findall(rf"\[({RULE})\]", path.read_text())}


@functools.cache
def names_in(path: Path) -> set[str]:
    """Names of the tests and state machines of a module."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def test_there_are_rules() -> None:
    assert len(stated()) > 150
    assert {"admission", "records", "statements", "challenge", "exchange", "streams"} <= set(stated().values())


@pytest.mark.parametrize("rule", stated())
def test_a_rule_is_shown(rule: str) -> None:
    shown = rule in named_by_vectors() or rule in cited_by_tests() or SHOWN.get(rule)
    assert shown or rule in PENDING, f"{rule} of {stated()[rule]}.md has no test and no vector"


def test_what_is_pending_is_pending_still() -> None:
    for rule in PENDING:
        assert rule in stated()
        assert rule not in SHOWN, f"{rule} has a test now: take it out of [pending]"


@pytest.mark.parametrize("rule", sorted(SHOWN))
def test_what_shows_a_rule_exists(rule: str) -> None:
    assert stated().get(rule) is not None, "there is no such rule"
    assert rule in REGISTRY[stated()[rule]], "it stands under another page"
    assert SHOWN[rule]
    for shown in SHOWN[rule]:
        path, mark, test = shown.partition("::")
        if mark:
            assert test in names_in(TESTS / f"{path}.py"), shown
        else:
            assert (ROOT / "testvectors" / f"{path}.json").exists(), shown


def test_vectors_name_rules_that_exist() -> None:
    assert set(named_by_vectors()) <= set(stated())

"""The list of security checks that `make mutants` takes out is held to the code: nothing gone, nothing forgotten."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.mutants import PACKAGE, NotFoundError, change, find_function
from tools.mutants_check import Check
from tools.mutants_list import CHECKS, NOT_LISTED

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / PACKAGE
ROOMS = (
    "sealed", "identity", "gossip", "attestation", "routing", "client", "host", "mesh", "api", "console", "hardening",
    "node", "attesters", "backend", "cli",
)  # fmt: skip
#: What a function that refuses something is named.
CHECK_NAME = re.compile(r"_?(check|require|refuse_\w|verify)(_|$)")


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{inside}{node.name}.")


@functools.cache
def named_checks() -> set[str]:
    return {
        f"{path.relative_to(SOURCE)}:{name}"
        for room in ROOMS
        for path in (SOURCE / room).rglob("*.py")
        for name, _ in functions(ast.parse(path.read_text()))
        if CHECK_NAME.match(name.rpartition(".")[2])
    }


@pytest.mark.parametrize("check", CHECKS, ids=[f"{one.module}:{one.function}:{one.change}" for one in CHECKS])
def test_what_is_listed_can_be_taken_out(check: Check) -> None:
    source = (SOURCE / check.module).read_text()
    assert ast.dump(ast.parse(change(source, check))) != ast.dump(ast.parse(source))
    assert check.tests
    for test in check.tests:
        assert (ROOT / "tests" / test).exists(), test


def test_every_named_check_is_listed_or_explained() -> None:
    listed = {f"{check.module}:{check.function}" for check in CHECKS}
    assert named_checks() - listed - set(NOT_LISTED) == set()


def test_what_is_explained_exists_and_is_not_listed() -> None:
    listed = {f"{check.module}:{check.function}" for check in CHECKS}
    for name, reason in NOT_LISTED.items():
        module, _, function = name.partition(":")
        assert find_function(ast.parse((SOURCE / module).read_text()), function)
        assert reason
        assert name in named_checks() - listed


def test_every_room_has_checks_in_the_list() -> None:
    assert {check.module.partition("/")[0] for check in CHECKS} == set(ROOMS)


SAMPLE = """
class Door:
    def check(self, key):
        if key != self.key:
            raise ValueError(key)
        self.count()
        return True
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("return", "return"),
        ("return: True", "return True"),
        ("never: key !=", "if False:"),
        ("always: key !=", "if True:"),
        ("drop: self.count", "pass"),
        ("drop: ValueError", "pass"),
        ("yield", "yield"),
    ],
)
def test_changes(how: str, expected: str) -> None:
    assert expected in change(SAMPLE, Check("x.py", "Door.check", how, ()))


@pytest.mark.parametrize(
    ("function", "how"), [("Door.none", "return"), ("Door", "return"), ("Door.check", "never: x"), ("Door.check", "no")]
)
def test_what_is_not_there_is_said(function: str, how: str) -> None:
    with pytest.raises(NotFoundError):
        change(SAMPLE, Check("x.py", function, how, ()))

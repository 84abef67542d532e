"""The threat model's table is what the tests and the code are."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("threat_table", ROOT / "scripts" / "threat_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


script = load()


def test_the_table_on_the_page_is_what_the_tests_are() -> None:
    page = script.PAGE.read_text()
    assert page == script.page(page), "run: python scripts/threat_table.py"
    assert page.count(script.BEGIN) == page.count(script.END) == 1


def test_every_attack_of_the_list_is_in_the_table() -> None:
    assert list(script.ATTACKS) == [f"A{number:02d}" for number in range(1, 26)]


def test_what_is_held_is_tested_and_what_is_tested_is_held() -> None:
    waiting = script.pending()
    for name, attack in script.ATTACKS.items():
        assert bool(attack.held) == (name not in waiting), f"{name}: name the functions that hold it, or none"


def names_in(tree: ast.AST, prefix: str = "") -> set[str]:
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found |= {prefix + node.name} | names_in(node, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("name", list(script.ATTACKS))
def test_every_defence_that_is_named_exists(name: str) -> None:
    for place in script.ATTACKS[name].held:
        file, _, function = place.partition(":")
        path = ROOT / "src" / "sealmesh" / file
        assert path.is_file(), place
        assert not function or function in names_in(ast.parse(path.read_text())), place

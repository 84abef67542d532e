"""Only the verifier makes what can be sealed to."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/sealmesh"
ALLOWED = {SOURCE / "attestation/verified.py", SOURCE / "attestation/verifier.py"}


def names_in(path: Path) -> set[str]:
    """Every name, attribute, import and text in a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case ast.Constant(value=str(text)):
                found.add(text)
    return found


def test_nobody_else_touches_the_construction_token() -> None:
    holders = {path for path in SOURCE.rglob("*.py") if "_CONSTRUCTION" in names_in(path)}
    assert holders == ALLOWED


def test_nobody_else_calls_the_constructors() -> None:
    callers = {
        path
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"VerifiedHost", "HostVerdict"}
    }
    assert callers == {SOURCE / "attestation/verifier.py"}

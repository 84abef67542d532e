"""A14: start files, variables, compiled files and libraries that put other code into the node's process.

What is planted copies each prompt that the process parses. Each plant is seen to do so in a process that is started
without protection; in one that is started as a node is it gets nothing, or the process says so of itself.
"""

from __future__ import annotations

import pytest

from sealmesh.doctor.startup import PLANTS

from .conftest import Examined

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("doctor")]
COMPILED = {"ld_preload", "sticky_preload"}
#: No effect, whoever starts it: the variable is for interactive interpreters.
HARMLESS = {"pythonstartup"}
REPORTED = {"sticky_sitecustomize", "sticky_preload"}


def plants() -> list[object]:
    names = [name for name in PLANTS if name not in HARMLESS]
    return [pytest.param(name, marks=[pytest.mark.compiler] if name in COMPILED else []) for name in names]


@pytest.mark.parametrize("name", plants())
def test_it_gets_nothing_or_is_reported_and_works_without_hardening(name: str, examined: Examined) -> None:
    found = examined.attack(name)
    assert found["unprotected"]["result"] == "worked", found
    assert found["hardened"]["result"] == ("reported" if name in REPORTED else "refused"), found


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_has_no_effect_at_all_has_none(name: str, examined: Examined) -> None:
    found = examined.attack(name)
    assert found["hardened"]["result"] == found["unprotected"]["result"] == "refused"

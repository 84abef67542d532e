"""docs/reference/openai.md is what the tables say, and every parameter of the tables is tried with some value."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from tests.acceptance.openai_rows import BASE, value_for

from sealmesh.wire.parameters import PARAMETERS

ROOT = Path(__file__).parent.parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openai_page", ROOT / "scripts" / "openai_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def test_the_page_is_what_the_tables_say() -> None:
    assert script.PAGE.read_text() == script.page(), "run: python scripts/openai_page.py"


def test_every_parameter_has_a_value_that_asks_for_something() -> None:
    for operation, listed in PARAMETERS.items():
        for name, one in listed.items():
            if name not in ("model", "previous_response_id"):
                assert not one.asks_nothing(value_for(operation, name)), name
                assert name in BASE[operation] or value_for(operation, name) is not None

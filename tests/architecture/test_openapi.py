"""docs/reference/openapi.json is what the script makes of the code, and names exactly the paths that are answered."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from tests.unit.api.world import serving

from sealmesh.wire.operations import Operation

ROOT = Path(__file__).parent.parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openapi", ROOT / "scripts" / "openapi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def test_the_file_is_what_the_code_says() -> None:
    assert script.PAGE.read_text() == script.page(), "run: python scripts/openapi.py"


def test_every_operation_of_a_sealed_request_is_described() -> None:
    described = {path for path, methods in script.description()["paths"].items() if "post" in methods}
    assert described == {operation.path for operation in Operation}


async def test_every_path_takes_the_methods_that_are_described() -> None:
    async with serving() as api:
        for path, methods in script.description()["paths"].items():
            asked = path.replace("{id}", "echo").replace("{model}", "echo")
            answer = await api.raw(api.head(f"OPTIONS {asked}"))
            allowed = set(answer.headers["allow"].split(", ")) - {"OPTIONS", "HEAD"}
            assert {method.upper() for method in methods} == allowed


def test_every_reference_leads_somewhere() -> None:
    text = script.page()
    components = script.description()["components"]
    for kind, names in components.items():
        for name in names:
            assert f'"#/components/{kind}/{name}"' in text
    for line in text.splitlines():
        if '"$ref"' in line:
            _, _, kind, name = json.loads("{" + line.strip().rstrip(",") + "}")["$ref"].split("/")
            assert name in components[kind]

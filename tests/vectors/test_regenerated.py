"""Every folder of vectors is what its generator writes, and describes itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTVECTORS = ROOT / "testvectors"
#: What hardware made and others published: nobody can write it again.
SAMPLES = {"evidence"}
FOLDERS = sorted(
    path.name
    for path in TESTVECTORS.iterdir()
    if path.is_dir() and not path.name.startswith("__") and path.name not in SAMPLES
)


def test_each_folder_has_a_generator_and_each_generator_a_folder() -> None:
    generators = {path.stem.removeprefix("generate_") for path in TESTVECTORS.glob("generate_*.py")}
    assert generators == set(FOLDERS)
    assert len(FOLDERS) == 4


@pytest.mark.parametrize("folder", FOLDERS)
def test_generators_import_nothing_of_this_project(folder: str) -> None:
    text = (TESTVECTORS / f"generate_{folder}.py").read_text()
    assert not re.search(r"^\s*(import|from) sealmesh\b", text, re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_files_are_what_the_generator_writes(folder: str) -> None:
    command = [sys.executable, str(TESTVECTORS / f"generate_{folder}.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_says_what_it_is_and_what_must_come_of_it(folder: str) -> None:
    scenarios = [path for path in (TESTVECTORS / folder).glob("*.json") if ".record" not in path.name]
    assert len(scenarios) > 20
    for path in scenarios:
        content = json.loads(path.read_text())
        assert content["description"].endswith("."), path.name
        assert "expected" in content, path.name


@pytest.mark.parametrize("folder", [*FOLDERS, *sorted(SAMPLES)])
def test_each_folder_is_in_the_index_and_explains_itself(folder: str) -> None:
    assert f"[{folder}/]({folder}/README.md)" in (TESTVECTORS / "README.md").read_text()
    page = (TESTVECTORS / folder / "README.md").read_text()
    kinds = {json.loads(path.read_text()).get("kind") for path in (TESTVECTORS / folder).glob("*.json")} - {None}
    for kind in kinds:
        assert f"`{kind}`" in page or f"`kind: {kind}`" in page, kind

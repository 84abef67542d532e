"""A18 over a whole test run: what `tests/kit/marker.py` would find if a prompt's text were left anywhere.

The search itself is shown on small runs of pytest of their own, with one planted trace each.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src"
#: Prompts are sent there, but not by a test's own words, or never to anybody.
WITHOUT = {
    "test_builds.py": "about packages",
    "test_large.py": "a picture of many megabytes",
    "test_openapi.py": "requests are made up by a tool",
    "test_saved_evidence.py": "nothing is asked",
}

PLANTED = """
import logging, os, shutil, subprocess, sys, tempfile
from pathlib import Path
import httpx, pytest
from kit.marker import MARKER, allow, search

def answer(status):
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text="what about " + MARKER))
    with httpx.Client(transport=transport) as client:
        return client.get("http://localhost/v1/x").text

def test_clean_of_all():
    assert MARKER in answer(200)

def test_clean_where_a_test_writes_itself(tmp_path):
    allow(tmp_path)
    (tmp_path / "own").write_text(MARKER)

def test_planted_log_record():
    logging.getLogger("sealmesh.x").debug("asked %s", MARKER)

def test_planted_traceback():
    try:
        raise ValueError(MARKER)
    except ValueError:
        logging.getLogger("sealmesh.x").info("failed", exc_info=True)

def test_planted_record_of_a_library():
    logging.getLogger("asyncio").warning(MARKER)

def test_planted_stderr():
    sys.stderr.write("about " + MARKER)

def test_planted_error_answer():
    answer(502)

def test_planted_file_removed():
    path = Path(tempfile.mkdtemp()) / "file"
    path.write_text("x" * 100 + MARKER)
    path.unlink()

def test_planted_folder_removed():
    folder = Path(tempfile.mkdtemp())
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text(MARKER)
    shutil.rmtree(folder)

def test_planted_file_replaced(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(MARKER)
    new.write_text("nothing")
    new.rename(old)

def test_planted_log_of_a_child():
    with tempfile.TemporaryDirectory() as folder, open(folder + "/log", "wb") as log:
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write(sys.argv[1])", MARKER], stderr=log)

def test_planted_what_was_handed_over():
    search("a metric", b"sealmesh_x 1 " + MARKER.encode())
"""

LEFT = """
from kit.marker import MARKER
def test_leaves_a_file(tmp_path):
    (tmp_path / "left").write_bytes(b"x" * (1 << 22) + MARKER.encode())
def test_leaves_nothing():
    pass
"""


def run(folder: Path, code: str, *options: str) -> tuple[int, str]:
    """Run pytest on one file with the search on, as this run has it, in a process of its own."""
    (folder / "test_small.py").write_text(code)
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    environment = {name: text for name, text in os.environ.items() if name not in ("MARKER_SEARCH_ROOT", "TMPDIR")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(TESTS), str(SOURCE)]), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *options, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_planted_trace_fails_the_test_that_left_it(options: tuple[str, ...], tmp_path: Path) -> None:
    code, said = run(tmp_path, PLANTED, *options)
    assert code == 1, said
    failed = set(re.findall(r"(?m)^ERROR .*::(\w+)", said))
    names = set(re.findall(r"(?m)^def (test_\w+)", PLANTED))
    assert failed == {name for name in names if name.startswith("test_planted")}, said
    assert "A18: the text of a prompt is in" in said


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_file_that_is_left_fails_the_run(options: tuple[str, ...], tmp_path: Path) -> None:
    code, said = run(tmp_path, LEFT, *options)
    assert code == 1, said
    assert "2 passed" in said
    assert re.search(r"A18: the text of a prompt is in the file .*left", said), said


def test_this_run_is_searched(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert request.config.pluginmanager.hasplugin("marker")
    assert tmp_path.is_relative_to(os.environ["MARKER_SEARCH_ROOT"])


def test_the_prompts_of_real_processes_hold_the_marker() -> None:
    for path in sorted((TESTS / "acceptance").glob("test_*.py")):
        text = path.read_text()
        asks = re.search(r'"(messages|prompt|input)":|input=|messages=', text)
        if asks and path.name not in WITHOUT:
            assert re.search(r"MARKER|import .*\bPROMPT\b", text), (
                f"{path.name}: put MARKER of kit.marker into its prompts"
            )
    assert all((TESTS / "acceptance" / name).exists() for name in WITHOUT)

"""The harnesses of fuzz/ run: over their seeds, over simple changes of them, and over all that they are there for.

Atheris is looked for only by who fuzzes; this is what keeps the harnesses from rotting.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import FrameType

import pytest
from fuzz.harness import Harness, Target, mutations, pieces
from fuzz.run import FAMILIES, main

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/sealmesh"
#: What needs a running connection, and so is tried by tests of links, drivers and the API's server.
WITH_CONNECTIONS = {"mesh/driver.py", "mesh/links.py"}
#: No seed can be right: nobody signs, commits to, or hangs under a fixed root what the harness makes up; and there is
#: no genuine quote of an enclave.
UNTAKEABLE = {"signature", "commitment", "path", "mda_file_by_apple", "sgx", "sgx_file"}


def harness(family: str) -> Harness:
    found = importlib.import_module(f"fuzz.{family}").HARNESS
    assert isinstance(found, Harness)
    return found


def defined() -> set[tuple[str, str]]:
    """(module, function) of every function that takes bytes of strangers and does not wait."""
    return {
        (str(path.relative_to(SOURCE)), node.name)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name.endswith("_untrusted")
        and not any(ast.unparse(one).endswith("abstractmethod") for one in node.decorator_list)
    }


def test_every_family_has_its_module() -> None:
    modules = {path.stem for path in (ROOT / "fuzz").glob("*.py")} - {"harness", "run"}
    assert modules == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_and_simple_changes(family: str) -> None:
    harnessed = harness(family)
    for data in [*harnessed.seeds, *mutations(harnessed.seeds, 1500)]:
        harnessed(data)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_target_takes_one_of_its_seeds(family: str) -> None:
    """A harness whose seeds are all refused at the door tries only the door."""
    for name, target in harness(family).targets.items():
        taken = 0
        for seed in target.seeds:
            try:
                target.take(seed)
            except target.refuses:
                continue
            taken += 1
        assert taken or name in UNTAKEABLE, name


def test_every_function_for_strangers_bytes_is_reached() -> None:
    called: set[tuple[str, str]] = set()
    prefix = str(SOURCE) + "/"

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name.endswith("_untrusted") and code.co_filename.startswith(prefix):
            called.add((code.co_filename.removeprefix(prefix), code.co_name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for family in FAMILIES:
            harnessed = harness(family)
            for data in harnessed.seeds:
                harnessed(data)
    finally:
        sys.setprofile(before)
    missing = {(module, name) for module, name in defined() - called if module not in WITH_CONNECTIONS}
    assert not missing, f"no seed of fuzz/ reaches {sorted(missing)}"


def test_a_finding_is_a_finding() -> None:
    def careless(data: bytes) -> None:
        if data:
            raise KeyError(data[0])
        raise ValueError

    one = Harness(careless=Target(careless, (ValueError,), [b"a"]))
    one(b"\x00")
    with pytest.raises(KeyError):
        one(b"\x00x")


def test_pieces_are_the_whole() -> None:
    data = bytes(range(1, 100))
    for first in range(4):
        assert b"".join(pieces(bytes([first]) + data)) == data
    assert list(pieces(b"")) == []


def test_the_command_runs_without_atheris(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz.run", "--list"])
    assert main() == 0
    assert capsys.readouterr().out.split() == list(FAMILIES)
    monkeypatch.setattr(sys, "argv", ["fuzz.run", "http", "--plain", "20"])
    assert main() == 0

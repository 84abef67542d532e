"""Takes each security check out in turn and shows that some test fails for it: `python -m tools.mutants`.

Works in private copies of the tree. A check that no test misses survives, and then this exits 1. The list names the
function, what is done to it, and the tests that must notice; tests/architecture/test_mutants.py holds the list to the
code, so that a new check cannot be left out of it by forgetting.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.mutants_check import Check
from tools.mutants_list import CHECKS

ROOT = Path(__file__).parent.parent
PACKAGE = Path("src/sealmesh")
COPIED = ("src", "tests", "testvectors", "docs", "fuzz", "scripts", "tools", "packaging", "pyproject.toml")
TIMEOUT_S = 180


class NotFoundError(Exception):
    """The list names something that is not in the code."""


def find_function(tree: ast.Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """Return a function by its dotted name within a module."""
    scope: ast.AST = tree
    for part in name.split("."):
        for node in ast.iter_child_nodes(scope):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == part:
                scope = node
                break
        else:
            raise NotFoundError(name)
    if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
        raise NotFoundError(name)
    return scope


class _Change(ast.NodeTransformer):
    """Changes the first condition or statement that holds a text."""

    def __init__(self, how: str, text: str) -> None:
        self._how = how
        self._text = text
        self.done = False

    def visit(self, node: ast.AST) -> ast.AST:
        """Look at one node."""
        if self.done:
            return node
        if (
            self._how in ("never", "always")
            and isinstance(node, ast.If | ast.IfExp)
            and self._text in ast.unparse(node.test)
        ):
            node.test = ast.Constant(value=self._how == "always")
            self.done = True
            return node
        statement = self._how == "drop" and isinstance(node, ast.Expr | ast.Raise | ast.Assign)
        if statement and self._text in ast.unparse(node):
            self.done = True
            return ast.Pass()
        return self.generic_visit(node)


def change(source: str, check: Check) -> str:
    """Return a module's source with one check taken out.

    Raises:
        NotFoundError: There is no such function, or no such condition or statement in it.
    """
    tree = ast.parse(source)
    function = find_function(tree, check.function)
    how, _, text = check.change.partition(": ")
    if how == "return":
        function.body = [ast.Return(value=ast.parse(text, mode="eval").body if text else None)]
    elif how == "yield":
        function.body = [ast.Expr(value=ast.Yield())]
    elif how in ("never", "always", "drop"):
        changer = _Change(how, text)
        function.body = [changer.visit(node) for node in function.body]  # type: ignore[misc]
        if not changer.done:
            raise NotFoundError(f"{check.function}: {check.change}")
    else:
        raise NotFoundError(f"no such change: {check.change}")
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


@dataclass(frozen=True)
class Result:
    """What came of one check."""

    check: Check
    word: str
    seconds: float
    output: str = ""


def copy_tree(to: Path) -> None:
    """Make a private copy of what tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.json.tmp"))
        elif source.exists():
            shutil.copy2(source, to / name)


@contextlib.contextmanager
def changed(copy: Path, check: Check) -> Iterator[None]:
    """Take a check out of a copy for a while."""
    path = copy / PACKAGE / check.module
    source = path.read_text()
    try:
        write_module(path, change(source, check))
        yield
    finally:
        write_module(path, source)


def write_module(path: Path, source: str) -> None:
    """Write a module and forget its compiled form, which is told apart by whole seconds and length only."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
    path.write_text(source)


def run_tests(copy: Path, tests: Sequence[str]) -> tuple[int | None, str]:
    """Run tests in a copy; the exit status is None where they did not end in time."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", "-m", "not model and not process", *(f"tests/{test}" for test in tests)]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def judge(copy: Path, check: Check, sound: dict[tuple[str, ...], str]) -> Result:
    """Take one check out and say what came of it.

    Args:
        copy: Whose files may be changed.
        check: What to take out.
        sound: Output of the tests without any change, "" where they pass; filled as needed. Where they fail anyway, a
            failure shows nothing.
    """
    start = time.monotonic()
    if check.tests not in sound:
        code, output = run_tests(copy, check.tests)
        sound[check.tests] = "" if code == 0 else f"{output}\nthese tests fail without any change"
    if sound[check.tests]:
        return Result(check, "NOT SHOWN", time.monotonic() - start, sound[check.tests])
    try:
        with changed(copy, check):
            code, output = run_tests(copy, check.tests)
    except NotFoundError as error:
        return Result(check, "not found", 0.0, f"the code has no such thing: {error}")
    seconds = time.monotonic() - start
    words = {0: "SURVIVES", 1: "noticed", None: "noticed (hangs)"}
    return Result(check, words.get(code, "BROKEN"), seconds, output)


def judge_all(checks: Sequence[Check], workers: int) -> list[Result]:
    """Judge all checks, each worker in its own copy; print as they come."""
    waiting: queue.SimpleQueue[Check] = queue.SimpleQueue()
    for check in checks:
        waiting.put(check)
    results: list[Result] = []
    lock = threading.Lock()
    sound: dict[tuple[str, ...], str] = {}

    def work(copy: Path) -> None:
        while True:
            try:
                check = waiting.get_nowait()
            except queue.Empty:
                return
            result = judge(copy, check, sound)
            with lock:
                results.append(result)
                print_result(result)

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [Path(folder) / str(number) for number in range(workers)]
        for copy in copies:
            copy.mkdir()
            copy_tree(copy)
        threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


def print_result(result: Result) -> None:
    """Print one row of the table."""
    check = result.check
    name = f"{check.module.removesuffix('.py')}:{check.function}"
    sys.stdout.write(f"{result.word:<16} {result.seconds:5.1f} s  {name:<66} {check.change}\n")
    if not result.word.startswith("noticed"):
        sys.stdout.write("".join(f"    {line}\n" for line in result.output.splitlines()[-12:]))
    sys.stdout.flush()


def main() -> int:
    """Judge the list, or what of it was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only checks whose module or function holds one of these")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--list", action="store_true", help="name the checks")
    arguments = parser.parse_args()
    chosen = [
        check
        for check in CHECKS
        if not arguments.names or any(name in f"{check.module}:{check.function}" for name in arguments.names)
    ]
    if arguments.list:
        for check in chosen:
            sys.stdout.write(f"{check.module}:{check.function}  {check.change}  {' '.join(check.tests)}\n")
        return 0
    start = time.monotonic()
    results = judge_all(chosen, max(1, arguments.workers))
    noticed = sum(result.word.startswith("noticed") for result in results)
    sys.stdout.write(f"{noticed} of {len(chosen)} noticed, {time.monotonic() - start:.0f} s\n")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())

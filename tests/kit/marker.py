"""The text that prompts of tests hold, and the search for it in all that a run leaves behind (attack A18).

Every process of a test run is a pytest process or a child of one, and writes below one folder, the run's own. What is
searched, and when:

- each file below that folder: before this process removes or replaces it, and at the end of the run what is left;
- each log record of this process, and what is left of stdout and stderr, after each test;
- each answer over HTTP that is an error (`httpx`, and so the SDKs that stand on it);
- what a test hands over by `search`: events of nodes, their status, their metrics.

A find fails the test in which it was made; what only the end of the run shows fails the run.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

#: One word, so that the words of a prompt stay as many as a test counts.
MARKER: Final = "obsidian-marmalade-7351"
_NEEDLE: Final = MARKER.encode()
#: The run's own folder, handed down to workers and their children as TMPDIR is.
ROOT_VARIABLE: Final = "MARKER_SEARCH_ROOT"
_BLOCK: Final = 1 << 22
#: Loggers of what tests ask with; what they log at DEBUG is what a test sends, and no node runs them.
_OF_TESTS: Final = ("httpx", "httpcore", "openai", "hypothesis", "faker", "urllib3")

_finds: list[str] = []
_allowed: set[Path] = set()


def search(where: str, content: bytes | str) -> None:
    """Note a find if the marker is in what some part of a node has said or written.

    Args:
        where: What it is, for the message; never its content.
        content: All of it.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    if _NEEDLE in data:
        _finds.append(where)


def allow(path: Path) -> None:
    """A file or folder that a test itself writes prompts to, and no node."""
    _allowed.add(path.absolute())


def take_finds() -> list[str]:
    """What was found since the last call."""
    found, _finds[:] = list(_finds), []
    return found


# --- files -----------------------------------------------------------------------------------------------------------


def search_file(path: Path) -> None:
    """Search one file, block by block; no link is followed, and no pipe is opened."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or any(path.is_relative_to(entry) for entry in _allowed):
            return
        with path.open("rb", buffering=0) as file:
            kept = b""
            while block := file.read(_BLOCK):
                if _NEEDLE in kept + block:
                    _finds.append(f"the file {path}")
                    return
                kept = block[-len(_NEEDLE) :]
    except OSError:
        return  # gone meanwhile, or another user's


def search_folder(folder: Path) -> None:
    """Search every file below a folder."""
    for parent, _, names in os.walk(folder):
        for name in names:
            search_file(Path(parent, name))


def _root() -> str | None:
    return os.environ.get(ROOT_VARIABLE)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Search what this process is about to remove or replace; told by the interpreter itself."""
    if event not in ("shutil.rmtree", "os.remove", "os.rename"):
        return
    target = arguments[1] if event == "os.rename" else arguments[0]
    root = _root()
    if root is None or not isinstance(target, str | os.PathLike | bytes):
        return
    path = Path(os.fsdecode(target))
    if not path.is_absolute() or not path.is_relative_to(root):
        return  # relative to a descriptor: its folder was searched when the removal began
    if event == "shutil.rmtree":
        search_folder(path)
    else:
        search_file(path)


# --- logs and answers ------------------------------------------------------------------------------------------------


class _Listener(logging.Handler):
    """Searches each record, arguments and traceback included."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] not in _OF_TESTS:
            search(f"a record of the logger {record.name}", self.format(record))


def _search_answer(response: httpx.Response) -> None:
    if response.status_code >= 400 and not response.is_closed:
        response.read()
    if response.status_code >= 400:
        search(f"an answer {response.status_code} of {response.request.url.path}", response.content)


def _listen() -> None:
    listener = _Listener(level=logging.DEBUG)
    for name in ("sealmesh", None):  # what a node sets for the root logger does not reach the first
        logging.getLogger(name).addHandler(listener)
    send = httpx.Client.send

    def searching(self: httpx.Client, request: httpx.Request, **named: Any) -> httpx.Response:
        response = send(self, request, **named)
        _search_answer(response)
        return response

    httpx.Client.send = searching  # type: ignore[method-assign]


# --- the plugin ------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder of its own, before anybody asks for one."""
    if _root() is None:
        root = tempfile.mkdtemp(prefix="r-")
        Path(root).chmod(0o755)  # victims of the doctor are another user's where root runs the tests
        os.environ[ROOT_VARIABLE] = os.environ["TMPDIR"] = root
        config.stash[_OWNER] = root
    tempfile.tempdir = _root()
    sys.addaudithook(_watch)
    _listen()


_OWNER: Final = pytest.StashKey[str]()


def pytest_runtest_setup() -> None:
    """Let every record of ours be made; a test that starts a node's own logging has set the level anew."""
    logging.getLogger("sealmesh").setLevel(logging.DEBUG)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which something was found."""
    report = yield
    if report.when == "teardown":
        for title, text in report.sections:
            search(title, text)
        if found := take_finds():
            report.outcome = "failed"
            report.longrepr = f"A18: the text of a prompt is in {'; '.join(found)}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what the whole run has left."""
    root = session.config.stash.get(_OWNER, None)
    if root is None:
        return
    search_folder(Path(root))
    for core in session.config.rootpath.glob("core*"):
        search_file(core)
    if found := take_finds():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[_LEFT] = found


_LEFT: Final = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what the end of the run has shown."""
    for where in config.stash.get(_LEFT, []):
        terminalreporter.write_line(f"A18: the text of a prompt is in {where}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the run's folder, unless there is something in it to look at."""
    root = config.stash.get(_OWNER, None)
    if root is None:
        return
    del os.environ[ROOT_VARIABLE], os.environ["TMPDIR"]
    tempfile.tempdir = None
    if not config.stash.get(_LEFT, []):
        shutil.rmtree(root, ignore_errors=True)

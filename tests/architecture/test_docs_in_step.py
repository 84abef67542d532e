"""What the pages name exists: links, headings, files, commands, flags, variables, targets of make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from sealmesh.cli.app import app
from sealmesh.config import OPTIONS

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def command() -> click.Group:
    found = typer.main.get_command(app)
    assert hasattr(found, "commands")
    return found  # type: ignore[return-value]


def flags_of(one: click.Command) -> set[str]:
    """The flags that `--help` shows."""
    if isinstance(one, click.Group) or hasattr(one, "commands"):
        return {"--help", "-h"}.union(*(flags_of(inner) for inner in one.commands.values()))  # type: ignore[attr-defined]
    shown = (parameter for parameter in one.params if not getattr(parameter, "hidden", False))
    return {name for parameter in shown for name in parameter.opts if name.startswith("-")} | {"--help", "-h"}


def fences(text: str) -> Iterator[str]:
    """The lines of code blocks."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


def spans(text: str) -> Iterator[str]:
    """The code within lines, outside of blocks."""
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def headings(page: Path) -> set[str]:
    """The anchors of a page, as they are made of its headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in headings(found), f"{target}: there is no such heading"


def command_lines(text: str) -> Iterator[str]:
    starts = re.compile(r"(?:^|[\s(;|])(?:\.venv/bin/)?(sealmesh(?: [^|;)#]*)?)")
    for line in fences(text):
        if not line.lstrip().startswith(("Usage:", "from ", "import ")) and (match := starts.search(line)):
            yield match[1]
    for code in spans(text):
        if code.startswith("sealmesh ") or code.startswith(".venv/bin/sealmesh "):
            yield code.removeprefix(".venv/bin/")


@pages
def test_every_command_line_is_one_that_works(page: Path) -> None:
    commands = command().commands
    for line in command_lines(page.read_text()):
        words = line.split()[1:]
        if not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue  # the name of the program alone, a flag of its own, or a figure
        assert words[0] in commands, f"{line}: there is no such command"
        named = {word.partition("=")[0].rstrip("[],") for word in words if re.match(r"--?[a-z]", word)}
        assert named <= flags_of(commands[words[0]]), f"{line}: {named - flags_of(commands[words[0]])}"


@pages
def test_every_flag_in_prose_is_one_of_ours(page: Path) -> None:
    known = set().union(*(flags_of(one) for one in command().commands.values())) | {"--version"}
    for code in spans(page.read_text()):
        if match := re.match(r"--[a-z][a-z-]+", code):
            assert match[0] in known, code


@pages
def test_every_variable_is_read_somewhere(page: Path) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    known = {option.environment for option in OPTIONS.values()} | set(re.findall(r'"(SEALMESH_[A-Z_]+)"', sources))
    named = set(re.findall(r"SEALMESH_[A-Z][A-Z_]*", page.read_text()))
    assert named <= known, named - known


@pages
def test_every_file_that_is_named_exists(page: Path) -> None:
    pattern = r"(?<![\w./-])((?:src|tests|docs|scripts|testvectors|benchmarks|fuzz|examples)/[\w.*/-]+)"
    for name in re.findall(pattern, page.read_text()):
        assert list(ROOT.glob(name.rstrip("./"))), name


@pages
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = [match[1] for code in spans(text) if (match := re.fullmatch(r"make ([a-z]+)", code))]
    named += [match[1] for line in fences(text) if (match := re.match(r"make ([a-z]+)\b", line))]
    assert set(named) <= targets, set(named) - targets


def test_every_page_that_the_code_names_exists() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def test_every_page_can_be_reached() -> None:
    reached, waiting = set(), [ROOT / "README.md", ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text())
        waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]
    assert [page for page in PAGES if page not in reached] == []

"""Writes docs/reference/cli.md from the commands' own `--help`; a test compares the two."""

from __future__ import annotations

import os
from pathlib import Path

import typer
from typer.testing import CliRunner

from sealmesh.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """\
# Commands

Generated from `--help` by `python scripts/cli_reference.py`; change the commands, not this page.

Exit codes: 0 right, 1 refused or failed, 2 usage or configuration. What was asked for goes to stdout, everything else
that is for people to stderr. `NO_COLOR=1` takes the colour away; `SEALMESH_DEBUG=1` shows tracebacks, which may hold
anything that was in memory. `--require-attested-hosts` works bare and with `=TIER`, one of none, self-asserted, pinned,
hardware-rooted and confidential.

Every flag of `serve` and `client` is also a variable and a key of the configuration file: [config.md](config.md).
"""


def _names(commands: typer.Typer) -> list[str]:
    return [
        one.name or one.callback.__name__ for one in commands.registered_commands if one.callback and not one.hidden
    ]


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "80"
    runner = CliRunner()
    names = [[name] for name in _names(app)]
    for group in app.registered_groups:
        inner = group.typer_instance or typer.Typer()
        title = str(group.name or inner.info.name)
        names += [[title], *([title, name] for name in _names(inner))]
    parts = [HEAD]
    for arguments in [[], *names]:
        title = " ".join(["sealmesh", *arguments])
        shown = runner.invoke(app, [*arguments, "--help"], prog_name="sealmesh").stdout.rstrip()
        parts.append(f"## `{title}`\n\n```\n{shown}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())

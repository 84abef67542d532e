"""The commands of `sealmesh service`. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

service = typer.Typer(
    name="service",
    help="Let the machine start the node by itself: systemd on Linux, launchd on macOS.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

User = Annotated[bool, typer.Option("--user", help="For this user when logged in, rather than for the machine.")]


@service.command()
def install(
    client: Annotated[bool, typer.Option("--client", help="Ask only; serve nothing.")] = False,
    user: User = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The node's settings in TOML.")
    ] = None,
    join_file: Annotated[
        Path | None, typer.Option("--join-file", metavar="FILE", help="The ticket to join with, mode 0600.")
    ] = None,
    run_as: Annotated[
        str, typer.Option("--run-as", metavar="USER", help="Who runs it, for a machine's service on macOS.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written, and do nothing.")] = False,
) -> None:
    """Write the unit, and start the node now and at each start of the machine."""
    from sealmesh.cli.service import Wish
    from sealmesh.cli.service import install as put_in_place

    wish = Wish(command="client" if client else "serve", user=user, config=config, ticket=join_file, run_as=run_as)
    raise typer.Exit(put_in_place(wish, dry_run=dry_run))


@service.command()
def remove(user: User = False) -> None:
    """Stop the node and take the unit away; its home stays."""
    from sealmesh.cli.service import remove as take_away

    raise typer.Exit(take_away(user=user))


@service.command()
def status(user: User = False) -> None:
    """Say whether the service is installed and runs. Exit codes: 0 it runs, 1 it does not."""
    from sealmesh.cli.service import status as say_status

    raise typer.Exit(say_status(user=user))

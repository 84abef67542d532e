"""The commands of `sealmesh mesh`. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealmesh.cli import options as o

mesh = typer.Typer(
    name="mesh",
    help="See who is in the mesh, put somebody out, copy the issuer key.\n\n"
    "`show` and `revoke` work on a running node, which takes a change at once, and on its home without one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@mesh.command()
def show(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the mesh, and its list of revocations with its age."""
    from sealmesh.cli.members import show_mesh

    raise typer.Exit(show_mesh(home, as_json=json))


@mesh.command()
def members(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the members that the running node knows, and the ticket of each."""
    from sealmesh.cli.members import list_members

    raise typer.Exit(list_members(home, as_json=json))


@mesh.command()
def revoke(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ENDPOINT|TICKET|SERIAL",
            help="Who: an endpoint id or its beginning, a ticket or its serial; - reads it from stdin.",
            show_default=False,
        ),
    ],
    keep_ticket: Annotated[
        bool, typer.Option("--keep-ticket", help="Revoke the endpoint only, not the ticket that it joined with.")
    ] = False,
    home: o.HomeFolder = None,
    json: o.Json = False,
) -> None:
    """Put an endpoint, or all that joined with a ticket, out of the mesh.

    Every member cuts them off as soon as it learns of it. With an endpoint goes the ticket that it joined with, and so
    all others that joined with that ticket. Only where the issuer key is.
    """
    from sealmesh.cli.members import revoke as put_out

    raise typer.Exit(put_out(target, home, keep_ticket=keep_ticket, as_json=json))


_File = Annotated[Path, typer.Argument(metavar="FILE", help="Of the exported key.", show_default=False)]
_PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase; asked for without it."),
]


@mesh.command("export-key")
def export_key(
    file: _File, passphrase_file: _PassphraseFile = None, home: o.HomeFolder = None, json: o.Json = False
) -> None:
    """Write the issuer key to a new file, under a passphrase.

    For a safe, or for a second home that may invite and revoke. A key that is sealed to this machine's TPM comes out
    too, while the node runs.
    """
    from sealmesh.cli.issuer_keys import export_key as write

    raise typer.Exit(write(file, home, passphrase_file=passphrase_file, as_json=json))


@mesh.command("import-key")
def import_key(
    file: _File, passphrase_file: _PassphraseFile = None, home: o.HomeFolder = None, json: o.Json = False
) -> None:
    """Put an exported issuer key into a home that is in its mesh and runs no node."""
    from sealmesh.cli.issuer_keys import import_key as take

    raise typer.Exit(take(file, home, passphrase_file=passphrase_file, as_json=json))

"""The commands of `sealmesh bless`. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealmesh.cli import options as o
from sealmesh.limits import BLESSED_LIFETIME_S

_DAYS = BLESSED_LIFETIME_S // 86_400

bless = typer.Typer(
    name="bless",
    help="Say which builds are trusted: a list that several people sign.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

List = Annotated[Path, typer.Argument(metavar="LIST", help="The list's file.", show_default=False)]
Days = Annotated[float, typer.Option("--days", metavar="N", help="How long it lasts from now.")]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from a private file.")
]
Policy = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Whose [measurement] counts; the home's by default.")
]


@bless.command()
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the secret key goes.", show_default=False)],
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Keep it unencrypted, mode 0600.")] = False,
) -> None:
    """Make a key for one holder, and print its public half."""
    from sealmesh.cli.bless import make_key

    raise typer.Exit(make_key(file, passphrase_file=passphrase_file, no_passphrase=no_passphrase))


@bless.command()
def add(
    file: List,
    measured: Annotated[
        list[Path],
        typer.Argument(metavar="MEASURED...", help="What `sealmesh measure --json` printed.", show_default=False),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of a list that begins here.")] = "",
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What people call the build.")] = "",
    cdhash: Annotated[
        list[str] | None, typer.Option("--cdhash", metavar="HEX", help="Code directory hash of a macOS build.")
    ] = None,
    launch_digest: Annotated[
        list[str] | None,
        typer.Option("--launch-digest", metavar="HEX", help="SEV-SNP launch digest of an image that holds it."),
    ] = None,
    days: Days = _DAYS,
) -> None:
    """Bless builds: begin a list, or make its next version."""
    from sealmesh.cli.bless import Addition, add_builds

    addition = Addition(measured=measured, label=label, cdhashes=cdhash or (), launch_digests=launch_digest or ())
    raise typer.Exit(add_builds(file, addition, name=name, days=days))


@bless.command()
def remove(
    file: List,
    labels: Annotated[
        list[str], typer.Argument(metavar="BUILD...", help="As `sealmesh bless show` names them.", show_default=False)
    ],
    days: Days = _DAYS,
) -> None:
    """Take builds off: the next version does without them."""
    from sealmesh.cli.bless import remove as take_off

    raise typer.Exit(take_off(file, labels, days=days))


@bless.command()
def renew(file: List, days: Days = _DAYS) -> None:
    """Make the next version with the same builds, before the list ends."""
    from sealmesh.cli.bless import renew as go_on

    raise typer.Exit(go_on(file, days=days))


@bless.command()
def sign(
    file: List,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The holder's secret key.", show_default=False)],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Add one holder's signature; what is signed is shown first."""
    from sealmesh.cli.bless import sign as put_signature

    raise typer.Exit(put_signature(file, key, passphrase_file=passphrase_file))


@bless.command()
def show(file: List, json: o.Json = False) -> None:
    """Print what a list says, without asking who signed it."""
    from sealmesh.cli.bless import show as print_list

    raise typer.Exit(print_list(file, as_json=json))


@bless.command()
def verify(file: List, policy: Policy = None, home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Judge a list as a node would. Exit codes: 0 it holds, 1 it is refused."""
    from sealmesh.cli.bless import verify as judge

    raise typer.Exit(judge(file, policy, home, as_json=json))


@bless.command()
def publish(file: List, policy: Policy = None, home: o.HomeFolder = None) -> None:
    """Hand a list to this machine's node, from which it spreads."""
    from sealmesh.cli.bless import publish as hand_over

    raise typer.Exit(hand_over(file, policy, home))

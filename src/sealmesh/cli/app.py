"""The commands and their options. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sealmesh import __version__
from sealmesh.cli import options as o
from sealmesh.cli.bless_commands import bless
from sealmesh.cli.mesh_commands import mesh
from sealmesh.cli.service_commands import service
from sealmesh.config.settings import DEFAULT_MODEL, Mode

app = typer.Typer(
    name="sealmesh",
    help="Private inference on pooled machines: prompts are sealed here and opened only by the model's own process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(bless)
app.add_typer(mesh)
app.add_typer(service)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass  # what is before the commands; its words are the app's own


def _run_node(mode: Mode, flags: dict[str, object]) -> None:
    from sealmesh.cli.nodes import run_node

    raise typer.Exit(run_node(mode, flags))


@app.command()
def serve(
    model: o.Model = None,
    backend: o.Backend = None,
    backend_api: o.BackendApi = None,
    backend_key_file: o.BackendKeyFile = None,
    backend_model: o.BackendModel = None,
    backend_cache_salt: o.BackendCacheSalt = False,
    parallel: o.Parallel = None,
    context_size: o.ContextSize = None,
    threads: o.Threads = None,
    embeddings: o.Embeddings = False,
    plain: o.Plain = False,
    join: o.Join = None,
    join_file: o.JoinFile = None,
    mesh_name: o.MeshName = None,
    name: o.Name = None,
    require_attested_hosts: o.RequireAttestedHosts = None,
    require_blessed: o.RequireBlessed = False,
    allow_plain_hosts: o.AllowPlainHosts = False,
    policy: o.Policy = None,
    save_evidence: o.SaveEvidence = None,
    require_hardening: o.RequireHardening = None,
    no_hardening: o.NoHardening = False,
    attester: o.Attester = None,
    tpm: o.Tpm = None,
    port: o.Port = None,
    console_port: o.ConsolePort = None,
    headless: o.Headless = False,
    listen: o.Listen = None,
    api_key_file: o.ApiKeyFile = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    insecure_http: o.InsecureHttp = False,
    bind: o.Bind = None,
    relay_url: o.RelayUrl = None,
    public_relays: o.PublicRelays = False,
    home: o.HomeFolder = None,
    config: o.ConfigFile = None,
    log_format: o.LogFormatOption = None,
) -> None:
    """Serve a model to a mesh; without a ticket, make one.

    This machine gets the API and the console too.
    """
    _run_node(Mode.SERVE, dict(locals()))


@app.command()
def client(
    join: o.Join = None,
    join_file: o.JoinFile = None,
    name: o.Name = None,
    require_attested_hosts: o.RequireAttestedHosts = None,
    require_blessed: o.RequireBlessed = False,
    allow_plain_hosts: o.AllowPlainHosts = False,
    policy: o.Policy = None,
    save_evidence: o.SaveEvidence = None,
    require_hardening: o.RequireHardening = None,
    no_hardening: o.NoHardening = False,
    tpm: o.Tpm = None,
    port: o.Port = None,
    console_port: o.ConsolePort = None,
    headless: o.Headless = False,
    listen: o.Listen = None,
    api_key_file: o.ApiKeyFile = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    insecure_http: o.InsecureHttp = False,
    bind: o.Bind = None,
    relay_url: o.RelayUrl = None,
    public_relays: o.PublicRelays = False,
    home: o.HomeFolder = None,
    config: o.ConfigFile = None,
    log_format: o.LogFormatOption = None,
) -> None:
    """Ask the mesh by an API on this machine; serve nothing.

    The API is OpenAI-compatible: point any client at it.
    """
    _run_node(Mode.CLIENT, dict(locals()))


@app.command()
def ticket(
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="client|host|relay", help="What it admits as; all by default.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="30m, 12h or 7d; 30d by default.")
    ] = None,
    qr: Annotated[bool, typer.Option("--qr", help="Draw it as a QR code too; on a terminal only.")] = False,
    home: o.HomeFolder = None,
    json: o.Json = False,
) -> None:
    """Print a new ticket to this node's mesh: a secret.

    Whoever holds a ticket can join until it expires. Only the node that made the mesh makes them.
    """
    from sealmesh.cli.invite import make_invitation

    raise typer.Exit(make_invitation(home, roles=role or (), expires=expires, as_json=json, qr=qr))


@app.command()
def status(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the running node: mesh, models, peers, exchanges."""
    from sealmesh.cli.look import show_status

    raise typer.Exit(show_status(home, as_json=json))


@app.command()
def hosts(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the hosts, what each has proven, and why one is not used."""
    from sealmesh.cli.look import show_hosts

    raise typer.Exit(show_hosts(home, as_json=json))


@app.command()
def models(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the models that the mesh serves."""
    from sealmesh.cli.look import show_models

    raise typer.Exit(show_models(home, as_json=json))


@app.command()
def chat(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="What to talk with.", show_default=False)] = None,
    home: o.HomeFolder = None,
) -> None:
    """Talk with a model through the running node.

    A pipe on stdin is one prompt, and only its answer is printed.
    """
    from sealmesh.cli.chat import run_chat

    raise typer.Exit(run_chat(model, home))


class _VerifyCommand(TyperCommand):
    """`verify`, whose help lists the roles of each kind; they are gathered only when that help is asked for."""

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        from sealmesh.cli.verify import kind_lines

        with formatter.section("Kinds of raw evidence, and what --with gives them"):
            formatter.write_dl(kind_lines() or [("(none)", "")])


@app.command(cls=_VerifyCommand)
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Saved proofs, or raw evidence of one kind.", show_default=False),
    ],
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="They are a vendor's raw evidence, of this kind.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--with", metavar="ROLE=PATH", help="What came beside raw evidence; see below.")
    ] = None,
    nonce: Annotated[str | None, typer.Option("--nonce", metavar="HEX", help="What it must be fresh for.")] = None,
    report_data: Annotated[str | None, typer.Option("--report-data", metavar="HEX", help="What it must bind.")] = None,
    unbound: Annotated[
        bool, typer.Option("--unbound", help="Accept that nothing ties raw evidence to anybody or any time.")
    ] = False,
    app_id: Annotated[
        str | None, typer.Option("--app-id", metavar="ID", help="For app-attest: TEAMID.bundle.id.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="When to judge: 2026-11-22T10:00:00Z. By default a proof's own time, else now."
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="What to demand; hardware-rooted without it.")
    ] = None,
    blessed: Annotated[
        Path | None, typer.Option("--blessed", metavar="LIST", help="The list of builds that the policy names.")
    ] = None,
    json: o.Json = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say in words what it means and why.")] = False,
) -> None:
    """Judge evidence that was saved, without a network.

    Exit codes: 0 it meets the policy, 1 it is refused, 2 it cannot be read.
    """
    from sealmesh.cli.verify import Request
    from sealmesh.cli.verify import verify as judge

    request = Request(
        files=files,
        kind=kind,
        given=given or (),
        nonce=nonce,
        report_data=report_data,
        unbound=unbound,
        app_id=app_id,
        at=at,
        policy=policy,
        blessed=blessed,
    )
    raise typer.Exit(judge(request, as_json=json, explain=explain))


@app.command()
def measure(
    manifest: Annotated[
        bool, typer.Option("--manifest", help="Print the text whose SHA-256 it is: a line for each file.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Say which code is installed here, as one digest.

    A program says it of itself: it is no proof of what runs.
    """
    from sealmesh.cli.measure import show_measurement

    raise typer.Exit(show_measurement(as_json=json, manifest=manifest))


@app.command()
def demo(
    model: Annotated[str, typer.Option("--model", metavar="REF", help="What the demo's host serves.")] = DEFAULT_MODEL,
) -> None:
    """Run a sealed chat between two nodes on this machine.

    What would be seen on the way is recorded, searched and shown.
    """
    from sealmesh.cli.demo import print_demo

    raise typer.Exit(print_demo(model))


@app.command()
def bench(
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="What is asked; the only usable one by default.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, max=1000, help="Rounds at one stream.")] = 10,
    streams: Annotated[
        int, typer.Option("--streams", metavar="N", min=1, max=256, help="Streams at once in a second measurement.")
    ] = 4,
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", min=1, max=65_536, help="Length of an answer at most.")
    ] = 64,
    home: o.HomeFolder = None,
    json: o.Json = False,
) -> None:
    """Measure the running node as an app feels it: first token, gaps, rate.

    It says too how the answers were sealed and what their hosts had proven.
    """
    from sealmesh.cli.bench import run_bench

    raise typer.Exit(run_bench(model, home, runs=runs, streams=streams, tokens=tokens, as_json=json))


@app.command()
def simulate(
    scenario: Annotated[
        o.Scenario, typer.Option("--scenario", help="What happens to the mesh.", case_sensitive=False)
    ] = o.Scenario.SPREAD,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Nodes at the start, 8 to 10000.")] = 200,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="The same seed gives the same figures.")] = 1,
    json: o.Json = False,
) -> None:
    """Play a whole mesh on a virtual clock: how news spreads, and what it costs.

    The rules are those of real nodes; no network and no running node is needed.
    """
    from sealmesh.cli.simulate import run_simulate

    raise typer.Exit(run_simulate(scenario.value, nodes=nodes, seed=seed, as_json=json))


trust = typer.Typer(
    help="Hold hosts to their hardware keys: a host that shows another key is refused.\n\n"
    "Works on a running node, which takes the change at once, and on its home without one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(trust, name="trust")

_Host = Annotated[
    str, typer.Argument(metavar="HOST", help="Its endpoint id, or the beginning of it.", show_default=False)
]


@trust.command("add")
def trust_add(
    host: _Host,
    fingerprint: Annotated[
        str | None,
        typer.Argument(
            metavar="[FINGERPRINT]",
            help="SHA-256 of its hardware key; without it, of the one that it shows now.",
            show_default=False,
        ),
    ] = None,
    home: o.HomeFolder = None,
    json: o.Json = False,
) -> None:
    """Pin a host's hardware key by hand, in place of an earlier one."""
    from sealmesh.cli.trust import add_pin

    raise typer.Exit(add_pin(host, fingerprint, home, as_json=json))


@trust.command("list")
def trust_list(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Show the pins, and whether a person or first use made them."""
    from sealmesh.cli.trust import list_pins

    raise typer.Exit(list_pins(home, as_json=json))


@trust.command("remove")
def trust_remove(host: _Host, home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Let a host show any hardware key again."""
    from sealmesh.cli.trust import remove_pin

    raise typer.Exit(remove_pin(host, home, as_json=json))


@app.command()
def doctor(home: o.HomeFolder = None, json: o.Json = False) -> None:
    """Look at the set-up and the protection, and attack a process of its own.

    Exit codes: 0 what should hold holds, 1 an attack worked that should not, 2 usage.
    """
    from sealmesh.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(home, as_json=json))


@app.command(hidden=True)
def victim(
    folder: Annotated[Path, typer.Argument()], no_hardening: Annotated[bool, typer.Option("--no-hardening")] = False
) -> None:
    """Hold a marker and wait: what `sealmesh doctor` attacks."""
    from sealmesh.doctor.victim import run_victim

    raise typer.Exit(run_victim(folder, unhardened=no_hardening))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)

"""The options that several commands share, each written once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

_MODEL = "What is served"
_JOIN = "The mesh"
_POLICY = "What hosts must prove"
_PROTECTION = "Protection of this process"
_CHIPS = "This machine's chips"
_LOCAL = "API and console on this machine"
_NETWORK = "Network"
_GENERAL = "General"


def _option(name: str, metavar: str | None, help_text: str, panel: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, metavar=metavar, help=help_text, rich_help_panel=panel)
    return option


def _not_yet(name: str) -> typer.models.OptionInfo:
    """An option that this version does not have: hidden, and refused in words by the configuration."""
    option: typer.models.OptionInfo = typer.Option(name, hidden=True)
    return option


def _switch(name: str, help_text: str, panel: str) -> typer.models.OptionInfo:
    return _option(name, None, help_text, panel)


# Every value comes in as text: the configuration's own parsers read it, and say what is wrong the same way everywhere.
Model = Annotated[
    str | None,
    _option("--model", "REF", "A name, a .gguf file, or hf:OWNER/REPO/FILE; smollm2-135m by default.", _MODEL),
]
Backend = Annotated[
    str | None,
    _option("--backend", "URL", "An OpenAI-compatible engine, with or without /v1; or echo: for tests.", _MODEL),
]
BackendApi = Annotated[
    str | None,
    _option("--backend-api", "chat|responses", "Whether the engine answers /v1/responses itself.", _MODEL),
]
BackendKeyFile = Annotated[
    str | None, _option("--backend-key-file", "FILE", "The engine's API key (or SEALMESH_BACKEND_KEY).", _MODEL)
]
BackendModel = Annotated[
    list[str] | None, _option("--backend-model", "NAME", "Serve only this one of the engine's models.", _MODEL)
]
BackendCacheSalt = Annotated[
    bool, _switch("--backend-cache-salt", "Send the engine a cache_salt per conversation (vLLM).", _MODEL)
]
Parallel = Annotated[str | None, _option("--parallel", "N", "Requests at once.", _MODEL)]
ContextSize = Annotated[str | None, _option("--context-size", "TOKENS", "What one request gets.", _MODEL)]
Threads = Annotated[str | None, _option("--threads", "N", "Threads of a model in this process.", _MODEL)]
Embeddings = Annotated[bool, _switch("--embeddings", "The model in this process makes embeddings.", _MODEL)]
Plain = Annotated[bool, _switch("--plain", "Serve without a key: prompts come in unsealed. For tests.", _MODEL)]

Join = Annotated[
    str | None, _option("--join", "TICKET", "Join with this ticket; --join-file is safer (or SEALMESH_TICKET).", _JOIN)
]
JoinFile = Annotated[str | None, _option("--join-file", "FILE", "Join with the ticket in this file.", _JOIN)]
MeshName = Annotated[str | None, _option("--mesh-name", "NAME", "Name of a mesh that this node makes.", _JOIN)]
Name = Annotated[str | None, _option("--name", "NAME", "What others see as this node's name.", _JOIN)]

RequireAttestedHosts = Annotated[
    str | None,
    _option(
        "--require-attested-hosts",
        "[=TIER]",
        "Send prompts only to hosts of this tier or better; bare: hardware-rooted.",
        _POLICY,
    ),
]
RequireBlessed = Annotated[
    bool, _switch("--require-blessed", "Send prompts only to hosts that run a build of the policy's list.", _POLICY)
]
AllowPlainHosts = Annotated[
    bool, _switch("--allow-plain-hosts", "Let prompts go UNSEALED to hosts without a key.", _POLICY)
]
Policy = Annotated[str | None, _option("--policy", "FILE", "The policy; policy.toml in the home by default.", _POLICY)]
SaveEvidence = Annotated[
    str | None, _option("--save-evidence", "DIR", "Save what hosts prove, for `sealmesh verify`.", _POLICY)
]

RequireHardening = Annotated[
    str | None,
    _option("--require-hardening", "LIST", "Do not start without these controls, as seccomp,landlock.", _PROTECTION),
]
NoHardening = Annotated[
    bool, _switch("--no-hardening", "For developers: put no control in force; hosts say so of themselves.", _PROTECTION)
]
Attester = Annotated[
    str | None, _option("--attester", "KIND", "auto, software, tpm, sev-snp, tdx, app-attest, secure-enclave.", _CHIPS)
]
Tpm = Annotated[
    str | None,
    _option("--tpm", "auto|none|PATH", "The TPM for evidence and keys at rest; auto by default.", _CHIPS),
]

Port = Annotated[str | None, _option("--port", "PORT", "The API; 9337 by default, 0 picks a free one.", _LOCAL)]
ConsolePort = Annotated[
    str | None, _option("--console-port", "PORT", "The console; 3131 by default, 0 picks a free one.", _LOCAL)
]
Headless = Annotated[bool, _switch("--headless", "No console.", _LOCAL)]
Listen = Annotated[str | None, _option("--listen", "ADDRESS", "Where the API listens; 127.0.0.1 by default.", _LOCAL)]
ApiKeyFile = Annotated[
    str | None, _option("--api-key-file", "FILE", "Keys that apps must show, one a line (or SEALMESH_API_KEY).", _LOCAL)
]
TlsCert = Annotated[str | None, _option("--tls-cert", "FILE", "TLS for the API: certificate chain, PEM.", _LOCAL)]
TlsKey = Annotated[str | None, _option("--tls-key", "FILE", "TLS for the API: private key, PEM.", _LOCAL)]
InsecureHttp = Annotated[
    bool, _switch("--insecure-http", "Accept plain HTTP on an address that is not loopback.", _LOCAL)
]

Bind = Annotated[str | None, _option("--bind", "ADDRESS:PORT", "The QUIC socket.", _NETWORK)]
RelayUrl = Annotated[str | None, _option("--relay-url", "URL", "A transport relay of your choice.", _NETWORK)]
PublicRelays = Annotated[bool, _not_yet("--public-relays")]

HomeFolder = Annotated[Path | None, _option("--home", "DIR", "Where keys and state live (or SEALMESH_HOME).", _GENERAL)]
ConfigFile = Annotated[
    str | None, _option("--config", "FILE", "Settings in TOML; config.toml in the home by default.", _GENERAL)
]
LogFormatOption = Annotated[
    str | None, _option("--log-format", "pretty|json", "Lines for people on stderr, or JSON lines on stdout.", _GENERAL)
]


class Scenario(enum.Enum):
    """What `sealmesh simulate` plays; named here so that `--help` loads no simulator."""

    SPREAD = "spread"
    JOIN = "join"
    CHURN = "churn"
    PARTITION = "partition"
    LIARS = "liars"


Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]

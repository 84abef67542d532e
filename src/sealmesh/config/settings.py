"""What an operator can decide about one node. Secrets (the ticket, API keys) redact themselves."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sealmesh.limits import RESPONSE_BODY_TIMEOUT_S, RESPONSE_HEAD_TIMEOUT_S

DEFAULT_MODEL: Final = "smollm2-135m"
DEFAULT_PORT: Final = 9337
DEFAULT_CONSOLE_PORT: Final = 3131
LOOPBACK: Final = "127.0.0.1"
TICKET_PREFIX: Final = "sealmesh1"
#: The tiers of ATTESTATION.md, lowest first, as an operator writes them.
TIERS: Final = ("none", "self-asserted", "pinned", "hardware-rooted", "confidential")
#: What `--require-attested-hosts` means without a value (ATTESTATION.md, Policy).
REQUIRED_TIER: Final = "hardware-rooted"


class Mode(enum.Enum):
    """What the process is for."""

    SERVE = "serve"
    CLIENT = "client"


class LogFormat(enum.Enum):
    """How a running node speaks: to people on stderr, or to programs on stdout."""

    PRETTY = "pretty"
    JSON = "json"


class AttesterChoice(enum.Enum):
    """With what a host proves itself."""

    AUTO = "auto"
    SOFTWARE = "software"
    TPM = "tpm"
    SEV_SNP = "sev-snp"
    TDX = "tdx"
    SECURE_ENCLAVE = "secure-enclave"
    APP_ATTEST = "app-attest"


class TpmUse(enum.Enum):
    """Whether this machine's TPM is used, where no path names one."""

    AUTO = "auto"
    NONE = "none"


class BackendApi(enum.Enum):
    """How much of the OpenAI API the engine at `--backend URL` has itself."""

    CHAT = "chat"
    RESPONSES = "responses"


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that must not be shown. `repr` and `str` redact it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __str__(self) -> str:
        return "Secret(…)"

    __repr__ = __str__


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can decide about one node. `docs/reference/config.md` has the same list in words.

    Attributes:
        mode: Whether this node serves models or only asks.
        home: Where keys and state live.
        models: Model references to serve in process, today one; empty when `backend` is set or in client mode.
        backend: `http(s)://…` or `unix:…` of an OpenAI-compatible engine, or `echo:`; None for a model in process.
        backend_api: Whether that engine answers `/v1/responses` itself.
        backend_key: Bearer key for the engine, if it wants one.
        backend_models: Serve only these of the engine's models; empty serves all.
        backend_cache_salt: Send the engine a `cache_salt` per conversation (vLLM honours it).
        parallel: Requests at once; None leaves it to the backend.
        context_size: Tokens that one request gets; None leaves it to the backend.
        threads: Threads of a model in this process; None leaves it to the backend.
        embeddings: Whether a model in this process makes embeddings; None goes by its file.
        ticket: The invitation to join with; None starts or continues the home's own mesh.
        mesh_name: Display name for a mesh that this node makes.
        name: What peers see as this node's name; "" tells them nothing.
        require_attested_hosts: Label of the least tier demanded by flag; None leaves it to the policy file.
        require_blessed: Whether hosts must run a build that the policy's list blesses, demanded by flag.
        allow_plain_hosts: Whether prompts may go unsealed to hosts without an inference key.
        plain: Serve without an inference key.
        policy: The policy file, or None for the default policy.
        save_evidence: Save the evidence of each new verdict on a host into this folder; None saves none.
        require_hardening: Names of controls without which the node does not start.
        no_hardening: Put no control in force, for developers; the posture says so.
        attester: With what a host proves itself; by itself it takes the best that this machine has.
        tpm: The TPM for evidence and for keys at rest: a device, an emulator's socket, or whether to look for one.
        listen: IP address of the API; the console is on loopback only.
        port: TCP port of the API; 0 picks a free one.
        console_port: TCP port of the console; 0 picks a free one.
        headless: No console.
        bind: `ip:port` of the QUIC socket; None leaves both to the transport.
        relay_url: A transport-level relay of the operator's choice.
        public_relays: Use iroh's public relays; refused in this version.
        api_keys: Keys that apps must show, any of them; empty demands none.
        tls_cert, tls_key: PEM files for the API, both or neither.
        insecure_http: Plain HTTP off loopback was accepted by name.
        log_format: Pretty or JSON lines.
        response_head_timeout_s: A host that pings but sends no head for so long is given up. Seconds.
        response_body_timeout_s: The same for the next piece of body. Seconds.
        warnings: What the operator should be told at start, in words.
    """

    mode: Mode
    home: Path
    models: tuple[str, ...] = ()
    backend: str | None = None
    backend_api: BackendApi = BackendApi.CHAT
    backend_key: Secret | None = None
    backend_models: tuple[str, ...] = ()
    backend_cache_salt: bool = False
    parallel: int | None = None
    context_size: int | None = None
    threads: int | None = None
    embeddings: bool | None = None
    ticket: Secret | None = None
    mesh_name: str = ""
    name: str = ""
    require_attested_hosts: str | None = None
    require_blessed: bool = False
    allow_plain_hosts: bool = False
    plain: bool = False
    policy: Path | None = None
    save_evidence: Path | None = None
    require_hardening: tuple[str, ...] = ()
    no_hardening: bool = False
    attester: AttesterChoice = AttesterChoice.AUTO
    tpm: Path | TpmUse = TpmUse.AUTO
    listen: str = LOOPBACK
    port: int = DEFAULT_PORT
    console_port: int = DEFAULT_CONSOLE_PORT
    headless: bool = False
    bind: str | None = None
    relay_url: str | None = None
    public_relays: bool = False
    api_keys: tuple[Secret, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_http: bool = False
    log_format: LogFormat = LogFormat.PRETTY
    response_head_timeout_s: float = RESPONSE_HEAD_TIMEOUT_S
    response_body_timeout_s: float = RESPONSE_BODY_TIMEOUT_S
    warnings: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether this node runs a backend."""
        return self.mode is Mode.SERVE

"""Frozen snapshots of a node for people and machines. They can hold no secret and no text of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """Which mesh the node is in. `id` is hex."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model that somebody in the mesh advertises.

    Attributes:
        name: As advertised; text of a peer, escape before showing.
        context_length: Tokens that one request gets at the best host; 0 unknown.
        hosts: How many hosts advertise it.
        usable: Whether a request for it would be sent somewhere under the policy now.
        best_tier: Highest tier among the usable hosts (`local` if this node runs it), or `none`.
        plain: Whether requests for it go unsealed, to hosts without a key.
    """

    name: str
    context_length: int
    hosts: int
    usable: bool
    best_tier: str
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """One other node, as this node sees it. Text fields come from the peer: escape before showing.

    `plain`: it serves without a key, so that nothing can be sealed to it.
    """

    endpoint_id: str
    name: str
    role: str
    version: str
    models: tuple[str, ...]
    tier: str
    code_measured: bool
    operator_blind: str
    posture: dict[str, str]
    path: str
    rtt_ms: float | None
    sealed_suites: tuple[str, ...]
    evidence_age_s: float | None
    connected: bool
    refused: tuple[str, ...]
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeStatus:
    """Counts since start, asked and served together. `failed_by_reason` is keyed by stable codes."""

    open: int = 0
    done: int = 0
    failed_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatus:
    """Whole answers by who gave them and how. `model` is a peer's text: escape before showing."""

    model: str
    host: str
    sealed: str
    tier: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatus:
    """How long first tokens took. `buckets` are upper bounds in seconds and how many were at most so long."""

    model: str
    sealed: str
    buckets: tuple[tuple[float, int], ...]
    count: int
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedStatus:
    """What this node's own apps asked for and got since start."""

    open: int = 0
    done: int = 0
    failed_by_reason: dict[str, int] = field(default_factory=dict)
    routes: tuple[RouteStatus, ...] = ()
    first_token: tuple[LatencyStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStatus:
    """What this host answered to other nodes since start."""

    open: int = 0
    done: int = 0
    refused_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatus:
    """Tokens since start, asked for by this node's apps and produced by this node's backend."""

    prompt: int = 0
    completion: int = 0
    served_prompt: int = 0
    served_completion: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """The whole of `/api/status`. `posture` is this node's own: control to `on`, `off: why` or `unavailable: why`.

    `attester` is what this node proves itself with, in words, and empty where it serves nothing. `keys_at_rest` is
    where its own keys lie: `file`, or `tpm` where a copy of the home is useless on another machine.
    """

    version: str
    endpoint_id: str
    mesh: MeshStatus
    roles: tuple[str, ...]
    models: tuple[ModelStatus, ...]
    peers: tuple[PeerStatus, ...]
    exchanges: ExchangeStatus
    tokens: TokenStatus
    policy_minimum: str
    posture: dict[str, str] = field(default_factory=dict)
    uptime_s: float
    asked: AskedStatus = field(default_factory=AskedStatus)
    served: ServedStatus | None = None
    attester: str = ""
    keys_at_rest: str = "file"

"""Frozen snapshots of a node for people and machines. They can hold no secret and no text of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """Which mesh the node is in.

    Attributes:
        id: Hex.
        name: For people; text of the issuer, escape before showing.
        revoked: How many tickets and endpoints the list of revocations names.
        revocations_issued: When that list was signed, Unix seconds, 0 for none: a peer can withhold a newer one.
    """

    id: str
    name: str
    revoked: int = 0
    revocations_issued: int = 0


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
    build: str = ""  # "blessed: …" or "unblessed: …"; the host's own word, "" where the policy names no list
    fingerprint: str = ""  # of the hardware key that it shows, hex: what `sealmesh trust` pins; "" where it shows none
    vendor: str = ""  # whose chip that is, in our words


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorStatus:
    """One thing that was checked of a host (docs/explain/attestation.md, Factors)."""

    number: int
    id: str
    status: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAttestation:
    """A candidate host of a model: its evidence, the verdict on it, and whether it is used.

    docs/reference/attestation.schema.json. Texts of the statement and the claims are the host's: escape before showing.

    Attributes:
        usable: Whether a request would be sent to it now.
        waiting: Whether waiting may help where it is not.
        refused: Why it is not used, in words.
        failed_factors: What it fails, or lacks for the policy.
        meaning: What the tier is worth, in words.
        verified_at: When it answered this node's own nonce, Unix seconds; None without a verdict. So the next ones.
        confirmed_at: When it last showed the same by its hardware's own order.
        expires: When the verdict ends.
        evidence_digest: SHA-256 of the evidence, hex: the header `x-sealmesh-evidence`.
        proof: The evidence as a file for `sealmesh verify`, base64.
    """

    endpoint_id: str
    name: str
    usable: bool
    waiting: bool
    refused: tuple[str, ...]
    failed_factors: tuple[FactorStatus, ...]
    tier: str
    meaning: str
    code_measured: bool
    operator_blind: str
    vendor: str
    fingerprint: str
    factors: tuple[FactorStatus, ...]
    claims: dict[str, str]
    backend: str
    measurement: str
    accelerators: tuple[str, ...]
    verified_at: float | None
    confirmed_at: float | None
    expires: float | None
    evidence_digest: str
    proof: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PinStatus:
    """A hardware key that a host is held to.

    Attributes:
        endpoint_id: Hex.
        fingerprint: SHA-256 of the key, hex.
        by: `hand`, or `first-use`.
        at: When, Unix seconds.
    """

    endpoint_id: str
    fingerprint: str
    by: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One member, as its own record says.

    Attributes:
        endpoint_id: Hex.
        name: Text of the member, escape before showing.
        roles: In words.
        serial: Of the ticket that it joined with, hex.
        not_after: When that ticket's grant ends, Unix seconds.
        record_age_s: Since it made the record.
        connected: Whether this node has a link to it.
        own: It is this node.
    """

    endpoint_id: str
    name: str
    roles: tuple[str, ...]
    serial: str
    not_after: int
    record_age_s: float
    connected: bool
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationStatus:
    """The list of who is out.

    Attributes:
        sequence: Counts up with each list; 0 where none was ever seen.
        issued: When it was signed, Unix seconds.
        serials: Tickets, hex.
        endpoint_ids: Endpoints, hex.
    """

    sequence: int = 0
    issued: int = 0
    serials: tuple[str, ...] = ()
    endpoint_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipStatus:
    """Who is in a node's mesh, and who is out.

    Attributes:
        mesh: Which mesh.
        issuer: Whether this node holds the issuer key, and so can invite and revoke.
        revocations: The list in force.
        members: Those whose records this node has; none where no node runs.
    """

    mesh: MeshStatus
    issuer: bool
    revocations: RevocationStatus
    members: tuple[MemberStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedStatus:
    """What a revocation did.

    Attributes:
        endpoint_ids: Endpoints that it names, hex.
        serials: Tickets that it names, hex.
        members_out: Members whose records this node had and that are out by it, hex: a ticket may have let in several.
        sequence: Of the new list.
    """

    endpoint_ids: tuple[str, ...]
    serials: tuple[str, ...]
    members_out: tuple[str, ...]
    sequence: int


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
class ServedModelStatus:
    """Answers to other nodes by one of this host's models."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStatus:
    """What this host answered to other nodes since start."""

    open: int = 0
    done: int = 0
    refused_by_reason: dict[str, int] = field(default_factory=dict)
    models: tuple[ServedModelStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatus:
    """Tokens since start, asked for by this node's apps and produced by this node's backend."""

    prompt: int = 0
    completion: int = 0
    served_prompt: int = 0
    served_completion: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlessedStatus:
    """The list of blessed builds that the policy names.

    Attributes:
        name: Of the list.
        version: Of the newest one known; 0 for none.
        expires: Unix seconds.
        builds: How many it lists.
        in_force: Whether it counts now.
        required: Whether a host must run a blessed build.
    """

    name: str
    version: int
    expires: float
    builds: int
    in_force: bool
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOffStatus:
    """A member that this node has nothing to do with for now, because it sent what no honest node sends.

    Attributes:
        endpoint_id: Hex.
        reason: What it did, in words; parts may be the peer's own text.
        times: How often it was cut off; each time for twice as long.
        left_s: Seconds until it is welcome again.
    """

    endpoint_id: str
    reason: str
    times: int
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """The whole of `/api/status`. `posture` is this node's own: control to `on`, `off: why` or `unavailable: why`.

    `attester` is what this node proves itself with, in words, and empty where it serves nothing; `hardware_key` is the
    fingerprint of the key that its chip answers with, hex, for `sealmesh trust` elsewhere. `keys_at_rest` is
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
    hardware_key: str = ""
    keys_at_rest: str = "file"
    blessed: BlessedStatus | None = None
    cut_off: tuple[CutOffStatus, ...] = ()

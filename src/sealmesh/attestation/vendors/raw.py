"""What `sealmesh verify` hands to a vendor's verifier: evidence as a vendor or a tool wrote it, outside a mesh.

A raw file proves something only if it is bound to what its reader asked for: by a nonce or by report data that
matches, or by the reader's own word that nothing is bound (ATTESTATION.md, Verdict).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sealmesh.attestation.factors import Factor, OperatorBlind, Tier
from sealmesh.attestation.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class RawInput:
    """One raw file and what came with it.

    Attributes:
        data: The file.
        given: Role (`vcek`, `chain`, `collateral`, `root`, `ek`, `ca`, ...) to the content of the file given for it.
        nonce: What the evidence must be fresh for, as the vendor's format carries a nonce; None if not given.
        report_data: What the evidence must bind, as the vendor's format carries report data; None if not given.
        app_id: For App Attest: `TEAMID.bundle.id`.
        policy: The reader's, for vendor tables and lists.
        now: Unix seconds at which to judge.
    """

    data: bytes
    given: Mapping[str, bytes] = field(default_factory=dict)
    nonce: bytes | None = None
    report_data: bytes | None = None
    app_id: str | None = None
    policy: Policy
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFinding:
    """What a raw file came to.

    Attributes:
        tier_if_bound: What it would be worth if it is bound.
        bound: Whether the nonce or the report data that was given matched; False where none was given.
        factors: What was checked.
        code_measured: Whether a layer below the code signed the code.
        operator_blind: Whether the owner can read prompts.
        claims: What the evidence says, for people; values in our words or hex.
    """

    tier_if_bound: Tier
    bound: bool
    factors: tuple[Factor, ...]
    code_measured: bool = False
    operator_blind: OperatorBlind = OperatorBlind.NO
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawKind:
    """A row of the table of raw kinds.

    Attributes:
        name: As after `--kind`: `sev-snp`, `tdx`, `sgx`, `tpm2`, `nvidia-gpu`, `app-attest`, `apple-mda`, `nitro`.
        judge_untrusted: Raises VerificationError (a named factor) where the evidence does not hold.
        roles: Role to what it is, for `--help`; what `--with` accepts.
        extension: What has to be installed for it, or "".
    """

    name: str
    judge_untrusted: Callable[[RawInput], RawFinding]
    roles: Mapping[str, str] = field(default_factory=dict)
    extension: str = ""

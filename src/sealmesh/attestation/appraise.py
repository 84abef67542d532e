"""Appraisals: a saved proof, or evidence as a vendor's tool wrote it, judged by a stranger (ATTESTATION.md, Verdict).

An appraisal is a report. It has no way to become a host that can be sealed to: only a live answer makes one [ST-20].
So nothing is raised here for evidence that does not hold; the factor that failed is in the report, and `verified` is
false.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier, require_factors
from sealmesh.attestation.kinds import REGISTRY
from sealmesh.attestation.policy import SUITES, Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.vendors.base import EvidenceKind
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import LIVE_REQUIRED, HostVerdict, Verifier, demanded_factors, settle_tier
from sealmesh.errors import VerificationError
from sealmesh.limits import CLOCK_SKEW_S

#: What is demanded where no policy was given: less than this shows nothing that a program could not have made up.
DEFAULT_POLICY: Final = Policy(minimum=Tier.HARDWARE_ROOTED)


class Context(enum.Enum):
    """Where evidence is judged."""

    LIVE = "live"  # the host answered this verifier's own nonce
    SAVED = "saved"  # somebody saved what a host answered
    RAW = "raw"  # a vendor's or a tool's own file, outside a mesh


#: What each context demands; a required factor that is absent is a failure [ST-51].
REQUIRED: Final[Mapping[Context, tuple[FactorId, ...]]] = {
    Context.LIVE: LIVE_REQUIRED,
    Context.SAVED: LIVE_REQUIRED,
    Context.RAW: (FactorId.BINDING, FactorId.VENDOR_CHAIN),
}


class Outcome(enum.IntEnum):
    """How a command that verifies ends; the worst of several files counts."""

    VERIFIED = 0
    REFUSED = 1
    UNREADABLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a file came to.

    Attributes:
        verified: Whether it holds, and meets the policy: what the exit code says too.
        tier: What it shows.
        tier_if_bound: What it would show if it were bound to what the reader asked for.
        code_measured: Whether a layer below the code signed the code.
        operator_blind: Whether the owner can read prompts.
        factors: What was checked, by number.
        claims: What the evidence says. Values may hold text of a peer or a vendor.
        reasons: Why it is refused, in words; empty where it is verified.
        kind: Of the hardware evidence, as after `--kind`; "" for none, or for several.
    """

    verified: bool
    tier: Tier
    tier_if_bound: Tier
    code_measured: bool = False
    operator_blind: OperatorBlind = OperatorBlind.NO
    factors: tuple[Factor, ...]
    claims: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def outcome(self) -> Outcome:
        """How a command that was asked for this file alone ends."""
        return Outcome.VERIFIED if self.verified else Outcome.REFUSED

    def describe(self) -> dict[str, object]:
        """The appraisal as JSON-ready data: docs/reference/verify.schema.json."""
        return {
            "verified": self.verified,
            "tier": self.tier.label,
            "tier_if_bound": self.tier_if_bound.label,
            "code_measured": self.code_measured,
            "operator_blind": self.operator_blind.value,
            "factors": [one.describe() for one in self.factors],
            "claims": dict(self.claims),
        }


# --- saved proofs -------------------------------------------------------------------------------------------------

#: What this reader did not see happen: for a stranger it is the word of whoever saved the file.
_SAVERS_WORD: Final[Mapping[FactorId, str]] = {
    FactorId.ENDPOINT_ID: "the file names this endpoint; that a connection proved it is the word of who saved the file",
    FactorId.FRESHNESS: "it was of its time; what that time was is the word of who saved the file",
    FactorId.OWN_NONCE: "the file's nonce is under the root; that it was new is the word of who saved the file",
}


def appraise_saved_untrusted(
    data: bytes,
    *,
    policy: Policy = DEFAULT_POLICY,
    now: float,
    at: float | None = None,
    registry: Mapping[str, EvidenceKind] = REGISTRY,
) -> Appraisal:
    """Judge a saved proof as the client that saved it did, but for what only that client can know.

    Args:
        data: The file.
        policy: The reader's; never that of whoever saved the file [ST-62].
        now: The reader's clock, Unix seconds: no file is from the future.
        at: When to judge, Unix seconds; without it, when the file says that it was saved.
        registry: Evidence record type to its verifier.
    """
    try:
        # 1. The file is whole, with nothing before or after.
        proof = SavedProof.parse_untrusted(data)
        # 2. It was saved before it is judged.
        judged_at = proof.saved_at if at is None else at
        check_saved_time(proof, judged_at, now)
        # 3. Everything that a live answer must show [ST-51], at that time.
        verdict = Verifier(policy=policy, registry=registry).verify_live_untrusted(
            ProofAnswer(host_statement=proof.host_statement, envelope=proof.envelope, path=proof.path, keys=b""),
            epochs=(proof.epoch,),
            endpoint_id=proof.endpoint_id,
            nonce=proof.nonce,
            verifier_id=proof.verifier_id,
            now=judged_at,
        )
        # 4. The inference keys had not ended; they may be of an epoch that began while the verdict stood.
        host = verdict.host_for(proof.epoch, judged_at)
    except VerificationError as error:
        return refused(error, Context.SAVED)
    # 5. The reader's policy [ST-62].
    reasons = _saved_refusals(proof, verdict, host, policy, judged_at)
    return Appraisal(
        verified=not reasons,
        tier=verdict.verdict.tier,
        tier_if_bound=verdict.verdict.tier,
        code_measured=verdict.verdict.code_measured,
        operator_blind=verdict.verdict.operator_blind,
        factors=tuple(_of_saver(one) for one in verdict.verdict.factors),
        claims={
            **verdict.claims,
            "endpoint_id": proof.endpoint_id.hex(),
            "backend": verdict.statement.backend,
            "saved_at": _iso(proof.saved_at),
        },
        reasons=reasons,
        kind=_kind_of(proof, registry),
    )


def check_saved_time(proof: SavedProof, judged_at: float, now: float) -> None:
    """Refuse a file that was saved after it is judged, or after the reader's own clock (attack A08).

    Raises:
        VerificationError: Factor `freshness`.
    """
    if proof.saved_at > now + CLOCK_SKEW_S:
        raise VerificationError("freshness", "the file says that it was saved ahead of this clock")
    if proof.saved_at > judged_at + CLOCK_SKEW_S:
        raise VerificationError("freshness", "the file was saved after the time at which it is judged")


def _saved_refusals(
    proof: SavedProof, verdict: HostVerdict, host: VerifiedHost, policy: Policy, judged_at: float
) -> tuple[str, ...]:
    reasons = list(policy.refusals(verdict, judged_at))
    age = judged_at - proof.saved_at
    if age > policy.max_age:
        reasons.append(f"it was {age:.0f} s old, the policy allows {policy.max_age:g} s")
    if policy.suites is not None and max(set(host.keys) & set(SUITES.values()), default=0) not in policy.suites:
        reasons.append("the policy does not allow the host's best suite")
    return tuple(reasons)


def _kind_of(proof: SavedProof, registry: Mapping[str, EvidenceKind]) -> str:
    records = Envelope.parse_untrusted(proof.envelope).of_role(Role.EVIDENCE)
    known = {one.type for _, one in records if one.type in registry and registry[one.type].ceiling > Tier.PINNED}
    return known.pop().rpartition(".")[2] if len(known) == 1 else ""


def _of_saver(factor: Factor) -> Factor:
    reason = _SAVERS_WORD.get(factor.factor)
    if reason is None or factor.status is not Status.PASS:
        return factor
    return Factor(factor=factor.factor, status=factor.status, source=Source.SELF_ASSERTED, reason=reason)


# --- raw evidence -------------------------------------------------------------------------------------------------


def appraise_raw_untrusted(kind: RawKind, evidence: RawInput, *, unbound: bool = False) -> Appraisal:
    """Judge evidence as a vendor or a tool wrote it.

    Args:
        kind: Whose verifier.
        evidence: The file and what came with it; the reader's policy and time are in it.
        unbound: The reader accepts, by name, that nothing ties the evidence to anybody.
    """
    try:
        finding = kind.judge_untrusted(evidence)
    except VerificationError as error:
        return refused(error, Context.RAW)
    asked = evidence.nonce is not None or evidence.report_data is not None
    binding = judge_raw_binding(finding, asked=asked, unbound=unbound)
    others = [one for one in finding.factors if one.factor is not FactorId.BINDING]
    # What the reader's policy demands of every host, it demands of a file too: `[gpu] required`.
    demanded = (*REQUIRED[Context.RAW], *demanded_factors(evidence.policy))
    needed = [one for one in demanded if one is not FactorId.BINDING]
    factors = require_factors([*others, binding], needed)
    # What it would be worth: the same factors, were it bound.
    if_bound = settle_tier(finding.tier_if_bound, [_bound(one) for one in factors])
    tier = if_bound if binding.status is not Status.FAIL else settle_tier(if_bound, factors)
    reasons = [one.reason for one in factors if one.factor in demanded and one.status is Status.FAIL]
    if not reasons and tier < evidence.policy.minimum:
        reasons.append(f"its tier is {tier.label}, {evidence.policy.minimum.label} is demanded")
        reasons += [one.reason for one in factors if one.status is Status.FAIL]
    measured = tier >= Tier.HARDWARE_ROOTED and finding.code_measured
    return Appraisal(
        verified=not reasons,
        tier=tier,
        tier_if_bound=if_bound,
        code_measured=measured,
        operator_blind=finding.operator_blind if measured else OperatorBlind.NO,
        factors=factors,
        claims=finding.claims,
        reasons=tuple(reasons),
        kind=kind.name,
    )


def judge_raw_binding(finding: RawFinding, *, asked: bool, unbound: bool) -> Factor:
    """Say whether evidence is bound to what its reader asked for: someone else's genuine file shows nothing (A07, A08).

    Args:
        finding: The vendor's verifier's.
        asked: Whether the reader gave a nonce or report data.
        unbound: Whether the reader accepts that nothing is bound.

    Returns:
        The factor `binding`: PASS if what was given matched; ABSENT if the reader does without; FAIL otherwise.
    """
    found = [one for one in finding.factors if one.factor is FactorId.BINDING]
    failed = [one for one in found if one.status is Status.FAIL]
    if failed:
        return failed[0]
    if asked:
        passed = [one for one in found if one.status is Status.PASS]
        if finding.bound and passed and len(passed) == len(found):
            return passed[0]
        return _binding(Status.FAIL, "the evidence does not bind what was given")
    if unbound:
        return _binding(Status.ABSENT, "nothing was asked for: the evidence may be anybody's, of any time it is valid")
    return _binding(Status.FAIL, "required: no nonce and no report data was given, so nothing ties it to anybody")


def _binding(status: Status, reason: str) -> Factor:
    return Factor(factor=FactorId.BINDING, status=status, source=Source.SELF_ASSERTED, reason=reason)


def _bound(factor: Factor) -> Factor:
    return _binding(Status.PASS, "assumed") if factor.factor is FactorId.BINDING else factor


# --- both ---------------------------------------------------------------------------------------------------------


def refused(error: VerificationError, context: Context) -> Appraisal:
    """The appraisal of a file that ended at its first failed factor; what came after it was not looked at."""
    known = {factor.id: factor for factor in FactorId}
    failed = Factor(
        factor=known.get(error.factor, FactorId.BINDING),
        status=Status.FAIL,
        source=Source.SELF_ASSERTED,
        reason=error.reason if error.factor in known else f"{error.factor}: {error.reason}",
    )
    unseen = [
        Factor(factor=one, status=Status.ABSENT, source=Source.SELF_ASSERTED, reason="the procedure ended before it")
        for one in REQUIRED[context]
        if one is not failed.factor
    ]
    return Appraisal(
        verified=False,
        tier=Tier.NONE,
        tier_if_bound=Tier.NONE,
        factors=tuple(sorted([failed, *unseen], key=lambda one: one.number)),
        reasons=(f"{error.factor}: {error.reason}",),
    )


def outcome_of(appraisals: Iterable[Appraisal]) -> Outcome:
    """The worst of several; nothing at all verifies nothing."""
    return max((one.outcome for one in appraisals), default=Outcome.UNREADABLE)


def _iso(seconds: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

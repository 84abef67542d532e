"""The verifier: a numbered procedure from a host's answer to a verdict, and from a verdict to a host to seal to.

It raises or returns a verdict that holds; it never returns a flag. Steps are numbered as in docs/spec/statements.md,
"Verification". Pure: the answer, the time and the asker's policy are arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.challenge import ProofAnswer, check_own_nonce_untrusted
from sealmesh.attestation.demands import judge_demands
from sealmesh.attestation.envelope import Envelope, Record, Role, evidence_digest
from sealmesh.attestation.factors import (
    Factor,
    FactorId,
    OperatorBlind,
    Source,
    Status,
    Tier,
    Verdict,
    failed_by,
    fill_absent,
    passed,
    require_factors,
)
from sealmesh.attestation.kinds import REGISTRY
from sealmesh.attestation.later import check_nothing_turned_bad, check_same_hardware, check_same_process
from sealmesh.attestation.order import HardwareOrder, confirmed_at
from sealmesh.attestation.pins import Pin, judge_pin, pin_holds
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import EpochStatement, HostStatement, binding, statement_digest
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.tpm.credential import ActivationTarget
from sealmesh.attestation.verified import _CONSTRUCTION, VerifiedHost
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.identity.signed import Signed
from sealmesh.limits import EXTENSION_S, VERDICT_LIFETIME_S

#: What every context demands; a required factor that is absent is a failure [ST-51].
LIVE_REQUIRED: Final = (
    FactorId.HOST_STATEMENT,
    FactorId.ENDPOINT_ID,
    FactorId.FRESHNESS,
    FactorId.OWN_NONCE,
    FactorId.EPOCH_STATEMENT,
    FactorId.BINDING,
)
STANDING_REQUIRED: Final = (FactorId.HOST_STATEMENT, FactorId.ENDPOINT_ID, FactorId.FRESHNESS, FactorId.BINDING)

#: What a tier needs on top. Whatever a record's verifier claims, a tier without these is not given [ST-52].
TIER_REQUIRED: Final[Mapping[Tier, tuple[FactorId, ...]]] = {
    Tier.NONE: (),
    Tier.SELF_ASSERTED: (FactorId.BINDING,),
    Tier.PINNED: (FactorId.BINDING, FactorId.ATTESTATION_KEY, FactorId.PIN),
    Tier.HARDWARE_ROOTED: (FactorId.BINDING, FactorId.ATTESTATION_KEY, FactorId.VENDOR_CHAIN),
    Tier.CONFIDENTIAL: (
        FactorId.BINDING,
        FactorId.VENDOR_CHAIN,
        FactorId.PLATFORM_STATE,
        FactorId.CODE_MEASUREMENT,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostVerdict:
    """What a live answer came to: it holds until `expires`, and epoch statements are verified against it.

    Attributes:
        endpoint_id: The host's, 32 bytes.
        statement: The host statement that answered the nonce. Its texts are the host's claims.
        verdict: Tier and numbered factors.
        evidence_digest: SHA-256 of the envelope as received, 32 bytes.
        statement_digest: SHA-256 of the host statement as received, 32 bytes.
        fingerprint: Of the attestation key, if it is one that can be pinned.
        pinned_by_hand: Whether a person pinned that key.
        claims: What the evidence says, for people.
        verified_at: When the host answered this verifier's own nonce, Unix seconds.
        confirmed_at: The same, or when later evidence was made by the hardware's own order [ST-24].
        expires: Unix seconds; `VERDICT_LIFETIME_S` after that, or when the host statement ends [ST-21].
        order: Where the live answer stands in its hardware's own order; None where nothing extends the verdict.
        activation: Whom a credential could be made for; None where no key waits for one.
    """

    endpoint_id: bytes
    statement: HostStatement
    verdict: Verdict
    evidence_digest: bytes
    statement_digest: bytes
    fingerprint: bytes | None
    pinned_by_hand: bool
    claims: Mapping[str, str]
    verified_at: float
    confirmed_at: float
    expires: float
    order: HardwareOrder | None
    activation: ActivationTarget | None
    construction: InitVar[object]

    def __post_init__(self, construction: object) -> None:
        if construction is not _CONSTRUCTION:
            raise LocalProtocolError("a verdict comes from the verifier only")

    def host_for(self, signed: Signed, now: float) -> VerifiedHost:
        """Return the host to seal to in the epoch of a signed statement, which may be the next one.

        Args:
            signed: An epoch statement as received.
            now: Unix seconds.

        Raises:
            VerificationError: The verdict or the epoch has ended, or the statement key did not sign these keys.
        """
        epoch = self._verify_epoch_untrusted(signed, now)
        if now >= epoch.not_after:
            raise VerificationError("epoch_statement", "the epoch has ended")
        return self._issue(signed, epoch)

    def hosts_for(self, epochs: Sequence[Signed], now: float) -> tuple[VerifiedHost, ...]:
        """Return a host for each epoch statement of a keys part, leaving out epochs that have ended.

        Args:
            epochs: As received.
            now: Unix seconds.

        Raises:
            VerificationError: The verdict has ended, or the statement key did not sign one of them, ended or not.
        """
        verified = [(signed, self._verify_epoch_untrusted(signed, now)) for signed in epochs]
        return tuple(self._issue(signed, epoch) for signed, epoch in verified if now < epoch.not_after)

    def _verify_epoch_untrusted(self, signed: Signed, now: float) -> EpochStatement:
        if now >= self.expires:
            raise VerificationError("freshness", "the verdict has ended; the host must answer again")
        return EpochStatement.verify_untrusted(
            signed, statement_key=self.statement.statement_key, endpoint_id=self.endpoint_id
        )

    def _issue(self, signed: Signed, epoch: EpochStatement) -> VerifiedHost:
        return VerifiedHost(
            endpoint_id=self.endpoint_id,
            epoch=epoch.epoch,
            epoch_digest=statement_digest(signed.part),
            keys=epoch.keys,
            not_before=epoch.not_before,
            not_after=epoch.not_after,
            expires=min(self.expires, epoch.not_after),
            tier=self.verdict.tier,
            code_measured=self.verdict.code_measured,
            operator_blind=self.verdict.operator_blind,
            evidence_digest=self.evidence_digest,
            verified_at=self.verified_at,
            factors=self.verdict.factors,
            construction=_CONSTRUCTION,
        )


class Verifier:
    """Judges what hosts answer, for one asker.

    Args:
        policy: The asker's; here for the vendors' tables. Whether a verdict is enough is `Policy.refusals`.
        find_pin: Gives the pin for an endpoint id, if the asker has one.
        registry: Evidence record type to its verifier.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        find_pin: Callable[[bytes], Pin | None] = lambda _: None,
        registry: Mapping[str, EvidenceKind] = REGISTRY,
    ) -> None:
        self._policy = policy
        self._find_pin = find_pin
        self._registry = registry

    def with_policy(self, policy: Policy) -> Verifier:
        """The same verifier for another policy of the asker's."""
        return Verifier(policy=policy, find_pin=self._find_pin, registry=self._registry)

    def verify_live_untrusted(
        self,
        answer: ProofAnswer,
        *,
        epochs: Sequence[Signed],
        endpoint_id: bytes,
        nonce: bytes,
        verifier_id: bytes,
        now: float,
    ) -> HostVerdict:
        """Judge the answer to this verifier's own challenge.

        Args:
            answer: As received.
            epochs: The epoch statements of the keys part that came with it; the current one at least.
            endpoint_id: The host's, as the connection proved it, 32 bytes.
            nonce: What this verifier sent, 32 bytes; never used twice.
            verifier_id: This verifier's endpoint id, 32 bytes.
            now: Unix seconds.

        Returns:
            A verdict whose required factors all pass.

        Raises:
            VerificationError: Something required does not hold; `factor` says what.
        """
        # 1. The statement is well formed. Until step 6 it is a claim.
        statement = HostStatement.parse_untrusted(answer.host_statement)
        # 2. It is this endpoint's [ST-53].
        check_statement_endpoint(statement, endpoint_id)
        # 3. It is of this time [ST-9].
        statement.check_time(now)
        # 4. It was made for this verifier's own nonce [CH-7].
        check_own_nonce_untrusted(statement.challenge_root, answer.path, nonce=nonce, verifier_id=verifier_id)
        # 5. The inference keys are those of the statement key [ST-55].
        check_epochs_untrusted(epochs, statement, endpoint_id)
        shown = (
            passed(FactorId.HOST_STATEMENT, Source.SELF_ASSERTED, "well formed"),
            passed(FactorId.ENDPOINT_ID, Source.PEER_WITNESSED, "the endpoint of this connection"),
            passed(FactorId.FRESHNESS, Source.PEER_WITNESSED, "answered while this verifier waited"),
            passed(FactorId.OWN_NONCE, Source.PEER_WITNESSED, "this verifier's own nonce is under its root"),
            passed(FactorId.EPOCH_STATEMENT, Source.SELF_ASSERTED, "the statement key signed the inference keys"),
        )
        # 6. to 9.: the evidence, the pin, what is required, the tier.
        required = (*LIVE_REQUIRED, *demanded_factors(self._policy))
        verdict, findings, pin = self._judge(answer, statement, endpoint_id, now, shown, required)
        pinnable = [finding for finding in findings if finding.pinnable]
        return HostVerdict(
            endpoint_id=endpoint_id,
            statement=statement,
            verdict=verdict,
            evidence_digest=evidence_digest(answer.envelope),
            statement_digest=statement_digest(answer.host_statement),
            fingerprint=pinnable[0].fingerprint if pinnable else None,
            pinned_by_hand=pin is not None and pin.by_hand and pin_holds(pin, findings),
            claims=MappingProxyType({key: value for one in findings for key, value in one.claims.items()}),
            verified_at=now,
            confirmed_at=now,
            expires=min(now + VERDICT_LIFETIME_S, statement.expires),
            order=_order_of(findings, verdict.tier),
            activation=next((finding.activation for finding in findings if finding.activation is not None), None),
            construction=_CONSTRUCTION,
        )

    def extend_untrusted(
        self, verdict: HostVerdict, host_statement: bytes, envelope: bytes, *, now: float
    ) -> HostVerdict | None:
        """Extend a verdict by a standing statement that is later by the hardware's own order [ST-24].

        Args:
            verdict: A live one.
            host_statement: As received.
            envelope: As received.
            now: Unix seconds.

        Returns:
            The verdict with a later end, or None where the statement adds nothing.

        Raises:
            VerificationError: What came does not hold, or is by other keys: the verdict has ended.
        """
        if verdict.order is None or now >= verdict.verified_at + EXTENSION_S:
            return None
        statement = HostStatement.parse_untrusted(host_statement)
        check_statement_endpoint(statement, verdict.endpoint_id)
        statement.check_time(now)
        check_same_process(statement, verdict.statement)
        answer = ProofAnswer(host_statement=host_statement, envelope=envelope, path=b"", keys=b"")
        shown = (
            passed(FactorId.HOST_STATEMENT, Source.SELF_ASSERTED, "well formed"),
            passed(FactorId.ENDPOINT_ID, Source.PEER_WITNESSED, "the endpoint that answered"),
            passed(FactorId.FRESHNESS, Source.HARDWARE, "later by the hardware's own order"),
        )
        found, findings, _ = self._judge(answer, statement, verdict.endpoint_id, now, shown, STANDING_REQUIRED)
        check_same_hardware({one.fingerprint for one in findings if one.pinnable}, verdict.fingerprint)
        check_nothing_turned_bad(found, verdict.verdict)
        later = _order_of(findings, found.tier)
        if later is None or found.tier < verdict.verdict.tier or not statement.says_the_same_as(verdict.statement):
            return None
        made = confirmed_at(verdict.order, later, answered_at=verdict.verified_at, issued=statement.issued)
        if made is None or min(made, now) <= verdict.confirmed_at:
            return None
        return replace(
            verdict,
            confirmed_at=min(made, now),
            expires=min(min(made, now) + VERDICT_LIFETIME_S, statement.expires),
            construction=_CONSTRUCTION,
        )

    def verify_standing_untrusted(
        self, host_statement: bytes, envelope: bytes, *, endpoint_id: bytes, now: float
    ) -> Verdict:
        """Judge a gossiped or saved statement. It ranks hosts; it never makes one that can be sealed to [ST-20].

        Args:
            host_statement: As received.
            envelope: As received.
            endpoint_id: Whose it should be, 32 bytes.
            now: Unix seconds: of today, or of when it was saved.

        Raises:
            VerificationError: Something required does not hold.
        """
        statement = HostStatement.parse_untrusted(host_statement)
        check_statement_endpoint(statement, endpoint_id)
        statement.check_time(now)
        shown = (
            passed(FactorId.HOST_STATEMENT, Source.SELF_ASSERTED, "well formed"),
            passed(FactorId.ENDPOINT_ID, Source.SELF_ASSERTED, "the endpoint that was asked about"),
            passed(FactorId.FRESHNESS, Source.SELF_ASSERTED, "within its own times"),
        )
        answer = ProofAnswer(host_statement=host_statement, envelope=envelope, path=b"", keys=b"")
        verdict, _, _ = self._judge(answer, statement, endpoint_id, now, shown, STANDING_REQUIRED)
        return verdict

    def _judge(
        self,
        answer: ProofAnswer,
        statement: HostStatement,
        endpoint_id: bytes,
        now: float,
        shown: Iterable[Factor],
        required: Iterable[FactorId],
    ) -> tuple[Verdict, list[Finding], Pin | None]:
        # 6. Each evidence record [ST-33] against the binding, by the verifier of its type [ST-50].
        envelope = Envelope.parse_untrusted(answer.envelope)
        findings, failed = self._examine(envelope, answer.host_statement, statement, endpoint_id, now)
        factors = [*shown, *failed, *(factor for finding in findings for factor in finding.factors)]
        # What the asker's policy demands of the host's own word [ST-62].
        factors += judge_demands(statement, self._policy)
        factors.append(self._policy.judge_measurement(statement, now))  # [BL-11]
        # 7. The asker's pin [ST-54].
        pin = self._find_pin(endpoint_id)
        if pin is not None:
            factors.append(judge_pin(pin, findings))
        # 8. What the context requires; absent is a failure [ST-51].
        settled = require_factors(factors, required)
        check_required(settled, required)
        # 9. The tier: the best record's, under its ceiling, lowered by whatever does not hold [ST-52].
        settled = fill_absent(settled)
        claimed = max((finding.tier for finding in findings), default=Tier.NONE)
        if pin is not None and pin_holds(pin, findings):
            claimed = max(claimed, Tier.PINNED)
        tier = settle_tier(claimed, settled)
        best = [finding for finding in findings if finding.tier >= tier]
        measured = tier >= Tier.HARDWARE_ROOTED and any(finding.code_measured for finding in best)
        blind = measured and any(finding.operator_blind is OperatorBlind.SOFTWARE for finding in best)
        return (
            Verdict(
                tier=tier,
                code_measured=measured,
                operator_blind=OperatorBlind.SOFTWARE if blind else OperatorBlind.NO,
                factors=settled,
            ),
            findings,
            pin,
        )

    def _examine(
        self, envelope: Envelope, host_statement: bytes, statement: HostStatement, endpoint_id: bytes, now: float
    ) -> tuple[list[Finding], list[Factor]]:
        """Ask the verifier of each evidence record; what fails becomes a failed factor.

        Raises:
            VerificationError: No record counts: there is none of a known type, or the only ones fail.
        """
        bound = binding(host_statement)
        findings: list[Finding] = []
        failed: list[Factor] = []
        refusal = VerificationError("binding", "no evidence of a known type")
        records = [record for _, record in envelope.of_role(Role.EVIDENCE)]
        check_repetition(records, self._registry)
        for record in records:
            kind = self._registry.get(record.type)
            if kind is None:
                continue
            evidence = EvidenceInput(
                record=record,
                envelope=envelope,
                binding=bound,
                statement=statement,
                endpoint_id=endpoint_id,
                policy=self._policy,
                now=now,
            )
            try:
                findings.append(cap_finding(kind.verify_untrusted(evidence), kind.ceiling))
            except VerificationError as error:
                refusal = error
                failed.append(failed_by(error))
        if not findings:
            raise refusal
        return findings, failed


def check_repetition(records: Sequence[Record], registry: Mapping[str, EvidenceKind]) -> None:
    """Refuse more evidence of a type than one host has [ST-50]: each record costs its verifier a chain (A25).

    Raises:
        VerificationError: Factor `binding`.
    """
    found = Counter(record.type for record in records)
    if any(found[name] > kind.records_max for name, kind in registry.items()):
        raise VerificationError("binding", "more evidence of one type than one host has")


def demanded_factors(policy: Policy) -> tuple[FactorId, ...]:
    """What a policy requires of every host beyond its context: accelerators that answered, with `[gpu] required`."""
    return (FactorId.ACCELERATORS,) if policy.vendors.get("gpu", {}).get("required") is True else ()


def check_statement_endpoint(statement: HostStatement, endpoint_id: bytes) -> None:
    """Refuse a statement of another endpoint [ST-53]: a sibling that serves with another's evidence (attack A07).

    Raises:
        VerificationError: Factor `endpoint_id`.
    """
    if statement.endpoint_id != endpoint_id:
        raise VerificationError(
            "endpoint_id",
            "the host statement is another endpoint's",
            expected=endpoint_id.hex(),
            got=statement.endpoint_id.hex(),
        )


def check_epochs_untrusted(epochs: Sequence[Signed], statement: HostStatement, endpoint_id: bytes) -> None:
    """Refuse an answer without inference keys, or with keys that the statement key did not sign (A04) [ST-55].

    Raises:
        VerificationError: Factor `epoch_statement`.
    """
    if not epochs:
        raise VerificationError("epoch_statement", "the answer names no inference keys")
    for signed in epochs:
        EpochStatement.verify_untrusted(signed, statement_key=statement.statement_key, endpoint_id=endpoint_id)


def cap_finding(finding: Finding, ceiling: Tier) -> Finding:
    """Hold a record to what its type can be worth at most [ST-50]: a software key posing as hardware (attack A06)."""
    if finding.tier <= ceiling:
        return finding
    return Finding(
        tier=ceiling,
        factors=finding.factors,
        fingerprint=finding.fingerprint,
        pinnable=finding.pinnable,
        claims=finding.claims,
    )


def check_required(factors: Iterable[Factor], required: Iterable[FactorId]) -> None:
    """Refuse a verdict in which a required factor does not pass [ST-51].

    Raises:
        VerificationError: The first that does not.
    """
    demanded = set(required)
    for factor in factors:
        if factor.factor in demanded and factor.status is not Status.PASS:
            raise VerificationError(factor.id, factor.reason)


def settle_tier(claimed: Tier, factors: Iterable[Factor]) -> Tier:
    """Lower a claimed tier until all that it needs passes, and below what any failed factor forbids [ST-52]."""
    status = {factor.factor: factor.status for factor in factors}
    if Status.FAIL in status.values():
        # Something that was shown does not hold. What is left is the host's own word.
        claimed = min(claimed, Tier.SELF_ASSERTED)
    for tier in sorted(Tier, reverse=True):
        if tier <= claimed and all(status.get(factor) is Status.PASS for factor in TIER_REQUIRED[tier]):
            return tier
    return Tier.NONE


def _order_of(findings: Sequence[Finding], tier: Tier) -> HardwareOrder | None:
    """The order of the hardware that the verdict rests on; of none where no vendor speaks for it."""
    if tier < Tier.HARDWARE_ROOTED:
        return None
    return next((one.order for one in findings if one.order is not None and one.tier >= tier), None)

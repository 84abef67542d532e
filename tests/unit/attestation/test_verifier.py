"""The numbered procedure, from an answer to a verdict and on to a host to seal to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from kit.attested import NOW, VERIFIER_ID, ProvenHost, judge
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.verifier import (
    REGISTRY,
    HostVerdict,
    Pin,
    Verifier,
    check_required,
    require_factors,
    settle_tier,
)
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.identity.signed import Signed

VENDOR = "application/x-vendor"
KEY = b"f" * 32


@pytest.fixture
def host() -> ProvenHost:
    return ProvenHost()


def passed(*factors: FactorId) -> tuple[Factor, ...]:
    return tuple(
        Factor(factor=one, status=Status.PASS, source=Source.VENDOR_ROOTED, reason="checked") for one in factors
    )


def vendor_verifier(
    judge_record: Callable[[EvidenceInput], Finding], *, ceiling: Tier = Tier.CONFIDENTIAL, pin: Pin | None = None
) -> Verifier:
    """The real verifier, with one more kind of evidence in its registry."""
    return Verifier(
        policy=Policy(),
        find_pin=lambda _: pin,
        registry={**REGISTRY, VENDOR: EvidenceKind(verify_untrusted=judge_record, ceiling=ceiling)},
    )


def vendor_answer(host: ProvenHost, *, with_software: bool = True) -> ProofAnswer:
    answer = host.answer()
    record = Record(type=VENDOR, data=b"quote", role=Role.EVIDENCE)
    parsed = Envelope.parse_untrusted(answer.envelope)
    records = {**(parsed.records if with_software else {}), "vendor": record}
    return replace(answer, envelope=Envelope(records=records).encode())


def hardware_finding(_: EvidenceInput) -> Finding:
    return Finding(
        tier=Tier.HARDWARE_ROOTED,
        factors=passed(FactorId.BINDING, FactorId.ATTESTATION_KEY, FactorId.VENDOR_CHAIN),
        fingerprint=KEY,
        pinnable=True,
        code_measured=True,
        operator_blind=OperatorBlind.SOFTWARE,
        claims={"vendor": "x"},
    )


def test_an_honest_host_with_a_software_key_is_self_asserted(host: ProvenHost) -> None:
    verdict = judge(host)
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    assert verdict.verdict.code_measured is False
    assert verdict.verdict.operator_blind is OperatorBlind.NO
    assert (verdict.verified_at, verdict.expires) == (NOW, NOW + 600)
    assert [(one.number, one.status.value) for one in verdict.verdict.factors] == [
        (1, "pass"),
        (2, "pass"),
        (3, "pass"),
        (4, "pass"),
        (5, "pass"),
        (6, "pass"),
        (7, "pass"),
        (8, "absent"),
        (9, "absent"),
        (10, "absent"),
        (11, "absent"),
        (12, "absent"),
        (13, "absent"),
        (14, "absent"),
        (15, "absent"),
        (16, "absent"),
    ]


def test_a_verdict_ends_with_its_host_statement(host: ProvenHost) -> None:
    assert judge(host, host.answer(expires=NOW + 30)).expires == NOW + 30


def test_an_answer_among_many_verifies(host: ProvenHost) -> None:
    assert judge(host, host.answer(others=7)).verdict.tier is Tier.SELF_ASSERTED


def test_nobody_makes_a_verdict_without_the_verifier(host: ProvenHost) -> None:
    known = judge(host)
    with pytest.raises(LocalProtocolError):
        HostVerdict(
            endpoint_id=known.endpoint_id,
            statement=known.statement,
            verdict=known.verdict,
            evidence_digest=known.evidence_digest,
            statement_digest=known.statement_digest,
            fingerprint=None,
            pinned_by_hand=True,
            claims={},
            verified_at=NOW,
            confirmed_at=NOW,
            expires=NOW + 1e9,
            order=None,
            activation=None,
            construction=object(),
        )


def test_no_epoch_statement_is_a_failure(host: ProvenHost) -> None:
    with pytest.raises(VerificationError, match="names no inference keys"):
        judge(host, epochs=())


def test_one_bad_epoch_statement_among_good_ones_is_a_failure(host: ProvenHost) -> None:
    good = host.epoch()
    with pytest.raises(VerificationError, match="epoch_statement"):
        judge(host, epochs=(good, Signed(part=good.part, signature=bytes(64))))


def test_a_malformed_envelope_is_a_failure(host: ProvenHost) -> None:
    answer = host.answer()
    broken = replace(answer, envelope=b"\xa0")
    with pytest.raises(VerificationError, match="malformed"):
        judge(host, broken)


@pytest.mark.parametrize("role", [Role.REFERENCE, Role.ENDORSEMENT, Role.RESULT])
def test_only_evidence_is_evidence(host: ProvenHost, role: Role) -> None:
    answer = host.answer()
    record = Envelope.parse_untrusted(answer.envelope).records[software.LABEL]
    moved = Envelope(records={"a": Record(type=record.type, data=record.data, role=role)}).encode()
    with pytest.raises(VerificationError, match="no evidence of a known type"):
        judge(host, replace(answer, envelope=moved))


def test_evidence_of_an_unknown_type_counts_for_nothing(host: ProvenHost) -> None:
    answer = vendor_answer(host)
    assert judge(host, answer).verdict.tier is Tier.SELF_ASSERTED
    alone = vendor_answer(host, with_software=False)
    with pytest.raises(VerificationError, match="no evidence of a known type"):
        judge(host, alone)


def test_a_registered_vendor_raises_the_tier(host: ProvenHost) -> None:
    answer = vendor_answer(host)
    verdict = judge(host, answer, verifier=vendor_verifier(hardware_finding))
    assert verdict.verdict.tier is Tier.HARDWARE_ROOTED
    assert verdict.verdict.code_measured is True
    assert verdict.verdict.operator_blind is OperatorBlind.SOFTWARE
    assert verdict.fingerprint == KEY
    assert verdict.claims["vendor"] == "x"


def test_no_record_is_worth_more_than_its_kind(host: ProvenHost) -> None:
    answer = vendor_answer(host)
    verifier = vendor_verifier(hardware_finding, ceiling=Tier.SELF_ASSERTED)
    verdict = judge(host, answer, verifier=verifier)
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    assert verdict.verdict.code_measured is False
    assert verdict.verdict.operator_blind is OperatorBlind.NO


def test_a_tier_is_not_given_without_its_factors(host: ProvenHost) -> None:
    def claims_much(_: EvidenceInput) -> Finding:
        return Finding(tier=Tier.CONFIDENTIAL, factors=passed(FactorId.BINDING), fingerprint=KEY)

    answer = vendor_answer(host)
    verdict = judge(host, answer, verifier=vendor_verifier(claims_much))
    assert verdict.verdict.tier is Tier.SELF_ASSERTED


def test_failing_vendor_evidence_lowers_the_tier_and_is_shown(host: ProvenHost) -> None:
    def refuses(_: EvidenceInput) -> Finding:
        raise VerificationError("vendor_chain", "the root is home-made")

    answer = vendor_answer(host)
    verdict = judge(host, answer, verifier=vendor_verifier(refuses)).verdict
    assert verdict.tier is Tier.SELF_ASSERTED
    (shown,) = [one for one in verdict.factors if one.factor is FactorId.VENDOR_CHAIN]
    assert (shown.status, shown.reason) == (Status.FAIL, "the root is home-made")


def test_vendor_evidence_that_binds_something_else_refuses_the_host(host: ProvenHost) -> None:
    def other_binding(_: EvidenceInput) -> Finding:
        raise VerificationError("binding", "the quote is over something else")

    answer = vendor_answer(host)
    with pytest.raises(VerificationError, match="something else"):
        judge(host, answer, verifier=vendor_verifier(other_binding))


def test_a_finding_that_shows_no_binding_counts_for_nothing(host: ProvenHost) -> None:
    def unbound(_: EvidenceInput) -> Finding:
        return Finding(tier=Tier.HARDWARE_ROOTED, factors=passed(FactorId.VENDOR_CHAIN), fingerprint=KEY)

    alone = vendor_answer(host, with_software=False)
    with pytest.raises(VerificationError, match="binding"):
        judge(host, alone, verifier=vendor_verifier(unbound))


def unrooted(_: EvidenceInput) -> Finding:
    return Finding(
        tier=Tier.SELF_ASSERTED,
        factors=passed(FactorId.BINDING, FactorId.ATTESTATION_KEY),
        fingerprint=KEY,
        pinnable=True,
    )


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_pinned_key_is_pinned(host: ProvenHost, by_hand: bool) -> None:
    answer = vendor_answer(host)
    verifier = vendor_verifier(unrooted, pin=Pin(fingerprint=KEY, by_hand=by_hand))
    verdict = judge(host, answer, verifier=verifier)
    assert (verdict.verdict.tier, verdict.pinned_by_hand) == (Tier.PINNED, by_hand)


def test_a_pin_does_not_stand_for_what_does_not_hold(host: ProvenHost) -> None:
    """The pinned chip, started in another way than the policy demands: its key is the right one, its state is not."""

    def wrongly_started(evidence: EvidenceInput) -> Finding:
        failed = replace(passed(FactorId.PLATFORM_STATE)[0], status=Status.FAIL)
        return replace(unrooted(evidence), factors=(*unrooted(evidence).factors, failed))

    pin = Pin(fingerprint=KEY, by_hand=True)
    demanding = Policy(minimum=Tier.HARDWARE_ROOTED)
    for finding, accepted in ((unrooted, True), (wrongly_started, False)):
        verdict = judge(host, vendor_answer(host), verifier=vendor_verifier(finding, pin=pin))
        assert verdict.pinned_by_hand
        assert (demanding.refusals(verdict, NOW) == ()) is accepted


def test_another_key_than_the_pinned_one_fails(host: ProvenHost) -> None:
    answer = vendor_answer(host)
    verifier = vendor_verifier(hardware_finding, pin=Pin(fingerprint=b"o" * 32, by_hand=True))
    verdict = judge(host, answer, verifier=verifier)
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    assert verdict.pinned_by_hand is False
    assert any("not the one that was pinned" in reason for reason in Policy().refusals(verdict, NOW))


def test_a_software_key_cannot_be_pinned(host: ProvenHost) -> None:
    fingerprint = hashlib.sha256(host.endpoint_id).digest()
    verifier = Verifier(policy=Policy(), find_pin=lambda _: Pin(fingerprint=fingerprint, by_hand=True))
    verdict = judge(host, verifier=verifier)
    assert (verdict.verdict.tier, verdict.pinned_by_hand) == (Tier.SELF_ASSERTED, False)


def test_host_for_gives_the_epochs_keys(host: ProvenHost) -> None:
    signed = host.epoch()
    verified = judge(host).host_for(signed, NOW)
    assert verified.endpoint_id == host.endpoint_id
    assert verified.epoch_digest == hashlib.sha256(signed.part).digest()
    assert sorted(verified.keys) == [1, 2]
    assert (verified.not_before, verified.not_after, verified.expires) == (NOW, NOW + 300, NOW + 300)
    assert verified.tier is Tier.SELF_ASSERTED


def test_the_next_epoch_is_verified_ahead(host: ProvenHost) -> None:
    verified = judge(host).host_for(host.epoch(NOW + 300, number=2), NOW)
    assert (verified.epoch, verified.not_before) == (2, NOW + 300)


def test_an_ended_epoch_gives_no_host(host: ProvenHost) -> None:
    verdict = judge(host)
    with pytest.raises(VerificationError, match="epoch has ended"):
        verdict.host_for(host.epoch(), NOW + 300)
    hosts = verdict.hosts_for((host.epoch(), host.epoch(NOW + 300, number=2)), NOW + 301)
    assert [one.epoch for one in hosts] == [2]


def test_an_ended_verdict_gives_no_host(host: ProvenHost) -> None:
    verdict = judge(host)
    with pytest.raises(VerificationError, match="verdict has ended"):
        verdict.host_for(host.epoch(NOW + 590), NOW + 600)


def test_an_ended_epoch_is_verified_all_the_same(host: ProvenHost) -> None:
    forged = Signed(part=host.epoch().part, signature=bytes(64))
    with pytest.raises(VerificationError):
        judge(host).hosts_for((host.epoch(NOW + 300), forged), NOW + 301)


def test_a_standing_statement_ranks(host: ProvenHost) -> None:
    statement = host.statement().encode()
    verifier = Verifier(policy=Policy())
    verdict = verifier.verify_standing_untrusted(
        statement, host.envelope(statement), endpoint_id=host.endpoint_id, now=NOW
    )
    assert verdict.tier is Tier.SELF_ASSERTED
    assert not any(one.factor is FactorId.OWN_NONCE for one in verdict.factors)
    with pytest.raises(VerificationError, match="endpoint_id"):
        verifier.verify_standing_untrusted(statement, host.envelope(statement), endpoint_id=VERIFIER_ID, now=NOW)
    with pytest.raises(VerificationError, match="freshness"):
        verifier.verify_standing_untrusted(
            statement, host.envelope(statement), endpoint_id=host.endpoint_id, now=NOW + 3600
        )


def test_check_required_refuses_what_does_not_pass() -> None:
    with pytest.raises(VerificationError, match="binding"):
        check_required(require_factors([], [FactorId.BINDING]), [FactorId.BINDING])


def test_any_failed_factor_leaves_the_hosts_own_word() -> None:
    needed = passed(FactorId.BINDING, FactorId.ATTESTATION_KEY, FactorId.VENDOR_CHAIN)
    failed = Factor(
        factor=FactorId.ACCELERATORS, status=Status.FAIL, source=Source.VENDOR_ROOTED, reason="a plain mode"
    )
    assert settle_tier(Tier.HARDWARE_ROOTED, needed) is Tier.HARDWARE_ROOTED
    assert settle_tier(Tier.HARDWARE_ROOTED, (*needed, failed)) is Tier.SELF_ASSERTED
    assert settle_tier(Tier.HARDWARE_ROOTED, ()) is Tier.NONE

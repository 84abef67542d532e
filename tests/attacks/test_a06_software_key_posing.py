"""A06: a software key poses as hardware.

Whatever an envelope says of itself, a key that a program could hold is never above `self-asserted`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kit.attested import NOW, ProvenHost, judge
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.kinds import REGISTRY
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.verifier import Verifier, cap_finding
from sealmesh.errors import VerificationError

P256 = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())


def posing(answer: ProofAnswer, **records: Record) -> ProofAnswer:
    """The answer with records added to, or put in place of, those of its envelope."""
    known = Envelope.parse_untrusted(answer.envelope).records
    return replace(answer, envelope=Envelope(records={**known, **records}).encode())


@pytest.mark.parametrize("label", ["tpm", "sev-snp", "apple-secure-enclave", "app-attest", "nitro"])
def test_a_p256_key_under_the_name_of_hardware(label: str) -> None:
    host = ProvenHost()
    answer = host.answer()
    record = software.make_p256_record(P256, binding(answer.host_statement))
    verdict = judge(host, replace(answer, envelope=Envelope(records={label: record}).encode())).verdict
    assert verdict.tier is Tier.SELF_ASSERTED
    assert (verdict.code_measured, verdict.operator_blind) == (False, OperatorBlind.NO)
    assert {one.factor: one.status for one in verdict.factors}[FactorId.VENDOR_CHAIN] is Status.ABSENT


@pytest.mark.parametrize(
    "kind", ["application/x-tpm2-quote", "application/vnd.sev-snp.report", "application/vnd.apple.app-attest"]
)
def test_a_software_signature_under_the_type_of_hardware(kind: str) -> None:
    host = ProvenHost()
    answer = host.answer()
    record = replace(software.make_p256_record(P256, binding(answer.host_statement)), type=kind)
    assert judge(host, posing(answer, quote=record)).verdict.tier is Tier.SELF_ASSERTED
    with pytest.raises(VerificationError, match="no evidence of a known type"):
        judge(host, replace(answer, envelope=Envelope(records={"quote": record}).encode()))


def test_a_result_that_the_host_wrote_itself() -> None:
    host = ProvenHost()
    claims = b'{"tier":"confidential","code_measured":true,"operator_blind":"software"}'
    for role in Role:
        record = Record(type="application/vnd.sealmesh.verdict+json", data=claims, role=role)
        assert judge(host, posing(host.answer(), result=record)).verdict.tier is Tier.SELF_ASSERTED


def test_a_statement_that_boasts() -> None:
    host = ProvenHost()
    answer = host.answer(
        measurement=b"m" * 32,
        posture={"tier": "confidential", "secure_boot": "on", "tpm": "on: activated"},
        accelerators=("H100 in confidential mode",),
    )
    verdict = judge(host, answer).verdict
    assert (verdict.tier, verdict.code_measured) == (Tier.SELF_ASSERTED, False)


def test_a_pin_on_a_software_key_is_worth_nothing() -> None:
    import hashlib

    host = ProvenHost()
    answer = host.answer()
    record = software.make_p256_record(P256, binding(answer.host_statement))
    public = P256.public_key().public_numbers()
    point = b"\x04" + public.x.to_bytes(32, "big") + public.y.to_bytes(32, "big")
    pin = Pin(fingerprint=hashlib.sha256(point).digest(), by_hand=True)
    verifier = Verifier(policy=Policy(), find_pin=lambda _: pin)
    verdict = judge(host, replace(answer, envelope=Envelope(records={"se": record}).encode()), verifier=verifier)
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    assert verdict.pinned_by_hand is False
    assert Policy(minimum=Tier.PINNED).refusals(verdict, NOW) != ()


def test_the_policy_refuses_it_where_hardware_is_demanded() -> None:
    for tier in (Tier.PINNED, Tier.HARDWARE_ROOTED, Tier.CONFIDENTIAL):
        assert Policy().at_least(tier).refusals(judge(ProvenHost()), NOW) != ()


def test_even_a_verifier_of_software_keys_that_is_fooled_gives_no_more() -> None:
    # The second defence: the ceiling of the registry holds whatever the kind's own verifier finds.
    def fooled(evidence: EvidenceInput) -> Finding:
        honest = software.verify_software_untrusted(evidence)
        every = tuple(
            Factor(factor=one, status=Status.PASS, source=Source.HARDWARE, reason="fooled") for one in FactorId
        )
        return replace(honest, tier=Tier.CONFIDENTIAL, factors=every, code_measured=True, pinnable=True)

    registry = {**REGISTRY, software.TYPE: EvidenceKind(verify_untrusted=fooled, ceiling=software.KIND.ceiling)}
    verdict = judge(ProvenHost(), verifier=Verifier(policy=Policy(), registry=registry)).verdict
    assert (verdict.tier, verdict.code_measured) == (Tier.SELF_ASSERTED, False)


def test_the_named_defence_stands_alone() -> None:
    finding = Finding(tier=Tier.CONFIDENTIAL, factors=(), fingerprint=b"", code_measured=True)
    capped = cap_finding(finding, Tier.SELF_ASSERTED)
    assert (capped.tier, capped.code_measured) == (Tier.SELF_ASSERTED, False)
    assert cap_finding(finding, Tier.CONFIDENTIAL) is finding
    assert software.KIND.ceiling is REGISTRY[software.TYPE].ceiling is Tier.SELF_ASSERTED

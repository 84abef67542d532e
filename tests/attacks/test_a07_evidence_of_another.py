"""A07: genuine evidence of another machine is handed to somebody who checks a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost
from sealmesh.attestation.appraise import appraise_raw_untrusted, appraise_saved_untrusted
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind

ANYTHING = Policy(minimum=Tier.NONE)


def genuine(given: RawInput) -> RawFinding:
    """A vendor's verifier on a genuine report that binds b"mine"."""
    bound = given.report_data == b"mine"
    status = Status.PASS if bound else Status.ABSENT
    passed = [FactorId.ATTESTATION_KEY, FactorId.VENDOR_CHAIN]
    return RawFinding(
        tier_if_bound=Tier.HARDWARE_ROOTED,
        bound=bound,
        factors=(
            Factor(factor=FactorId.BINDING, status=status, source=Source.HARDWARE, reason="the report's own"),
            *(Factor(factor=one, status=Status.PASS, source=Source.VENDOR_ROOTED, reason="genuine") for one in passed),
        ),
    )


CHIP = RawKind(name="chip", judge_untrusted=genuine)


@pytest.mark.parametrize("asked", [None, b"yours"])
def test_a_genuine_report_of_somebody_elses_machine(asked: bytes | None) -> None:
    mine = RawInput(data=b"report", report_data=b"mine", policy=ANYTHING, now=NOW)
    assert appraise_raw_untrusted(CHIP, mine).verified
    other = appraise_raw_untrusted(CHIP, replace(mine, report_data=asked))
    assert not other.verified
    assert other.tier is Tier.NONE
    assert other.tier_if_bound is Tier.HARDWARE_ROOTED


def test_a_saved_proof_with_a_siblings_evidence() -> None:
    host, sibling = ProvenHost(), ProvenHost("sibling")
    answer = host.answer()
    proof = SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    )

    def judge(one: SavedProof) -> tuple[bool, str]:
        appraisal = appraise_saved_untrusted(one.encode(), policy=ANYTHING, now=NOW)
        return appraisal.verified, next((one.id for one in appraisal.factors if one.status is Status.FAIL), "")

    assert judge(proof) == (True, "")
    assert judge(replace(proof, envelope=sibling.answer().envelope)) == (False, "binding")
    assert judge(replace(proof, endpoint_id=sibling.endpoint_id)) == (False, "endpoint_id")
    assert judge(replace(proof, epoch=sibling.epoch())) == (False, "epoch_statement")

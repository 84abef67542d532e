"""A required factor that a record speaks against refuses the host (docs/spec/statements.md, ST-51)."""

from __future__ import annotations

import dataclasses

import pytest

from kit.attested import ProvenHost, judge
from sealmesh.attestation.factors import Factor, FactorId, Source, Status
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.verifier import LIVE_REQUIRED, Verifier
from sealmesh.errors import VerificationError


def speaking_against(factor: FactorId, status: Status) -> Verifier:
    """A verifier whose software keys hold, and report one factor more."""

    def judge_record(evidence: EvidenceInput) -> Finding:
        honest = software.verify_software_untrusted(evidence)
        said = Factor(factor=factor, status=status, source=Source.HARDWARE, reason="the record says so")
        return dataclasses.replace(honest, factors=(*honest.factors, said))

    kind = EvidenceKind(verify_untrusted=judge_record, ceiling=software.KIND.ceiling)
    return Verifier(policy=Policy(), registry={software.TYPE: kind})


@pytest.mark.parametrize("factor", LIVE_REQUIRED)
def test_a_record_that_speaks_against_a_required_factor_refuses_the_host(factor: FactorId) -> None:
    with pytest.raises(VerificationError) as caught:
        judge(ProvenHost(), verifier=speaking_against(factor, Status.FAIL))
    assert caught.value.factor == factor.id


@pytest.mark.parametrize("factor", LIVE_REQUIRED)
def test_a_record_that_agrees_changes_nothing(factor: FactorId) -> None:
    assert judge(ProvenHost(), verifier=speaking_against(factor, Status.PASS)).endpoint_id == ProvenHost().endpoint_id

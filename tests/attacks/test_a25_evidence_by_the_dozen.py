"""A25: a member fills its envelope with good quotes, each of which would cost its verifiers a chain of certificates.

An envelope of 64 KiB takes dozens. Each verifies, so the liar is not dropped, and a few such members would keep every
verifier's threads from judging anybody else in time.
"""

from __future__ import annotations

import dataclasses

import pytest

from kit.attested import ProvenHost, judge
from kit.chips import REQUIRING
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.kinds import REGISTRY
from sealmesh.attestation.vendors import nvidia, software
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.verifier import Verifier, check_repetition
from sealmesh.errors import VerificationError
from sealmesh.limits import GPUS_MAX


def test_the_same_evidence_again_is_refused_before_any_of_it_is_judged() -> None:
    judged = 0

    def counting(evidence: EvidenceInput) -> Finding:
        nonlocal judged
        judged += 1
        return software.KIND.verify_untrusted(evidence)

    kind = EvidenceKind(verify_untrusted=counting, ceiling=software.KIND.ceiling)
    verifier = Verifier(policy=REQUIRING, registry={software.TYPE: kind})
    host = ProvenHost()
    answer = host.answer()
    (record,) = [one for _, one in Envelope.parse_untrusted(answer.envelope).of_role(Role.EVIDENCE)]
    judge(host, answer, verifier=verifier)
    assert judged == 1
    envelope = Envelope(records={f"{number}": record for number in range(2)}).encode()
    with pytest.raises(VerificationError, match="more evidence of one type") as refused:
        judge(host, dataclasses.replace(answer, envelope=envelope), verifier=verifier)
    assert refused.value.factor == "binding"
    assert judged == 1


@pytest.mark.parametrize("name", REGISTRY)
def test_each_type_has_its_most(name: str) -> None:
    most = GPUS_MAX if name == nvidia.TYPE else 1
    record = Record(type=name, data=b"-", role=Role.EVIDENCE)
    check_repetition([record] * most, REGISTRY)
    with pytest.raises(VerificationError, match="more evidence of one type"):
        check_repetition([record] * (most + 1), REGISTRY)

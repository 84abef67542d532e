"""A verdict as a file: read as written, and judged again by a stranger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.proof import PROOF_MAX, SavedProof
from sealmesh.errors import VerificationError


def saved(host: ProvenHost) -> SavedProof:
    answer = host.answer(others=3)
    return SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    )


def test_a_saved_proof_reads_as_it_was_written_and_verifies_again() -> None:
    host = ProvenHost()
    proof = SavedProof.parse_untrusted(saved(host).encode())
    assert proof == saved(host)
    answer = ProofAnswer(host_statement=proof.host_statement, envelope=proof.envelope, path=proof.path, keys=b"-")
    verdict = judge(host, answer, epochs=(proof.epoch,), now=proof.saved_at, nonce=proof.nonce)
    assert verdict.verdict.tier is Tier.SELF_ASSERTED


@pytest.mark.parametrize("label", ["host-statement", "evidence", "epoch-statement", "challenge"])
def test_a_proof_without_one_of_its_parts_is_refused(label: str) -> None:
    records = dict(Envelope.parse_untrusted(saved(ProvenHost()).encode(), maximum=PROOF_MAX).records)
    part = records.pop(label)
    with pytest.raises(VerificationError, match="has no"):
        SavedProof.parse_untrusted(Envelope(records={**records, "x": part}).encode(maximum=PROOF_MAX))
    records[label] = replace(part, role=Role.RESULT)
    with pytest.raises(VerificationError, match="has no"):
        SavedProof.parse_untrusted(Envelope(records=records).encode(maximum=PROOF_MAX))


def test_cut_parts_are_refused() -> None:
    records = dict(Envelope.parse_untrusted(saved(ProvenHost()).encode(), maximum=PROOF_MAX).records)
    for label in ("challenge", "epoch-statement"):
        cut = Record(type=records[label].type, data=records[label].data[:100], role=records[label].role)
        with pytest.raises(VerificationError):
            SavedProof.parse_untrusted(Envelope(records={**records, label: cut}).encode(maximum=PROOF_MAX))

"""A07: the proven machine is not the serving machine; a sibling serves with the first one's evidence.

Here at the level of the software key: the statement names the endpoint, the connection proves it, and the leaf of the
challenge names the verifier as the host sees it, so that an answer cannot be passed along.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from sealmesh.attestation.envelope import Envelope
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement, binding
from sealmesh.attestation.vendors import software
from sealmesh.attestation.verifier import Verifier, check_statement_endpoint
from sealmesh.errors import VerificationError


def test_a_sibling_answers_with_the_proven_hosts_whole_answer() -> None:
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    with pytest.raises(VerificationError, match="endpoint_id"):
        judge(proven, endpoint_id=sibling.endpoint_id)


def test_a_sibling_writes_its_own_id_into_the_statement() -> None:
    # Then the bytes are not those that the proven host's evidence signs.
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    lying = replace(sibling.answer(), envelope=proven.answer().envelope)
    with pytest.raises(VerificationError, match="binding"):
        judge(proven, lying, epochs=(sibling.epoch(),), endpoint_id=sibling.endpoint_id)


def test_a_proven_host_that_signs_for_its_sibling_cannot_lend_its_endpoint_key() -> None:
    # A software key's evidence counts only for the endpoint whose own key it is.
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    answer = sibling.answer()
    record = software.make_record(proven.endpoint_key, binding(answer.host_statement))
    lent = replace(answer, envelope=Envelope(records={software.LABEL: record}).encode())
    with pytest.raises(VerificationError, match="not the endpoint's own"):
        judge(sibling, lent)


def test_a_sibling_passes_the_challenge_on_to_the_proven_host() -> None:
    # The proven host sees the sibling's connection, so its leaf names the sibling and not the asker.
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    passed_on = proven.answer(nonce=NONCE, verifier_id=sibling.endpoint_id)
    with pytest.raises(VerificationError, match="own_nonce"):
        judge(proven, passed_on, nonce=NONCE, verifier_id=VERIFIER_ID)


def test_a_sibling_serves_under_the_proven_hosts_epochs() -> None:
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    with pytest.raises(VerificationError, match="epoch_statement"):
        judge(sibling, epochs=(proven.epoch(),))


def test_gossiped_evidence_of_another_endpoint_does_not_rank() -> None:
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    statement = proven.statement().encode()
    with pytest.raises(VerificationError, match="endpoint_id"):
        Verifier(policy=Policy()).verify_standing_untrusted(
            statement, proven.envelope(statement), endpoint_id=sibling.endpoint_id, now=NOW
        )


def test_the_named_defence_stands_alone() -> None:
    proven, sibling = ProvenHost("proven"), ProvenHost("sibling")
    statement = HostStatement.parse_untrusted(proven.statement().encode())
    check_statement_endpoint(statement, proven.endpoint_id)
    with pytest.raises(VerificationError):
        check_statement_endpoint(statement, sibling.endpoint_id)

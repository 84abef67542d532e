"""A08: stale evidence, or a stale challenge, is shown as fresh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from sealmesh.attestation.challenge import check_own_nonce_untrusted, leaf
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.verifier import Verifier
from sealmesh.errors import VerificationError

OTHER_NONCE = b"o" * 32
OTHER_VERIFIER = b"v" * 32


def test_an_answer_to_an_earlier_nonce_is_replayed() -> None:
    host = ProvenHost()
    recorded = host.answer(nonce=NONCE)
    judge(host, recorded, nonce=NONCE)
    with pytest.raises(VerificationError, match="own_nonce"):
        judge(host, recorded, nonce=OTHER_NONCE)


def test_an_answer_to_another_verifiers_same_nonce() -> None:
    host = ProvenHost()
    recorded = host.answer(nonce=NONCE, verifier_id=OTHER_VERIFIER)
    with pytest.raises(VerificationError, match="own_nonce"):
        judge(host, recorded, nonce=NONCE, verifier_id=VERIFIER_ID)


def test_a_gossiped_statement_is_shown_as_an_answer() -> None:
    host = ProvenHost()
    statement = host.statement().encode()
    standing = replace(host.answer(), host_statement=statement, envelope=host.envelope(statement), path=b"")
    with pytest.raises(VerificationError, match="answers no challenge"):
        judge(host, standing)


def test_a_root_chosen_so_that_the_nonce_seems_to_be_under_it() -> None:
    # The root must come out of the leaf; a path can lead nowhere else without a second preimage.
    host = ProvenHost()
    answer = host.answer(others=3)
    with pytest.raises(VerificationError, match="own_nonce"):
        judge(host, replace(answer, path=answer.path[:-33]))
    with pytest.raises(VerificationError, match="own_nonce"):
        judge(host, replace(answer, path=b"\x00" + leaf(NONCE, VERIFIER_ID) + answer.path))


def test_a_fresh_root_in_an_old_envelope() -> None:
    # The statement is made anew for the nonce, the evidence is that of an hour ago.
    host = ProvenHost()
    old = host.answer(now=NOW - 3000, nonce=OTHER_NONCE)
    with pytest.raises(VerificationError, match="binding"):
        judge(host, replace(host.answer(), envelope=old.envelope))


@pytest.mark.parametrize(("issued", "why"), [(NOW - 3600, "expired"), (NOW + 61, "ahead of this clock")])
def test_a_statement_out_of_its_time(issued: float, why: str) -> None:
    host = ProvenHost()
    with pytest.raises(VerificationError, match=why):
        judge(host, host.answer(now=issued), epochs=(host.epoch(),))


def test_a_verdict_is_used_past_its_end() -> None:
    host = ProvenHost()
    verdict = judge(host)
    epoch = host.epoch(NOW + 590)
    verdict.host_for(epoch, NOW + 599).check_fresh(NOW + 599)
    with pytest.raises(VerificationError, match="must answer again"):
        verdict.host_for(epoch, NOW + 600)
    with pytest.raises(VerificationError, match="must answer again"):
        verdict.host_for(epoch, NOW + 599).check_fresh(NOW + 600)


def test_an_epoch_is_used_past_its_end() -> None:
    host = ProvenHost()
    verified = judge(host).host_for(host.epoch(), NOW)
    with pytest.raises(VerificationError):
        verified.check_fresh(NOW + 300)


def test_old_gossiped_evidence_does_not_rank() -> None:
    host = ProvenHost()
    statement = host.statement(NOW - 3600).encode()
    with pytest.raises(VerificationError, match="expired"):
        Verifier(policy=Policy()).verify_standing_untrusted(
            statement, host.envelope(statement), endpoint_id=host.endpoint_id, now=NOW
        )


def test_the_named_defence_stands_alone() -> None:
    root = leaf(NONCE, VERIFIER_ID)
    check_own_nonce_untrusted(root, b"", nonce=NONCE, verifier_id=VERIFIER_ID)
    for nonce, verifier_id in ((OTHER_NONCE, VERIFIER_ID), (NONCE, OTHER_VERIFIER)):
        with pytest.raises(VerificationError):
            check_own_nonce_untrusted(root, b"", nonce=nonce, verifier_id=verifier_id)

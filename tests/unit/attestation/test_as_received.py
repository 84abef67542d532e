"""Statements are hashed and verified as they were received (docs/spec/statements.md, ST-1)."""

from __future__ import annotations

import dataclasses

import pytest

from kit.attested import NOW, ProvenHost, judge
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.statement import EpochStatement, HostStatement, statement_digest
from sealmesh.errors import VerificationError
from sealmesh.identity.signed import Label

#: Field 1000, of a later time: readers pass over it, and must not lose it before they hash.
UNKNOWN = b"\xc2\x3e\x03new"


def rewritten(host: ProvenHost) -> ProofAnswer:
    """An answer whose statement holds a field that this version does not know, vouched for with it."""
    answer = host.answer()
    statement = answer.host_statement + UNKNOWN
    return dataclasses.replace(answer, host_statement=statement, envelope=host.envelope(statement))


def test_a_statement_with_an_unknown_field_is_bound_with_it() -> None:
    host = ProvenHost()
    verdict = judge(host, rewritten(host))
    assert verdict.statement_digest == statement_digest(rewritten(host).host_statement)
    plain = host.answer().host_statement
    assert HostStatement.parse_untrusted(plain + UNKNOWN) == HostStatement.parse_untrusted(plain)
    assert verdict.statement_digest != statement_digest(plain)


def test_evidence_for_the_same_statement_without_the_field_does_not_hold() -> None:
    host = ProvenHost()
    answer = host.answer()
    with pytest.raises(VerificationError):
        judge(host, dataclasses.replace(answer, host_statement=answer.host_statement + UNKNOWN))


def test_an_epoch_statement_with_an_unknown_field_is_named_by_its_own_bytes() -> None:
    host = ProvenHost()
    plain = host.epoch()
    longer = host.statement_key.sign_part(Label.EPOCH, plain.part + UNKNOWN)
    sealed_to = judge(host, epochs=(longer,)).host_for(longer, NOW)
    assert sealed_to.epoch_digest == statement_digest(longer.part) != statement_digest(plain.part)
    assert EpochStatement.parse_untrusted(longer.part) == EpochStatement.parse_untrusted(plain.part)

"""A04: the evidence is kept, the inference key swapped.

The liar passes on an honest host's statement and evidence, and puts inference keys beside them that it can open.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost, judge
from sealmesh.attestation.statement import EpochStatement, check_epoch_endpoint, check_epoch_signature
from sealmesh.errors import VerificationError
from sealmesh.identity.keys import StatementKey
from sealmesh.identity.signed import Label, Signed

LIARS_KEY = StatementKey.from_seed(b"l" * 32)


def swapped(host: ProvenHost) -> EpochStatement:
    """The honest epoch with the liar's inference keys."""
    honest = EpochStatement.parse_untrusted(host.epoch().part)
    return replace(honest, keys={1: b"liar's key".ljust(32), 2: b"liar's key".ljust(1216)})


def test_keys_signed_by_another_statement_key() -> None:
    host = ProvenHost()
    with pytest.raises(VerificationError, match="did not sign these inference keys"):
        judge(host, epochs=(swapped(host).sign(LIARS_KEY),))


def test_keys_under_the_signature_of_the_honest_ones() -> None:
    host = ProvenHost()
    forged = Signed(part=swapped(host).encode(), signature=host.epoch().signature)
    with pytest.raises(VerificationError, match="did not sign these inference keys"):
        judge(host, epochs=(forged,))


def test_keys_swapped_after_the_verdict() -> None:
    host = ProvenHost()
    verdict = judge(host)
    with pytest.raises(VerificationError, match="did not sign these inference keys"):
        verdict.host_for(swapped(host).sign(LIARS_KEY), NOW)
    with pytest.raises(VerificationError, match="did not sign these inference keys"):
        verdict.hosts_for((host.epoch(), swapped(host).sign(LIARS_KEY)), NOW)


def test_keys_signed_by_the_endpoint_key_instead() -> None:
    # The endpoint key signs the record that carries the epochs; it has no say in what they are.
    host = ProvenHost()
    part = swapped(host).encode()
    signed = Signed(part=part, signature=host.endpoint_key.sign(Label.EVIDENCE, part))
    with pytest.raises(VerificationError, match="did not sign these inference keys"):
        judge(host, epochs=(signed,))


def test_keys_of_another_honest_host() -> None:
    # A malicious process with a genuine statement key of its own cannot lend its keys to another endpoint.
    host, other = ProvenHost(), ProvenHost("other")
    foreign = EpochStatement.parse_untrusted(other.epoch().part).sign(host.statement_key)
    with pytest.raises(VerificationError, match="another endpoint's"):
        judge(host, epochs=(foreign,))
    with pytest.raises(VerificationError, match="did not sign"):
        judge(host, epochs=(other.epoch(),))


def test_the_named_defences_stand_alone() -> None:
    host, other = ProvenHost(), ProvenHost("other")
    check_epoch_signature(host.epoch(), host.statement_key.public)
    with pytest.raises(VerificationError):
        check_epoch_signature(host.epoch(), other.statement_key.public)
    statement = EpochStatement.parse_untrusted(host.epoch().part)
    check_epoch_endpoint(statement, host.endpoint_id)
    with pytest.raises(VerificationError):
        check_epoch_endpoint(statement, other.endpoint_id)


def test_a_swapped_statement_key_breaks_the_binding() -> None:
    # Swapping one floor higher, the statement key, changes the bytes that the evidence signs.
    host = ProvenHost()
    honest = host.answer()
    lying = replace(honest, host_statement=host.answer(statement_key=LIARS_KEY.public).host_statement)
    with pytest.raises(VerificationError, match="binding"):
        judge(host, lying, epochs=(swapped(host).sign(LIARS_KEY),))

"""`VerifiedHost` comes from the verifier only, and holds within its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost, judge, verified_host
from sealmesh.attestation.factors import OperatorBlind, Tier
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.errors import LocalProtocolError, VerificationError


def test_nobody_makes_one_without_the_verifier() -> None:
    with pytest.raises(LocalProtocolError):
        VerifiedHost(
            endpoint_id=b"e" * 32,
            epoch=1,
            epoch_digest=b"d" * 32,
            keys={1: b"k" * 32},
            not_before=0,
            not_after=300,
            expires=300,
            tier=Tier.CONFIDENTIAL,
            code_measured=True,
            operator_blind=OperatorBlind.SOFTWARE,
            evidence_digest=b"d" * 32,
            verified_at=0,
            factors=(),
            construction=None,
        )


def test_a_copy_with_changes_is_no_way_around() -> None:
    with pytest.raises((LocalProtocolError, ValueError)):
        replace(verified_host(), tier=Tier.CONFIDENTIAL)


def test_its_keys_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        verified_host().keys[1] = b"k" * 32  # type: ignore[index]


@pytest.mark.parametrize(("at", "fine"), [(-61, False), (-60, True), (0, True), (299.9, True), (300, False)])
def test_it_is_fresh_from_the_skew_before_its_epoch_to_its_end(at: float, fine: bool) -> None:
    host = verified_host()
    if fine:
        host.check_fresh(NOW + at)
        return
    with pytest.raises(VerificationError, match="freshness"):
        host.check_fresh(NOW + at)


def test_it_ends_with_its_verdict() -> None:
    host = ProvenHost()
    late = host.epoch(NOW + 590)
    verified = judge(host).host_for(late, NOW + 590)
    verified.check_fresh(NOW + 599)
    with pytest.raises(VerificationError):
        verified.check_fresh(NOW + 600)

"""A08: an old file is shown as one of now, or as one of a time at which it did not exist."""

from __future__ import annotations

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost
from sealmesh.attestation.appraise import appraise_saved_untrusted
from sealmesh.attestation.factors import Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.limits import CLOCK_SKEW_S

ANYTHING = Policy(minimum=Tier.NONE)


def saved(at: float) -> bytes:
    """What a host answered at NOW, by a file that says that it was saved at another time."""
    host = ProvenHost()
    answer = host.answer()
    return SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=at,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    ).encode()


@pytest.mark.parametrize(
    ("saved_at", "now", "judged_at"),
    [
        (NOW, NOW - CLOCK_SKEW_S - 1, None),  # a file from the future
        (NOW + 200, NOW + 1000, NOW + 100),  # judged before it was saved
        (NOW, NOW + 86_400, NOW + 86_400),  # last week's answer, judged as of now
        (NOW + 86_400, NOW + 86_400, None),  # last week's answer under today's date
        (NOW - 86_400, NOW, None),  # today's answer under last week's date
    ],
)
def test_a_file_outside_its_time(saved_at: float, now: float, judged_at: float | None) -> None:
    assert appraise_saved_untrusted(saved(NOW), policy=ANYTHING, now=NOW + 86_400).verified
    appraisal = appraise_saved_untrusted(saved(saved_at), policy=ANYTHING, now=now, at=judged_at)
    assert not appraisal.verified
    assert [one.id for one in appraisal.factors if one.status is Status.FAIL] == ["freshness"]

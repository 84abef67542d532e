"""Tiers, factors, and the rule that a required factor which is absent is a failure."""

from __future__ import annotations

import pytest

from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier, Verdict, require_factors


def factor(which: FactorId, status: Status, reason: str = "because") -> Factor:
    return Factor(factor=which, status=status, source=Source.SELF_ASSERTED, reason=reason)


def test_tiers_are_ordered_and_named() -> None:
    assert [tier.label for tier in sorted(Tier)] == [
        "none",
        "self-asserted",
        "pinned",
        "hardware-rooted",
        "confidential",
    ]
    assert all(Tier.from_label(tier.label) is tier for tier in Tier)
    with pytest.raises(ValueError, match="the tiers are none, self-asserted"):
        Tier.from_label("very good")


def test_numbers_and_ids_of_factors_are_each_used_once() -> None:
    assert len({one.number for one in FactorId}) == len({one.id for one in FactorId}) == len(FactorId)


def test_a_required_factor_that_was_not_looked_at_fails() -> None:
    (found,) = require_factors([], [FactorId.BINDING])
    assert (found.status, found.reason) == (Status.FAIL, "required: not shown")


def test_a_required_factor_that_is_absent_fails_with_its_reason() -> None:
    (found,) = require_factors([factor(FactorId.PIN, Status.ABSENT, "no pin")], [FactorId.PIN])
    assert (found.status, found.reason) == (Status.FAIL, "required: no pin")


def test_an_optional_factor_may_be_absent() -> None:
    (found,) = require_factors([factor(FactorId.PIN, Status.ABSENT)], [])
    assert found.status is Status.ABSENT


@pytest.mark.parametrize("worse", [Status.FAIL, Status.ABSENT])
def test_of_two_findings_the_worse_one_stands(worse: Status) -> None:
    good, bad = factor(FactorId.BINDING, Status.PASS), factor(FactorId.BINDING, worse)
    for order in ([good, bad], [bad, good]):
        (found,) = require_factors(order, [])
        assert found.status is worse


def test_factors_come_in_the_order_of_their_numbers() -> None:
    found = require_factors(
        [factor(FactorId.PIN, Status.PASS), factor(FactorId.BINDING, Status.PASS)], [FactorId.HOST_STATEMENT]
    )
    assert [one.number for one in found] == [1, 6, 8]


def test_a_verdict_describes_itself_for_json() -> None:
    verdict = Verdict(tier=Tier.SELF_ASSERTED, factors=(factor(FactorId.BINDING, Status.PASS),))
    assert verdict.describe() == {
        "tier": "self-asserted",
        "code_measured": False,
        "operator_blind": "no",
        "factors": [{"number": 6, "id": "binding", "status": "pass", "source": "self_asserted", "reason": "because"}],
    }

"""Which factors a host lacks for a policy: what people and programs are told of a host that is not used."""

from __future__ import annotations

from sealmesh.attestation.factors import Factor, FactorId, Source, Status
from sealmesh.attestation.policy import PinRule, Policy
from sealmesh.attestation.verifier import TIER_REQUIRED, HostVerdict


def lacking_factors(verdict: HostVerdict, policy: Policy, now: float) -> tuple[Factor, ...]:
    """Return what failed, and what the policy's minimum needs and was not shown, by number.

    Args:
        verdict: On the host.
        policy: The asker's.
        now: Unix seconds.

    Returns:
        Nothing for a host that the policy takes; nothing either where it is refused for what no factor is about (its
        backend): `Policy.refusals` says that in words.
    """
    found = {one.factor: one for one in verdict.verdict.factors}
    found[FactorId.MEASUREMENT] = policy.judge_measurement(verdict.statement, now)  # lists change while verdicts stand
    lacking = {one.factor for one in found.values() if one.status is Status.FAIL}
    minimum = policy.minimum_for(verdict.endpoint_id, now)
    by_pin = policy.pins is PinRule.ACCEPT and verdict.pinned_by_hand
    if verdict.verdict.tier < minimum and not by_pin:
        lacking |= {one for one in TIER_REQUIRED[minimum] if found[one].status is not Status.PASS}
        if verdict.activation is not None and found[FactorId.ACTIVATION].status is not Status.PASS:
            lacking.add(FactorId.ACTIVATION)
    age = now - verdict.confirmed_at
    if age > policy.max_age or now >= verdict.expires:
        lacking.add(FactorId.FRESHNESS)
        found[FactorId.FRESHNESS] = Factor(
            factor=FactorId.FRESHNESS,
            status=Status.FAIL,
            source=Source.PEER_WITNESSED,
            reason=f"its evidence is {age:.0f} s old and has ended; it has shown no newer",
        )
    return tuple(sorted((found[one] for one in lacking), key=lambda one: one.number))

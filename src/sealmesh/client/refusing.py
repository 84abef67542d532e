"""Why a host is not sealed to, in words and in factors, and whether waiting may help. Pure: times are arguments."""

from __future__ import annotations

from typing import Final

from sealmesh.attestation.factors import Factor, FactorId, Source, Status, failed_by
from sealmesh.attestation.lacking import lacking_factors
from sealmesh.attestation.policy import Policy
from sealmesh.client.watched import Activating, Watched
from sealmesh.errors import RemoteProtocolError, VerificationError

_ACTIVATION_WORDS: Final = {
    Activating.PENDING: "its chip was asked to show that the key lives in it, and has not answered yet",
    Activating.FAILED: "its chip did not show that the key lives in it: the activation has failed",
}
NO_EVIDENCE: Final = "it can make no evidence now"


def failed_factors(host: Watched, policy: Policy, now: float) -> tuple[Factor, ...]:
    """The factors that a host fails, or lacks for the policy, by number."""
    if host.verdict is None:
        return host.failed
    factors = lacking_factors(host.verdict, policy, now)
    words = _ACTIVATION_WORDS.get(host.activating)
    if words is None or host.verdict.activation is None:
        return factors
    failed = host.activating is Activating.FAILED
    status = Status.FAIL if failed else Status.ABSENT
    said = Factor(factor=FactorId.ACTIVATION, status=status, source=Source.PEER_WITNESSED, reason=words)
    return tuple(said if one.factor is FactorId.ACTIVATION else one for one in factors)


def words_of(factors: tuple[Factor, ...]) -> tuple[str, ...]:
    """Factors as reasons for people: `vendor_chain: no hardware vendor speaks for this host`."""
    return tuple(f"{one.id}: {one.reason}" for one in factors)


def may_help_to_wait(host: Watched, policy: Policy, now: float) -> bool:
    """Whether a host that is not used may be used soon without anybody doing anything.

    Who is silent, busy, or not judged yet may answer; who lacks something will lack it in a minute too. Nor does
    waiting help where the host itself says that it can make no evidence: its chip has gone.

    Args:
        host: What is held of it; it is not used now.
        policy: The asker's.
        now: Unix seconds.
    """
    verdict = host.verdict
    if verdict is None:
        return host.waiting
    lasting = policy.refusals(verdict, verdict.confirmed_at)  # at that moment nothing was too old
    if lasting:
        by_tier = verdict.verdict.tier < policy.minimum_for(verdict.endpoint_id, now)
        return by_tier and len(lasting) == 1 and host.activating is Activating.PENDING
    if policy.refusals(verdict, now) or now >= verdict.expires:
        return not host.unavailable
    return True


def factors_of(error: VerificationError | RemoteProtocolError) -> tuple[Factor, ...]:
    """The factor that a wrong answer failed, if it is one of them."""
    if isinstance(error, VerificationError) and any(one.id == error.factor for one in FactorId):
        return (failed_by(error),)
    return ()

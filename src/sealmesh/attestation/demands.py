"""What a policy demands of a host's own word: its posture, and how near its model is.

Both are self-asserted. A host that lies meets them; an honest one that is badly set up does not, which is what they are
for. With a measured code the word is that code's.
"""

from __future__ import annotations

from sealmesh.attestation.factors import Factor, FactorId, Source, Status
from sealmesh.attestation.policy import BackendRule, Policy
from sealmesh.attestation.statement import HostStatement


def judge_demands(statement: HostStatement, policy: Policy) -> tuple[Factor, Factor]:
    """The factors `posture` and `backend`: absent where the policy demands nothing."""
    return judge_posture(statement, policy), judge_backend(statement, policy)


def judge_posture(statement: HostStatement, policy: Policy) -> Factor:
    """Whether the host says that every demanded control is on."""
    if not policy.posture:
        return _factor(FactorId.POSTURE, Status.ABSENT, "the policy demands no control")
    unmet = policy.unmet_controls(statement)
    if unmet:
        return _factor(FactorId.POSTURE, Status.FAIL, f"demanded, and the host says: {', '.join(unmet)}")
    return _factor(FactorId.POSTURE, Status.PASS, "the host says that every demanded control is on")


def judge_backend(statement: HostStatement, policy: Policy) -> Factor:
    """Whether the host says that its model is as near as is demanded."""
    if policy.backend is BackendRule.ANY:
        return _factor(FactorId.BACKEND, Status.ABSENT, "the policy takes any backend")
    # One of three words: a statement with another one is refused before [ST-5].
    said = f"the host says that its backend is {statement.backend}"
    if not policy.backend.allows(statement.backend):
        return _factor(FactorId.BACKEND, Status.FAIL, f"{said}, {policy.backend.value} is demanded")
    return _factor(FactorId.BACKEND, Status.PASS, said)


def _factor(factor: FactorId, status: Status, reason: str) -> Factor:
    return Factor(factor=factor, status=status, source=Source.SELF_ASSERTED, reason=reason)

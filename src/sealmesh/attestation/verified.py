"""`VerifiedHost`: the only thing that a request can be sealed to.

It has no public constructor [ST-23]. `sealmesh.attestation.verifier` makes one from a live verdict and a signed epoch
statement; a type checker refuses to seal to anything else, and a forged one fails at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.factors import Factor, OperatorBlind, Tier
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.limits import CLOCK_SKEW_S

#: What only `verifier` has; a test in tests/architecture holds it to that.
_CONSTRUCTION: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedHost:
    """A host whose evidence was checked, with the inference keys of one epoch.

    Attributes:
        endpoint_id: Ed25519 public key of the host, 32 bytes.
        epoch: Number of the epoch within the host's process.
        epoch_digest: SHA-256 of the epoch statement's bytes as received, 32 bytes.
        keys: Suite number to public key.
        not_before: Start of the epoch, Unix seconds.
        not_after: End of the epoch, Unix seconds.
        expires: When this may no longer be sealed to: the earlier of the epoch's and the verdict's end, Unix seconds.
        tier: Of the verdict.
        code_measured: Of the verdict.
        operator_blind: Of the verdict: `no` or `software`.
        evidence_digest: SHA-256 of the evidence envelope as received, 32 bytes.
        verified_at: When the host last answered this verifier's own nonce, Unix seconds.
        factors: What was checked, by number.
    """

    endpoint_id: bytes
    epoch: int
    epoch_digest: bytes
    keys: Mapping[int, bytes]
    not_before: float
    not_after: float
    expires: float
    tier: Tier
    code_measured: bool
    operator_blind: OperatorBlind
    evidence_digest: bytes
    verified_at: float
    factors: tuple[Factor, ...]
    construction: InitVar[object]

    def __post_init__(self, construction: object) -> None:
        if construction is not _CONSTRUCTION:
            raise LocalProtocolError("a verified host comes from the verifier only")
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

    def check_fresh(self, now: float) -> None:
        """Hold the host to its time: call before each sealing [ST-22].

        Args:
            now: Unix seconds. Up to `CLOCK_SKEW_S` before the epoch is accepted, because a host opens with the
                next epoch's key as soon as it has announced it.

        Raises:
            VerificationError: The verdict or the epoch has ended, or the epoch has not begun.
        """
        if now >= self.expires:
            raise VerificationError("freshness", "the verdict or its epoch has ended; the host must answer again")
        if now < self.not_before - CLOCK_SKEW_S:
            raise VerificationError("freshness", "the epoch has not begun")

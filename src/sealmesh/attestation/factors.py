"""Numbered factors: what was checked of a host, how it came out, and whose word that is (ATTESTATION.md, Verdict).

A verdict is a list of factors and a tier. Numbers and ids are stable: people and programs cite them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh.errors import VerificationError


class Tier(enum.IntEnum):
    """What a host is, as far as its evidence shows. Higher is more; comparisons mean what they say."""

    NONE = 0
    SELF_ASSERTED = 1
    PINNED = 2
    HARDWARE_ROOTED = 3
    CONFIDENTIAL = 4

    @property
    def label(self) -> str:
        """The word for people, flags and headers: `self-asserted` and its like."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def from_label(cls, label: str) -> Tier:
        """Return the tier of a word.

        Raises:
            ValueError: There is no such tier.
        """
        try:
            return _BY_LABEL[label]
        except KeyError:
            raise ValueError(f"unknown tier; the tiers are {', '.join(_BY_LABEL)}") from None


_BY_LABEL: Final = {tier.label: tier for tier in Tier}


class OperatorBlind(enum.StrEnum):
    """Whether the host's owner can read prompts. Nobody gets `yes`: who opens the machine wins."""

    NO = "no"
    SOFTWARE = "software"  # blind against everyone who has only software access


class Status(enum.Enum):
    """How one factor came out."""

    PASS = "pass"  # noqa: S105 - a status, not a password
    FAIL = "fail"
    ABSENT = "absent"


class Source(enum.Enum):
    """Whose word a factor rests on, weakest first."""

    SELF_ASSERTED = "self_asserted"
    PEER_WITNESSED = "peer_witnessed"  # this verifier saw it itself, in a live exchange
    VENDOR_ROOTED = "vendor_rooted"
    HARDWARE = "hardware"


class FactorId(enum.Enum):
    """Every factor: (number, id). Numbers are never reused."""

    HOST_STATEMENT = (1, "host_statement")
    ENDPOINT_ID = (2, "endpoint_id")
    FRESHNESS = (3, "freshness")
    OWN_NONCE = (4, "own_nonce")
    EPOCH_STATEMENT = (5, "epoch_statement")
    BINDING = (6, "binding")
    ATTESTATION_KEY = (7, "attestation_key")
    PIN = (8, "pin")
    ACTIVATION = (9, "activation")
    VENDOR_CHAIN = (10, "vendor_chain")
    PLATFORM_STATE = (11, "platform_state")
    CODE_MEASUREMENT = (12, "code_measurement")
    ACCELERATORS = (13, "accelerators")
    POSTURE = (14, "posture")
    BACKEND = (15, "backend")
    MEASUREMENT = (16, "measurement")

    @property
    def number(self) -> int:
        """The number for people to cite."""
        return self.value[0]

    @property
    def id(self) -> str:
        """The stable id for programs."""
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One thing that was checked.

    Attributes:
        factor: Which one.
        status: How it came out.
        source: Whose word it is.
        reason: Why, in our own words: never text of a peer.
    """

    factor: FactorId
    status: Status
    source: Source
    reason: str

    @property
    def number(self) -> int:
        """The factor's number."""
        return self.factor.number

    @property
    def id(self) -> str:
        """The factor's stable id."""
        return self.factor.id

    def describe(self) -> dict[str, str | int]:
        """The factor as it appears in JSON (ATTESTATION.md, Verdict)."""
        return {
            "number": self.number,
            "id": self.id,
            "status": self.status.value,
            "source": self.source.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the evidence comes to.

    Attributes:
        tier: After every failed factor has lowered it.
        code_measured: Whether a layer below the code signed the code.
        operator_blind: Whether the owner can read prompts.
        factors: In the order of their numbers; one of each at most.
    """

    tier: Tier
    code_measured: bool = False
    operator_blind: OperatorBlind = OperatorBlind.NO
    factors: tuple[Factor, ...] = ()

    def describe(self) -> dict[str, object]:
        """The verdict as JSON-ready data."""
        return {
            "tier": self.tier.label,
            "code_measured": self.code_measured,
            "operator_blind": self.operator_blind.value,
            "factors": [factor.describe() for factor in self.factors],
        }


def require_factors(factors: Iterable[Factor], required: Iterable[FactorId]) -> tuple[Factor, ...]:
    """Fill the gaps of a context: a required factor that is absent, or was not looked at, is a FAIL [ST-51].

    Args:
        factors: What was checked; a factor appears once.
        required: What the context demands.

    Returns:
        All factors by number, every required one either PASS or FAIL.
    """
    found: dict[FactorId, Factor] = {}
    for factor in factors:
        # Two findings on one factor: the worse one stands, so that nothing is passed by saying it twice.
        known = found.get(factor.factor)
        if known is None or _SEVERITY[factor.status] > _SEVERITY[known.status]:
            found[factor.factor] = factor
    for wanted in required:
        known = found.get(wanted)
        if known is None or known.status is Status.ABSENT:
            reason = known.reason if known is not None else "not shown"
            source = known.source if known is not None else Source.SELF_ASSERTED
            found[wanted] = Factor(factor=wanted, status=Status.FAIL, source=source, reason=f"required: {reason}")
    return tuple(sorted(found.values(), key=lambda factor: factor.number))


_SEVERITY: Final[Mapping[Status, int]] = {Status.PASS: 0, Status.ABSENT: 1, Status.FAIL: 2}

_ABSENT_REASONS: Final[Mapping[FactorId, str]] = {
    FactorId.ATTESTATION_KEY: "no attestation key was shown",
    FactorId.PIN: "no pin for this host",
    FactorId.ACTIVATION: "no key was activated",
    FactorId.VENDOR_CHAIN: "no hardware vendor speaks for this host",
    FactorId.PLATFORM_STATE: "no hardware reports how this machine was started",
    FactorId.CODE_MEASUREMENT: "what the host says of its own code is not evidence",
    FactorId.ACCELERATORS: "no accelerator was attested",
}


def fill_absent(factors: tuple[Factor, ...]) -> tuple[Factor, ...]:
    """Name what nothing was shown of, so that a verdict lists every factor of hardware."""
    seen = {factor.factor for factor in factors}
    absent = [
        Factor(factor=factor, status=Status.ABSENT, source=Source.SELF_ASSERTED, reason=reason)
        for factor, reason in _ABSENT_REASONS.items()
        if factor not in seen
    ]
    return tuple(sorted((*factors, *absent), key=lambda factor: factor.number))


def passed(factor: FactorId, source: Source, reason: str) -> Factor:
    """A factor that holds."""
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)


def failed_by(error: VerificationError) -> Factor:
    """The factor that a refusal is about; `binding` where the refusal is of none of them."""
    known = {factor.id: factor for factor in FactorId}
    return Factor(
        factor=known.get(error.factor, FactorId.BINDING),
        status=Status.FAIL,
        source=Source.SELF_ASSERTED,
        reason=error.reason,
    )

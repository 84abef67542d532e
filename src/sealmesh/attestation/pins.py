"""The asker's pins: the hardware key that a host is held to [ST-54]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sealmesh.attestation.factors import Factor, FactorId, Source, Status, passed
from sealmesh.attestation.vendors.base import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An attestation key that the asker holds a host to.

    Attributes:
        fingerprint: SHA-256 of the attestation key, 32 bytes.
        by_hand: Whether a person pinned it, rather than first use.
    """

    fingerprint: bytes
    by_hand: bool


def judge_pin(pin: Pin, findings: Sequence[Finding]) -> Factor:
    """Say whether the pinned key is among those that answered; if not, which key is."""
    if pin_holds(pin, findings):
        reason = "the key that was pinned by hand" if pin.by_hand else "the key that was pinned on first use"
        return passed(FactorId.PIN, Source.PEER_WITNESSED, reason)
    return Factor(
        factor=FactorId.PIN,
        status=Status.FAIL,
        source=Source.PEER_WITNESSED,
        reason=f"its hardware key has changed: {pin.fingerprint.hex()} is pinned, it showed {_shown_keys(findings)}",
    )


def _shown_keys(findings: Sequence[Finding]) -> str:
    return ", ".join(one.fingerprint.hex() for one in findings if one.pinnable) or "none"


def pin_holds(pin: Pin, findings: Sequence[Finding]) -> bool:
    """Whether the pinned key answered. A key that a copy of the disk takes along is no key to pin."""
    return any(finding.pinnable and finding.fingerprint == pin.fingerprint for finding in findings)

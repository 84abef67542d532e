"""What extends a verdict without a nonce of one's own: later evidence by the hardware's own order [ST-24].

A TPM counts its resets, its restarts and its milliseconds, and signs them into every quote; a Secure Enclave's key
counts its assertions. So evidence that is later in that order was made after the live answer, whoever passes it on.
Chips that count nothing (SEV-SNP, TDX, Nitro) extend nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareOrder:
    """Where a piece of evidence stands in its hardware's own order.

    Attributes:
        line: What must be equal for two places to be comparable: a key, and how often its chip was started.
        count: Rising within a line.
        is_time: Whether the count is of milliseconds.
    """

    line: bytes
    count: int
    is_time: bool = False


def confirmed_at(base: HardwareOrder, later: HardwareOrder, *, answered_at: float, issued: float) -> float | None:
    """Return when the later evidence was made at the latest that can be relied on, Unix seconds.

    Args:
        base: Of the evidence that answered the verifier's own nonce.
        later: Of the evidence that came after.
        answered_at: When the nonce was answered, Unix seconds.
        issued: What the later host statement says, Unix seconds.

    Returns:
        None if it is not later by the hardware's own order. By a chip's clock it is no later than that clock has moved:
        a statement that was held back extends a verdict only to when it was made.
    """
    if later.line != base.line or later.count <= base.count:
        return None
    if not later.is_time:
        return issued
    return min(issued, answered_at + (later.count - base.count) / 1000)

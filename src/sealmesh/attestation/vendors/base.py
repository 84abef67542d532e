"""What a verifier of one kind of evidence gets and gives; `sealmesh.attestation.verifier` holds the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.factors import Factor, OperatorBlind, Tier
from sealmesh.attestation.order import HardwareOrder
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement

if TYPE_CHECKING:
    from sealmesh.attestation.vendors.tpm.credential import ActivationTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceInput:
    """One evidence record, and what it has to be held against.

    Attributes:
        record: The evidence itself.
        envelope: All records that came with it: endorsements are stapled by the host.
        binding: What the evidence must sign, 32 bytes.
        statement: The host statement that the binding stands for; a claim until then.
        endpoint_id: The host's, as the connection proved it, 32 bytes.
        policy: The asker's, for vendor tables and lists.
        now: Unix seconds.
    """

    record: Record
    envelope: Envelope
    binding: bytes
    statement: HostStatement
    endpoint_id: bytes
    policy: Policy
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one evidence record came to.

    Attributes:
        tier: What it is worth at most; the registry's ceiling for the type holds all the same.
        factors: What was checked. `BINDING` must be among them, or the record counts for nothing.
        fingerprint: SHA-256 of the attestation key, 32 bytes: the same at every refresh.
        pinnable: Whether the key lives where a copy of the disk does not, so that pinning it means something.
        code_measured: Whether a layer below the code signed the code.
        operator_blind: Whether the owner can read prompts.
        claims: What the evidence says, for people; values in our words or hex.
        order: Where the evidence stands in its hardware's own order, if that has one.
        activation: Whom a credential could be made for, if the key counts as a chip's only once it was activated.
    """

    tier: Tier
    factors: tuple[Factor, ...]
    fingerprint: bytes
    pinnable: bool = False
    code_measured: bool = False
    operator_blind: OperatorBlind = OperatorBlind.NO
    claims: Mapping[str, str] = field(default_factory=dict)
    order: HardwareOrder | None = None
    activation: ActivationTarget | None = None


#: Judges one record. Raises VerificationError where the evidence does not hold; nothing else escapes.
EvidenceVerifier = Callable[[EvidenceInput], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceKind:
    """A row of the registry: who judges a type of evidence, and the most that it can ever be worth.

    Attributes:
        verify_untrusted: Judges one record.
        ceiling: The highest tier that a record of the type can give.
        records_max: Records of the type that one host can have [ST-50].
    """

    verify_untrusted: EvidenceVerifier
    ceiling: Tier
    records_max: int = 1

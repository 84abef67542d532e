"""A TPM's evidence in an envelope: a quote whose extra data is the binding (ATTESTATION.md, Binding and freshness).

Certificates are stapled beside it as endorsements. Whether the key was activated is never in the evidence: it is this
verifier's memory, given to `make_kind`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from sealmesh.attestation._codec import tpm_pb2 as pb
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.order import HardwareOrder
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.tpm.assess import (
    Endorsements,
    Standing,
    TpmPolicy,
    judge_boot,
    judge_standing_untrusted,
    settle,
)
from sealmesh.attestation.vendors.tpm.certificates import SUPPLIED_MAX, parse_certificates_untrusted
from sealmesh.attestation.vendors.tpm.credential import ActivationTarget
from sealmesh.attestation.vendors.tpm.eventlog import parse_boot_log_untrusted
from sealmesh.attestation.vendors.tpm.quote import (
    QuotedRegisters,
    QuoteParts,
    check_extra_data,
    verify_key_untrusted,
    verify_quote_untrusted,
)
from sealmesh.attestation.vendors.tpm.structures import Public, Quote
from sealmesh.errors import VerificationError
from sealmesh.identity.signed import parse_message_untrusted

TYPE: Final = "application/vnd.sealmesh.tpm2"
#: Endorsements: one certificate in DER each, of the endorsement key, of the attestation key, of issuers.
TYPE_EK: Final = "application/vnd.sealmesh.tpm2-ek"
TYPE_AK: Final = "application/vnd.sealmesh.tpm2-ak"
TYPE_CA: Final = "application/vnd.sealmesh.tpm2-ca"

#: Of (SHA-256 of an endorsement key's SubjectPublicKeyInfo, name of an attestation key, Unix seconds): whether this
#: verifier saw the chip with the first activate the second. `credential.ActivationMemory.holds`.
Activated = Callable[[bytes, bytes, float], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmEvidence:
    """The content of a record.

    Attributes:
        ak_public: TPMT_PUBLIC of the attestation key.
        parts: The quote.
        event_log: Boot log, or empty.
    """

    ak_public: bytes
    parts: QuoteParts
    event_log: bytes = b""

    def to_record(self) -> Record:
        """Return the evidence record for an envelope."""
        return Record(type=TYPE, data=self._message().SerializeToString(deterministic=True), role=Role.EVIDENCE)

    @classmethod
    def parse_untrusted(cls, data: bytes) -> TpmEvidence:
        """Read a record's content; unknown fields, other encodings and bytes after the end are refused.

        Raises:
            VerificationError: It is malformed; factor `binding`.
        """
        message = parse_message_untrusted(pb.TpmEvidence, data, factor="binding")
        evidence = cls(
            ak_public=message.ak_public,
            parts=QuoteParts(attest=message.attest, signature=message.signature, values=message.pcr_values),
            event_log=message.event_log,
        )
        if evidence.to_record().data != data:
            raise VerificationError("binding", "TPM evidence that is not in its one encoding")
        return evidence

    def _message(self) -> pb.TpmEvidence:
        return pb.TpmEvidence(
            ak_public=self.ak_public,
            attest=self.parts.attest,
            signature=self.parts.signature,
            pcr_values=self.parts.values,
            event_log=self.event_log,
        )


def make_kind(activated: Activated) -> EvidenceKind:
    """Return the registry's row for a verifier with a memory of its own activations.

    Args:
        activated: That memory.
    """

    def verify_untrusted(evidence: EvidenceInput) -> Finding:
        return verify_tpm_untrusted(evidence, activated=activated)

    return EvidenceKind(verify_untrusted=verify_untrusted, ceiling=Tier.HARDWARE_ROOTED)


def verify_tpm_untrusted(evidence: EvidenceInput, *, activated: Activated) -> Finding:
    """Judge a TPM's record, by the numbered procedure.

    Args:
        evidence: The record, the envelope that it came in, and what it must bind.
        activated: This verifier's memory.

    Raises:
        VerificationError: Something that was shown does not hold.
    """
    shown = TpmEvidence.parse_untrusted(evidence.record.data)
    # 1., 2. The key: restricted, fixed to a TPM, signing.
    public = verify_key_untrusted(shown.ak_public)
    # 3. to 6. Signature, magic and type, signer, registers.
    registers = verify_quote_untrusted(public, shown.parts)
    # 7. It was made for this host statement and no other.
    check_extra_data(registers.quote, evidence.binding)
    # 8. Who stands behind the key: the vendor's word for it, or this verifier's own activation.
    policy = TpmPolicy.read(evidence.policy)
    standing = judge_standing_untrusted(
        public,
        _endorsements_untrusted(evidence.envelope),
        policy,
        activated=lambda endorsement: activated(endorsement, public.name, evidence.now),
        now=evidence.now,
    )
    # 9. How the machine was started, against the policy.
    source = Source.HARDWARE if standing.rooted else Source.SELF_ASSERTED
    log = parse_boot_log_untrusted(shown.event_log) if shown.event_log else None
    boot = judge_boot(registers, log, policy, source=source)
    tier = settle(standing, boot)
    return Finding(
        tier=tier,
        factors=(
            Factor(
                factor=FactorId.BINDING,
                status=Status.PASS,
                source=source,
                reason="the quote was made for this host statement",
            ),
            *standing.factors,
            *boot.factors,
        ),
        fingerprint=fingerprint(public),
        # A chip's key does not move with a copy of the disk; whether it is a chip's is what the pin then rests on.
        pinnable=True,
        code_measured=tier is Tier.HARDWARE_ROOTED and boot.measured,
        claims=describe(standing, registers) | dict(boot.claims),
        order=order_of(public, registers.quote),
        activation=_target(standing, public),
    )


def order_of(public: Public, quote: Quote) -> HardwareOrder:
    """Where a quote stands among those of its key: by its chip's clock, as long as that chip was not started anew."""
    started = quote.resets.to_bytes(4, "big") + quote.restarts.to_bytes(4, "big")
    return HardwareOrder(line=public.name + started, count=quote.clock, is_time=True)


def _target(standing: Standing, public: Public) -> ActivationTarget | None:
    if standing.ek is None or standing.certified:
        return None
    return ActivationTarget(endorsement=standing.ek.key, digest=standing.ek.digest, attestation=public)


def fingerprint(public: Public) -> bytes:
    """SHA-256 of the attestation key's public area, 32 bytes: what a pin holds."""
    return hashlib.sha256(public.raw).digest()


def describe(standing: Standing, registers: QuotedRegisters) -> dict[str, str]:
    """Claims of key and chip, for people."""
    quote = registers.quote
    return {
        **standing.claims,
        "tpm_firmware": f"{quote.firmware:016x}",
        "tpm_resets": str(quote.resets),
        "tpm_restarts": str(quote.restarts),
    }


def _endorsements_untrusted(envelope: Envelope) -> Endorsements:
    """The certificates that were stapled; labels say nothing, types say what each is meant to be."""
    found: dict[str, list[x509.Certificate]] = {TYPE_EK: [], TYPE_AK: [], TYPE_CA: []}
    for _, record in envelope.of_role(Role.ENDORSEMENT):
        if record.type in found:
            found[record.type] += parse_certificates_untrusted(record.data)
    if len(found[TYPE_EK]) > 1 or len(found[TYPE_AK]) > 1 or len(found[TYPE_CA]) > SUPPLIED_MAX:
        raise VerificationError("vendor_chain", "more certificates than one chip has")
    return Endorsements(
        ak=next(iter(found[TYPE_AK]), None), ek=next(iter(found[TYPE_EK]), None), issuers=tuple(found[TYPE_CA])
    )


def _never(endorsement: bytes, name: bytes, now: float) -> bool:  # noqa: ARG001 - a stranger has no memory of either
    return False


#: The row for whoever has no memory: a saved envelope is worth more than the key's own word only with a certified key.
KIND: Final = make_kind(_never)

"""What a host has shown, for people and programs: `GET /v1/mesh/attestation/{model}`."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from sealmesh.attestation.envelope import Envelope, Role
from sealmesh.attestation.factors import Factor
from sealmesh.attestation.vendors import tpm
from sealmesh.attestation.vendors.tpm.evidence import TpmEvidence, fingerprint
from sealmesh.attestation.vendors.tpm.quote import verify_key_untrusted
from sealmesh.attestation.words import tier_words
from sealmesh.client.verify import HostVerifier
from sealmesh.status import FactorStatus, HostAttestation


def attestation_of(verifier: HostVerifier, endpoint_id: bytes, *, name: str, now: float) -> HostAttestation:
    """Describe one host.

    Args:
        verifier: What this node knows of it.
        endpoint_id: The host's, 32 bytes.
        name: What its record calls it.
        now: Unix seconds.
    """
    verdict = verifier.verdict(endpoint_id)
    usable = verifier.verified(endpoint_id, now) is not None
    proof = verifier.export(endpoint_id)
    judged = None if verdict is None else verdict.verdict
    tier, blind = (judged.tier.label, str(judged.operator_blind.value)) if judged else ("none", "no")
    vendor = verdict.claims.get("vendor", "") if verdict else ""
    shown = verifier.fingerprint(endpoint_id)
    return HostAttestation(
        endpoint_id=endpoint_id.hex(),
        name=name,
        usable=usable,
        waiting=not usable and verifier.waiting(endpoint_id),
        refused=() if usable else (verifier.refusals(endpoint_id) or ("not verified yet",)),
        failed_factors=() if usable else factors_of(verifier.failed_factors(endpoint_id)),
        tier=tier,
        meaning=tier_words(tier, blind, vendor=vendor),
        code_measured=judged.code_measured if judged else False,
        operator_blind=blind,
        vendor=vendor,
        fingerprint=shown.hex() if shown is not None else "",
        factors=factors_of(judged.factors) if judged else (),
        claims=dict(verdict.claims) if verdict else {},
        backend=verdict.statement.backend if verdict else "",
        measurement=verdict.statement.measurement.hex() if verdict else "",
        accelerators=verdict.statement.accelerators if verdict else (),
        verified_at=verdict.verified_at if verdict else None,
        confirmed_at=verdict.confirmed_at if verdict else None,
        expires=verdict.expires if verdict else None,
        evidence_digest=verdict.evidence_digest.hex() if verdict else "",
        proof=base64.b64encode(proof).decode() if proof is not None else None,
    )


def factors_of(factors: Iterable[Factor]) -> tuple[FactorStatus, ...]:
    """Factors for people and programs."""
    return tuple(
        FactorStatus(number=one.number, id=one.id, status=one.status.value, source=one.source.value, reason=one.reason)
        for one in factors
    )


def own_hardware_key(envelope: bytes) -> str:
    """The fingerprint of the key with which this host's own TPM signed its evidence, hex; "" where it has none."""
    for _, record in Envelope.parse_untrusted(envelope).of_role(Role.EVIDENCE):
        if record.type == tpm.TYPE:
            return fingerprint(verify_key_untrusted(TpmEvidence.parse_untrusted(record.data).ak_public)).hex()
    return ""

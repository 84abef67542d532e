"""Secure Enclave keys without Apple's word: a P-256 key that says of itself that it cannot be copied.

A program can make such a key too, so the record is `self-asserted`. It differs from a software key in one thing: the
asker may pin it, by hand or on first use, for on a Mac the same key answers at every refresh.
"""

from __future__ import annotations

import hashlib
from typing import Final

import cbor2
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.cbor_map import check_keys, read_map_untrusted, take_bytes
from sealmesh.errors import VerificationError
from sealmesh.identity.signed import Label, signed_bytes

TYPE: Final = "application/vnd.sealmesh.secure-enclave"
LABEL: Final = "secure-enclave"
PUBLIC_BYTES: Final = 65

_WHAT: Final = "the Secure Enclave's record"
_RECORD_MAX: Final = 256  # a key, and a DER signature of 72 bytes at most
_FIELDS: Final = frozenset({"public_key", "signature"})


def make_record(public: bytes, signature: bytes) -> Record:
    """Return the evidence record of a Secure Enclave key.

    Args:
        public: Uncompressed point, 65 bytes.
        signature: ECDSA with SHA-256, DER, over `message(binding)`.
    """
    content = {"public_key": public, "signature": signature}
    return Record(type=TYPE, data=cbor2.dumps(content, canonical=True), role=Role.EVIDENCE)


def message(binding: bytes) -> bytes:
    """Return what the key signs for a binding."""
    return signed_bytes(Label.EVIDENCE, binding)


def verify_enclave_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a Secure Enclave key's record.

    Raises:
        VerificationError: It does not hold; factor `binding`.
    """
    content = read_map_untrusted(evidence.record.data, what=_WHAT, maximum=_RECORD_MAX)
    check_keys(content, _FIELDS, what=_WHAT)
    public = take_bytes(content, "public_key", what=_WHAT, length=PUBLIC_BYTES)
    check_key_signed_untrusted(public, take_bytes(content, "signature", what=_WHAT), message(evidence.binding))
    return Finding(
        tier=Tier.SELF_ASSERTED,
        factors=(
            _said(FactorId.BINDING, "a P-256 key signed this host statement"),
            _said(FactorId.ATTESTATION_KEY, "the host says that the key is in a Secure Enclave; nobody else does"),
        ),
        fingerprint=hashlib.sha256(public).digest(),
        pinnable=True,
        claims={"attestation_key": public.hex()},
    )


KIND: Final = EvidenceKind(verify_untrusted=verify_enclave_untrusted, ceiling=Tier.SELF_ASSERTED)


def check_key_signed_untrusted(public: bytes, signature: bytes, signed: bytes) -> None:
    """Refuse what a P-256 key did not sign.

    Raises:
        VerificationError: Factor `binding`.
    """
    if len(public) != PUBLIC_BYTES or public[0] != 0x04:
        raise VerificationError("binding", "a P-256 key is an uncompressed point of 65 bytes")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("binding", "the Secure Enclave's key did not sign this") from error


def _said(factor: FactorId, reason: str) -> Factor:
    return Factor(factor=factor, status=Status.PASS, source=Source.SELF_ASSERTED, reason=reason)

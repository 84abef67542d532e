"""A software key as evidence: it shows that somebody who holds the key vouches for a host statement, and no more.

Whatever such a blob claims of hardware, a program could have signed it; so it is never worth more than
`self-asserted` (attack A06; docs/spec/statements.md, Software keys) [ST-43].
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.errors import VerificationError
from sealmesh.identity.keys import EndpointKey
from sealmesh.identity.signed import Label, Signed, parse_message_untrusted, signed_bytes, verify_signed_untrusted

TYPE: Final = "application/vnd.sealmesh.software-key"
LABEL: Final = "software-key"
_RECORD_MAX: Final = 256  # a key of 65 bytes and a DER signature of 72 at most, with room
_P256_PUBLIC_BYTES: Final = 65


class Algorithm(enum.IntEnum):
    """How the record is signed."""

    ED25519 = 1  # by the endpoint's own key
    P256 = 2  # ECDSA with SHA-256, DER; the kind of key that a Secure Enclave or TPM would have


def make_record(key: EndpointKey, binding: bytes) -> Record:
    """Return the evidence record of a node without hardware: its endpoint key signs the binding [ST-41].

    Args:
        key: The node's endpoint key.
        binding: From `statement.binding`, 32 bytes.
    """
    evidence = pb.SoftwareEvidence(
        algorithm=Algorithm.ED25519, public_key=key.public, signature=key.sign(Label.EVIDENCE, binding)
    )
    return Record(type=TYPE, data=evidence.SerializeToString(deterministic=True), role=Role.EVIDENCE)


def make_p256_record(key: ec.EllipticCurvePrivateKey, binding: bytes) -> Record:
    """Return the evidence record of a P-256 key that no vendor speaks for [ST-42]."""
    numbers = key.public_key().public_numbers()
    public = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    evidence = pb.SoftwareEvidence(
        algorithm=Algorithm.P256,
        public_key=public,
        signature=key.sign(signed_bytes(Label.EVIDENCE, binding), ec.ECDSA(SHA256())),
    )
    return Record(type=TYPE, data=evidence.SerializeToString(deterministic=True), role=Role.EVIDENCE)


def verify_software_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a software key's record [ST-40].

    Raises:
        VerificationError: It is malformed, or the key did not sign this binding; factor `binding`.
    """
    if len(evidence.record.data) > _RECORD_MAX:
        raise VerificationError("binding", "a software key's record is too long")
    message = parse_message_untrusted(pb.SoftwareEvidence, evidence.record.data, factor="binding")
    match message.algorithm:
        case Algorithm.ED25519:
            _verify_endpoint_key(message, evidence)
            word = "the node's own key, in software: it shows no hardware"
        case Algorithm.P256:
            _verify_p256(message, evidence.binding)
            word = "a P-256 key that no vendor speaks for: it shows no hardware"
        case _:
            raise VerificationError("binding", "a software key of an unknown algorithm")
    return Finding(
        tier=Tier.SELF_ASSERTED,
        factors=(
            Factor(
                factor=FactorId.BINDING,
                status=Status.PASS,
                source=Source.SELF_ASSERTED,
                reason="a software key signed this host statement",
            ),
            Factor(factor=FactorId.ATTESTATION_KEY, status=Status.PASS, source=Source.SELF_ASSERTED, reason=word),
        ),
        fingerprint=hashlib.sha256(message.public_key).digest(),
        # A program can copy the key to anywhere, so pinning it would show nothing that the endpoint id does not.
        pinnable=False,
        claims={"attestation_key": message.public_key.hex()},
    )


def _verify_endpoint_key(message: pb.SoftwareEvidence, evidence: EvidenceInput) -> None:
    if message.public_key != evidence.endpoint_id:
        # [ST-41] Otherwise a saved envelope could show anyone's key vouching for somebody else's endpoint id.
        raise VerificationError("binding", "the Ed25519 key of the evidence is not the endpoint's own")
    signed = Signed(part=evidence.binding, signature=message.signature)
    verify_signed_untrusted(message.public_key, Label.EVIDENCE, signed, factor="binding")


def _verify_p256(message: pb.SoftwareEvidence, binding: bytes) -> None:
    if len(message.public_key) != _P256_PUBLIC_BYTES or message.public_key[0] != 0x04:
        raise VerificationError("binding", "a P-256 key is an uncompressed point of 65 bytes")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), message.public_key)
        key.verify(message.signature, signed_bytes(Label.EVIDENCE, binding), ec.ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("binding", "the P-256 signature does not hold") from error


KIND: Final = EvidenceKind(verify_untrusted=verify_software_untrusted, ceiling=Tier.SELF_ASSERTED)

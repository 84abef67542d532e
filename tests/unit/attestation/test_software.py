"""Software keys as evidence: they hold for what they signed, and are worth little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from kit.attested import NOW, ProvenHost
from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement, binding
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.base import EvidenceInput
from sealmesh.errors import VerificationError

P256 = ec.derive_private_key(1234567, ec.SECP256R1())


def given(record: Record) -> EvidenceInput:
    host = ProvenHost()
    data = host.statement().encode()
    return EvidenceInput(
        record=record,
        envelope=Envelope(records={"a": record}),
        binding=binding(data),
        statement=HostStatement.parse_untrusted(data),
        endpoint_id=host.endpoint_id,
        policy=Policy(),
        now=NOW,
    )


def ed25519(bound: bytes) -> Record:
    return software.make_record(ProvenHost().endpoint_key, bound)


def p256(bound: bytes) -> Record:
    return software.make_p256_record(P256, bound)


def bound() -> bytes:
    return binding(ProvenHost().statement().encode())


@pytest.mark.parametrize("make", [ed25519, p256])
def test_a_software_key_holds_for_its_binding(make: Callable[[bytes], Record]) -> None:
    finding = software.verify_software_untrusted(given(make(bound())))
    assert (finding.tier, finding.pinnable, finding.code_measured) == (Tier.SELF_ASSERTED, False, False)
    assert {one.factor: one.status for one in finding.factors} == {
        FactorId.BINDING: Status.PASS,
        FactorId.ATTESTATION_KEY: Status.PASS,
    }
    assert len(finding.fingerprint) == 32


@pytest.mark.parametrize("make", [ed25519, p256])
def test_it_does_not_hold_for_another_binding(make: Callable[[bytes], Record]) -> None:
    with pytest.raises(VerificationError, match="binding"):
        software.verify_software_untrusted(given(make(b"o" * 32)))


def changed(make: Callable[[bytes], Record], **changes: object) -> Record:
    message = pb.SoftwareEvidence.FromString(make(bound()).data)
    for name, value in changes.items():
        setattr(message, name, value)
    return Record(type=software.TYPE, data=message.SerializeToString(), role=Role.EVIDENCE)


@pytest.mark.parametrize(
    "record",
    [
        changed(ed25519, algorithm=0),
        changed(ed25519, algorithm=3),
        changed(ed25519, algorithm=2),
        changed(p256, algorithm=1),
        changed(ed25519, signature=b""),
        changed(ed25519, signature=bytes(64)),
        changed(p256, signature=b""),
        changed(p256, signature=b"\x30\x06\x02\x01\x00\x02\x01\x00"),
        changed(p256, public_key=b"\x04" + bytes(64)),
        changed(p256, public_key=b"\x02" + b"x" * 32),
        changed(p256, public_key=b""),
        replace(ed25519(bound()), data=b"\xff"),
        replace(ed25519(bound()), data=b"\x00" * 257),
        replace(ed25519(bound()), data=b""),
    ],
)
def test_malformed_records_are_refused(record: Record) -> None:
    with pytest.raises(VerificationError, match="binding"):
        software.verify_software_untrusted(given(record))


def test_a_strangers_ed25519_key_vouches_for_nobody() -> None:
    with pytest.raises(VerificationError, match="not the endpoint's own"):
        software.verify_software_untrusted(given(software.make_record(ProvenHost("other").endpoint_key, bound())))


def test_p256_signs_under_the_evidence_label() -> None:
    # The bare binding is what real hardware signs in other formats; such a signature is none of ours.
    bare = P256.sign(bound(), ec.ECDSA(SHA256()))
    with pytest.raises(VerificationError, match="does not hold"):
        software.verify_software_untrusted(given(changed(p256, signature=bare)))

"""A06 for AWS Nitro: a software key in a hypervisor's document, and a home-made AWS with all the right names."""

from __future__ import annotations

import datetime

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from kit.guests import NITRO_NOW, nitro_document, raw
from sealmesh.attestation.vendors import nitro
from sealmesh.attestation.vendors.ec_chain import verify_chain_untrusted
from sealmesh.attestation.vendors.nitro_document import parse_document_untrusted
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError

GENUINE = parse_document_untrusted(nitro_document())
KEYS = [ec.derive_private_key(0xA500 + number, ec.SECP384R1()) for number in range(6)]


def sign_document(leaf: bytes, bundle: tuple[bytes, ...], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A document with the sample's registers, as the hypervisor would write it."""
    payload = cbor2.dumps(
        {
            "module_id": GENUINE.module,
            "digest": "SHA384",
            "timestamp": int(NITRO_NOW * 1000),
            "pcrs": dict(GENUINE.pcrs),
            "certificate": leaf,
            "cabundle": list(bundle),
            "public_key": None,
            "user_data": b"b" * 32,
            "nonce": None,
        }
    )
    r, s = decode_dss_signature(
        key.sign(cbor2.dumps(["Signature1", bytes.fromhex("a1013822"), b"", payload]), ec.ECDSA(SHA384()))
    )
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return bytes.fromhex("8444a1013822a0") + cbor2.dumps(payload) + cbor2.dumps(signature)


def home_made() -> tuple[bytes, ...]:
    """AWS's chain from the root down with other keys: names, times, extensions copied from the genuine one."""
    genuine = [x509.load_der_x509_certificate(one) for one in (*GENUINE.bundle, GENUINE.leaf)]
    chain = []
    for number, one in enumerate(genuine):
        builder = (
            x509.CertificateBuilder()
            .subject_name(one.subject)
            .issuer_name(one.issuer)
            .public_key(KEYS[number].public_key())
            .serial_number(number + 1)
            .not_valid_before(one.not_valid_before_utc.replace(tzinfo=datetime.UTC))
            .not_valid_after(one.not_valid_after_utc.replace(tzinfo=datetime.UTC))
        )
        for extension in one.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        signed = builder.sign(KEYS[max(number - 1, 0)], SHA384())
        chain.append(signed.public_bytes(Encoding.DER))
    return tuple(chain)


def refusal(data: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        nitro.judge_nitro_untrusted(raw(data, NITRO_NOW))
    return caught.value


def test_a_software_key_signs_a_document_with_a_genuine_chain() -> None:
    error = refusal(sign_document(GENUINE.leaf, GENUINE.bundle, KEYS[0]))
    assert (error.factor, error.reason) == ("attestation_key", "the hypervisor's key did not sign this document")


def test_a_home_made_aws_with_the_right_names() -> None:
    *bundle, leaf = home_made()
    assert refusal(sign_document(leaf, tuple(bundle), KEYS[len(bundle)])).factor == "vendor_chain"


def test_a_home_made_aws_under_the_genuine_root() -> None:
    _, *rest, leaf = home_made()
    bundle = (load_root("aws", "nitro_root.pem"), *rest)
    assert refusal(sign_document(leaf, bundle, KEYS[len(bundle)])).factor == "vendor_chain"


def test_the_forgery_is_good_but_for_its_root() -> None:
    """Else the tests above would hold for another reason."""
    root, *between, leaf = home_made()
    found = verify_chain_untrusted((leaf, *reversed(between)), root=root, now=NITRO_NOW)
    document = parse_document_untrusted(sign_document(leaf, (root, *between), KEYS[4]))
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    nitro.check_signature(document, key)

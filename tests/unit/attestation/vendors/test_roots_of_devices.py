"""The pinned roots of Apple and NVIDIA are the ones that their vendors name."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509

from sealmesh.attestation.vendors.roots import TABLES, check_pin, load_root
from sealmesh.errors import LocalProtocolError

#: Written here a second time, so that a row cannot change together with its file and nobody notice.
#: Apple: apple.com/certificateauthority, "App Attestation Root CA", "Enterprise Attestation Root CA".
ROOTS = {
    ("apple", "app_attestation_root.pem"): (
        "1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932",
        "Apple App Attestation Root CA",
    ),
    ("apple", "enterprise_attestation_root.pem"): (
        "ccf59ef8fcb3017d97f8b5fa6fa90e7a3f9283f76b55ac6cf6eda8b8b949f05b",
        "Apple Enterprise Attestation Root CA",
    ),
    ("nvidia", "device_identity_root.pem"): (
        "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
        "NVIDIA Device Identity CA",
    ),
}


@pytest.mark.parametrize(("vendor", "name"), list(ROOTS))
def test_the_roots_are_the_vendors(vendor: str, name: str) -> None:
    digest, words = ROOTS[vendor, name]
    root = load_root(vendor, name)
    assert hashlib.sha256(root).hexdigest() == TABLES[vendor][name] == digest
    certificate = x509.load_der_x509_certificate(root)
    assert certificate.subject == certificate.issuer
    assert words in certificate.subject.rfc4514_string()
    certificate.verify_directly_issued_by(certificate)


def test_no_other_root_is_trusted() -> None:
    assert {(vendor, name) for vendor in ("apple", "nvidia") for name in TABLES[vendor]} == set(ROOTS)


def test_one_of_apples_roots_in_place_of_the_other() -> None:
    with pytest.raises(LocalProtocolError, match="not the one that is pinned"):
        check_pin(load_root("apple", "app_attestation_root.pem"), TABLES["apple"]["enterprise_attestation_root.pem"])

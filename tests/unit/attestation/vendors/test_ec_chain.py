"""Chains of devices: the walk from a pinned root, and what it refuses."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA224

from kit.attested import NOW
from kit.vendor_certs import DAY, Issuer, der, make_key
from sealmesh.attestation.vendors.der import read_certificate_untrusted
from sealmesh.attestation.vendors.ec_chain import extension, leaf_key, verify_chain_untrusted
from sealmesh.errors import VerificationError

ROOT = Issuer.root("A Root")
OTHER = Issuer.root("A Root", seed="another")
MIDDLE = ROOT.below("A Middle", path_length=0)
KEY = make_key("leaf", ec.SECP256R1())
OID = "1.2.3.4"
LEAF_OF_NO_VERSION = MIDDLE.leaf(KEY, {})[0].replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x22")


def walk(chain: tuple[bytes, ...], *, root: Issuer = ROOT, now: float = NOW) -> x509.Certificate:
    return verify_chain_untrusted(chain, root=der(root.certificate), now=now)


def test_a_chain_holds_with_and_without_its_root() -> None:
    chain = MIDDLE.leaf(KEY, {OID: b"value"})
    for given in (chain, chain[:-1]):
        leaf = walk(given)
        assert der(leaf) == chain[0]
        assert extension(leaf, x509.ObjectIdentifier(OID)) == b"value"
        assert extension(leaf, x509.ObjectIdentifier("1.2.3.5")) is None
        assert leaf_key(leaf, ec.SECP256R1).public_numbers() == KEY.public_key().public_numbers()
        with pytest.raises(VerificationError, match="attestation_key"):
            leaf_key(leaf, ec.SECP384R1)


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ((), "no leaf"),
        (MIDDLE.leaf(KEY, {})[2:], "no leaf"),
        (MIDDLE.leaf(KEY, {})[:1], "not signed"),
        (OTHER.below("A Middle").leaf(KEY, {}), "not signed"),
        (OTHER.below("A Middle").leaf(KEY, {})[:-1], "not signed"),
        (MIDDLE.leaf(KEY, {}, issued=NOW + 1), "not valid at this time"),
        (MIDDLE.leaf(KEY, {}, issued=NOW - 4 * DAY), "not valid at this time"),
        (MIDDLE.leaf(KEY, {OID: b""}, critical=True), "not understood"),
        (MIDDLE.below("too deep").leaf(KEY, {}), "longer than"),
        (ROOT.below("no issuer", ca=False).leaf(KEY, {}), "may not issue"),
        (ROOT.below("a ca").above, "not for signing"),
        ((b"", *MIDDLE.above), "cannot be read"),
        ((MIDDLE.leaf(KEY, {})[0] + b"\x00", *MIDDLE.above), "cannot be read"),
        ((MIDDLE.leaf(KEY, {})[0][:-1], *MIDDLE.above), "cannot be read"),
        (
            (MIDDLE.leaf(KEY, {})[0].replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x22"), *MIDDLE.above),
            "cannot be read",
        ),
        ((b"x" * 9000, *MIDDLE.above), "too long"),
        (MIDDLE.leaf(KEY, {}) * 4, "too long"),
        (ROOT.below("weak", curve=ec.SECP521R1()).leaf(KEY, {}), "P-256 or P-384"),
    ],
)
def test_what_is_no_chain_to_the_root_is_refused(chain: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(VerificationError, match="vendor_chain") as caught:
        walk(chain)
    assert why in caught.value.reason


def test_a_chain_holds_to_the_last_second() -> None:
    chain = MIDDLE.leaf(KEY, {}, issued=NOW, lifetime=DAY)
    for now in (NOW, NOW + DAY):
        walk(chain, now=now)
    for now in (NOW - 1, NOW + DAY + 1):
        with pytest.raises(VerificationError, match="not valid at this time"):
            walk(chain, now=now)


def test_a_certificate_has_one_form() -> None:
    # The count of unused bits of its signature is covered by none; a signature that ends in a zero bit would bear 1.
    leaf = next(one for one in (MIDDLE.leaf(KEY, {OID: bytes([n])})[0] for n in range(64)) if one[-1] % 2 == 0)
    walk((leaf, *MIDDLE.above))
    length = len(x509.load_der_x509_certificate(leaf).signature)
    other = leaf[: -length - 1] + b"\x01" + leaf[-length:]
    x509.load_der_x509_certificate(other)  # takes it
    with pytest.raises(VerificationError, match="not in whole bytes"):
        walk((other, *MIDDLE.above))


def by_another_hash(data: bytes, issuer: Issuer) -> bytes:
    """The certificate, named and signed anew by its issuer with SHA-224, which makes a signature that holds."""
    sha384, sha224 = (bytes.fromhex("06082a8648ce3d0403" + one) for one in ("03", "01"))
    read = read_certificate_untrusted(data)
    signed = read.signed.replace(sha384, sha224)
    signature = b"\x00" + issuer.key.sign(signed, ec.ECDSA(SHA224()))
    content = signed + read.algorithm.replace(sha384, sha224) + bytes([3, len(signature)]) + signature
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def test_a_certificate_signed_by_another_hash_is_refused() -> None:
    changed = by_another_hash(MIDDLE.leaf(KEY, {})[0], MIDDLE)
    x509.load_der_x509_certificate(changed).verify_directly_issued_by(MIDDLE.certificate)  # the library takes it
    with pytest.raises(VerificationError, match="another hash than"):
        walk((changed, *MIDDLE.above))

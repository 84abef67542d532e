"""Chains of TPMs' certificates: our own walk, from pinned roots down."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from kit.attested import NOW
from kit.tpm import EK_PURPOSE, END, OTHER_PURPOSE, START, ModelTpm, Vendor, der, p256, p384, pem, rsa_key
from sealmesh.attestation.policy import TPM_VENDORS
from sealmesh.attestation.vendors.der import read_certificate_untrusted
from sealmesh.attestation.vendors.roots import TPM, load_root
from sealmesh.attestation.vendors.tpm.certificates import (
    SUPPLIED_MAX,
    VENDORS,
    Use,
    _pinned,
    check_use,
    parse_certificates_untrusted,
    signed_by_strong_hash,
    verify_endorsement_untrusted,
)
from sealmesh.errors import VerificationError

GCE = Path(__file__).parents[4] / "testvectors/evidence/gce"
VENDOR = Vendor()
CHIP = ModelTpm()


def verify(leaf: x509.Certificate, *supplied: x509.Certificate, use: Use = Use.EK, now: float = NOW) -> str:
    return verify_endorsement_untrusted(
        leaf, use=use, supplied=supplied, extra_roots=(VENDOR.root,), vendors=None, now=now
    ).vendor


def gce(name: str) -> x509.Certificate:
    return parse_certificates_untrusted((GCE / name).read_bytes())[0]


def test_every_shipped_certificate_is_pinned_and_leads_to_a_root() -> None:
    trusted = {one.certificate.fingerprint(hashes.SHA256()).hex() for one in _pinned()}
    assert trusted == set(TPM.values())
    assert {one.vendor for one in _pinned()} == VENDORS == TPM_VENDORS == {"google", "infineon", "intel", "stm"}
    assert not [one for one in _pinned() if not isinstance(one.certificate.signature_hash_algorithm, HASHES)]


HASHES = (hashes.SHA256, hashes.SHA384)


def test_real_certificates_of_both_uses() -> None:
    for use, name, other in (
        (Use.AK, "pca_tpm_ecc_sign_cert.pem", Use.EK),
        (Use.EK, "pca_tpm_ecc_enc_cert.pem", Use.AK),
    ):
        found = verify_endorsement_untrusted(gce(name), use=use, now=NOW)
        assert found.vendor == "google"
        assert found.key == gce(name).public_key()
        with pytest.raises(VerificationError, match="does not say that its key is"):
            verify_endorsement_untrusted(gce(name), use=other, now=NOW)


def test_real_certificates_outside_their_time() -> None:
    for moment in (datetime.datetime(2022, 11, 22), datetime.datetime(2052, 11, 17)):
        now = moment.replace(tzinfo=datetime.UTC).timestamp()
        with pytest.raises(VerificationError, match="not valid at this time") as refused:
            verify_endorsement_untrusted(gce("pca_tpm_ecc_sign_cert.pem"), use=Use.AK, now=now)
        assert refused.value.factor == "vendor_chain"


def test_a_vendor_that_the_asker_does_not_take() -> None:
    leaf = gce("pca_tpm_ecc_sign_cert.pem")
    assert verify_endorsement_untrusted(leaf, use=Use.AK, vendors=["google"], now=NOW).vendor == "google"
    for vendors in (["infineon"], []):
        with pytest.raises(VerificationError, match="pinned root"):
            verify_endorsement_untrusted(leaf, use=Use.AK, vendors=vendors, now=NOW)


def test_an_endorsement_key_under_a_root_of_the_askers_own() -> None:
    assert verify(VENDOR.ek(CHIP), VENDOR.issuer) == "extra"
    assert verify(VENDOR.ek(ModelTpm(ek=p384("ek"))), VENDOR.issuer) == "extra"
    for leaf, supplied in ((VENDOR.ek(CHIP), ()), (VENDOR.ek(CHIP), (VENDOR.root,))):
        with pytest.raises(VerificationError, match="pinned root"):
            verify(leaf, *supplied)


def test_a_root_that_a_stranger_supplies_is_no_root() -> None:
    with pytest.raises(VerificationError, match="pinned root"):
        verify_endorsement_untrusted(
            VENDOR.ek(CHIP), use=Use.EK, supplied=(VENDOR.issuer, VENDOR.root), extra_roots=(), now=NOW
        )


def test_uses() -> None:
    for leaf, use in (
        (VENDOR.ek(CHIP, purposes=[OTHER_PURPOSE]), Use.EK),
        (VENDOR.ek(CHIP, usage={"digital_signature": True}), Use.EK),
        (VENDOR.ek(CHIP, usage=None), Use.EK),
        (VENDOR.ak(CHIP, usage=None), Use.AK),
        (VENDOR.ak(CHIP, usage={"key_agreement": True}), Use.AK),
    ):
        with pytest.raises(VerificationError, match="does not say that its key is"):
            verify(leaf, VENDOR.issuer, use=use)
    assert verify(VENDOR.ak(CHIP), VENDOR.issuer, use=Use.AK) == "extra"
    assert verify(VENDOR.ek(CHIP, purposes=[]), VENDOR.issuer) == "extra"


def test_leaves_that_are_authorities_or_demand_the_unknown() -> None:
    with pytest.raises(VerificationError, match="an authority's"):
        verify(VENDOR.issuer, use=Use.AK)
    odd = VENDOR.ek(CHIP, critical=x509.ObjectIdentifier("1.2.3.4"))
    with pytest.raises(VerificationError, match="not understood"):
        verify(odd, VENDOR.issuer)


def test_issuers_that_may_not_issue() -> None:
    key = VENDOR.issuer_key.public_key()
    names = (f"{VENDOR.name} Issuer", f"{VENDOR.name} Root", VENDOR.key)
    for issuer in (
        VENDOR.certify(key, *names),
        VENDOR.certify(key, *names, constraints=False),
        VENDOR.certify(key, *names, ca=True, usage={"digital_signature": True}),
        VENDOR.certify(key, *names, ca=True, critical=x509.ObjectIdentifier("1.2.3.4")),
        VENDOR.certify(key, names[0], names[1], p384("another root"), ca=True),
    ):
        with pytest.raises(VerificationError, match="pinned root"):
            verify(VENDOR.ek(CHIP), issuer)


def test_an_issuer_below_one_that_may_have_none_below() -> None:
    below = VENDOR.certify(p256("below").public_key(), "Below", "Acme TPM Issuer", VENDOR.issuer_key, ca=True)
    usage = {"key_encipherment": True}
    leaf = VENDOR.certify(rsa_key("x").public_key(), "", "Below", p256("below"), usage=usage, purposes=[EK_PURPOSE])
    with pytest.raises(VerificationError, match="pinned root"):
        verify(leaf, VENDOR.issuer, below)
    names = (f"{VENDOR.name} Issuer", f"{VENDOR.name} Root", VENDOR.key)
    free = VENDOR.certify(VENDOR.issuer_key.public_key(), *names, ca=True, path_length=1)
    assert verify(leaf, below, free) == "extra"


def test_every_certificate_of_a_path_has_its_time() -> None:
    day = datetime.timedelta(days=1)
    names = (f"{VENDOR.name} Issuer", f"{VENDOR.name} Root", VENDOR.key)
    late = VENDOR.certify(VENDOR.issuer_key.public_key(), *names, ca=True, start=END - 2 * day, end=END - day)
    leaf = VENDOR.ek(CHIP)
    for now in (START, END - 3 * day, END):
        with pytest.raises(VerificationError, match="not valid at this time"):
            verify(leaf, late, now=now.timestamp())
    assert verify(leaf, late, now=(END - 1.5 * day).timestamp()) == "extra"
    with pytest.raises(VerificationError, match="not valid at this time"):
        verify(VENDOR.ek(CHIP, end=START + day), VENDOR.issuer)


def test_weak_keys() -> None:
    leaf = VENDOR.ek(ModelTpm(ek=rsa_key("weak", 1024)))
    with pytest.raises(VerificationError, match="kind or size"):
        verify(leaf, VENDOR.issuer)


def test_reading() -> None:
    assert parse_certificates_untrusted(pem(VENDOR.root, VENDOR.issuer)) == (VENDOR.root, VENDOR.issuer)
    assert parse_certificates_untrusted(der(VENDOR.root)) == (VENDOR.root,)
    for data, words in (
        (b"", "malformed"),
        (der(VENDOR.root) + b"\0", "malformed"),
        (der(VENDOR.root)[:-1], "malformed"),
        (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "malformed"),
        (pem(*[VENDOR.root] * (SUPPLIED_MAX + 1)), "too many"),
        (bytes(1 << 20), "too long"),
    ):
        with pytest.raises(VerificationError, match=words):
            parse_certificates_untrusted(data)
    with pytest.raises(VerificationError, match="too many"):
        verify(VENDOR.ek(CHIP), *[VENDOR.issuer] * (SUPPLIED_MAX + 1))


def test_every_byte_of_a_leaf_is_covered() -> None:
    leaf = der(VENDOR.ek(ModelTpm(ek=p256("ek"))))
    assert verify(*parse_certificates_untrusted(leaf), VENDOR.issuer)
    for position in range(len(leaf)):
        changed = leaf[:position] + bytes([leaf[position] ^ 1 << position % 8]) + leaf[position + 1 :]
        with pytest.raises(VerificationError):
            verify(*parse_certificates_untrusted(changed), VENDOR.issuer)


def test_the_pinned_files_are_those_of_the_table() -> None:
    for name, digest in TPM.items():
        certificate = x509.load_der_x509_certificate(load_root("tpm", name))
        assert certificate.fingerprint(hashes.SHA256()).hex() == digest


def test_bits_of_a_signature_that_are_said_to_be_unused() -> None:
    """The last field of a certificate says how many; the library verifies without looking at it."""
    for number in range(400):
        tpm = ModelTpm(ek=p256(f"ek {number}"))
        leaf = VENDOR.ek(tpm)
        if leaf.signature[-1] & 1 == 0:
            break
    data = bytearray(der(leaf))
    data[-len(leaf.signature) - 1] = 1
    changed = parse_certificates_untrusted(bytes(data))[0]
    changed.verify_directly_issued_by(VENDOR.issuer)
    assert verify(leaf, VENDOR.issuer) == "extra"
    with pytest.raises(VerificationError, match="pinned root"):
        verify(changed, VENDOR.issuer)


def test_a_negative_serial_number_is_read_without_a_word() -> None:
    leaf = der(VENDOR.ek(CHIP))
    at = leaf.index(b"\x02\x08") + 2
    changed = leaf[:at] + bytes([leaf[at] | 0x80]) + leaf[at + 1 :]
    with pytest.raises(VerificationError):
        verify(*parse_certificates_untrusted(changed), VENDOR.issuer)


def test_an_attestation_key_under_a_vendor_that_only_makes_endorsement_keys() -> None:
    plain, named = VENDOR.ak(CHIP, purposes=[]), VENDOR.ak(CHIP)
    check_use(plain, Use.AK, certifies_ak=True)
    check_use(named, Use.AK, certifies_ak=False)
    with pytest.raises(VerificationError, match="attestation key"):
        check_use(plain, Use.AK, certifies_ak=False)
    assert {one.vendor for one in _pinned() if one.certifies_ak} == {"google"}


def test_a_chain_signed_by_sha1() -> None:
    """Made by hand, as the library signs none: the ids exchanged, the body signed again."""
    issuer = rsa_key("issuer")
    names = ("", "Old Root", issuer)
    root = VENDOR.certify(issuer.public_key(), "Old Root", *names[1:], ca=True)
    leaf = VENDOR.certify(CHIP.ek.public_key(), *names, usage={"key_encipherment": True}, purposes=[EK_PURPOSE])  # type: ignore[union-attr]
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    assert der(leaf).count(sha256) == 2
    body = leaf.tbs_certificate_bytes.replace(sha256, sha1)
    head = der(leaf)[: der(leaf).index(leaf.tbs_certificate_bytes)]
    tail = der(leaf)[len(head) + len(body) : -256].replace(sha256, sha1)
    old = parse_certificates_untrusted(head + body + tail + issuer.sign(body, padding.PKCS1v15(), hashes.SHA1()))[0]
    assert (signed_by_strong_hash(leaf), signed_by_strong_hash(old)) == (True, False)
    assert verify_endorsement_untrusted(leaf, use=Use.EK, extra_roots=(root,), now=NOW).vendor == "extra"
    with pytest.raises(VerificationError, match="pinned root"):
        verify_endorsement_untrusted(old, use=Use.EK, extra_roots=(root,), now=NOW)


def of_the_year_0(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate with its first time as a GeneralizedTime of the year 0: loads, and has no time."""
    data = der(certificate)
    place = data.index(b"\x17\x0d250101000000Z")
    changed = data[:place] + b"\x18\x0f00000101000000Z" + data[place + 15 :]
    for at in (place - 1, *(start + length - 1 for start, length in ((4, 4), (0, 4)))):
        width = 1 if at == place - 1 else 2
        grown = int.from_bytes(changed[at + 1 - width : at + 1], "big") + 2
        changed = changed[: at + 1 - width] + grown.to_bytes(width, "big") + changed[at + 1 :]
    return parse_certificates_untrusted(changed)[0]


def test_a_certificate_without_readable_times_is_refused() -> None:
    with pytest.raises(VerificationError, match="no readable times"):
        verify_endorsement_untrusted(
            VENDOR.ek(CHIP), use=Use.EK, supplied=(VENDOR.issuer,), extra_roots=(of_the_year_0(VENDOR.root),), now=NOW
        )


def test_a_certificate_signed_by_another_hash_leads_nowhere() -> None:
    """By SHA-224 here: a signature that holds, that the library takes, and that nobody should make any more."""
    sha256, sha224 = (bytes.fromhex("06082a8648ce3d0403" + one) for one in ("02", "01"))
    read = read_certificate_untrusted(der(VENDOR.ek(CHIP)))
    signed = read.signed.replace(sha256, sha224)
    signature = b"\x00" + VENDOR.issuer_key.sign(signed, ec.ECDSA(hashes.SHA224()))
    content = signed + read.algorithm.replace(sha256, sha224) + bytes([3, len(signature)]) + signature
    (leaf,) = parse_certificates_untrusted(b"\x30\x82" + len(content).to_bytes(2, "big") + content)
    leaf.verify_directly_issued_by(VENDOR.issuer)
    with pytest.raises(VerificationError, match="pinned root"):
        verify(leaf, VENDOR.issuer)
    assert verify(VENDOR.ek(CHIP), VENDOR.issuer) == "extra"

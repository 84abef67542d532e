"""A06 for Intel TDX: a software key in a quote, and a home-made Intel with all the right names."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from kit.guests import TDX_NOW, raw, tdx_collateral, tdx_quote
from sealmesh.attestation.vendors import tdx
from sealmesh.errors import VerificationError

pytest.importorskip("dcap_qvl", reason="the optional extension is not installed")

QUOTE = tdx_quote()[:4936]
BODY_END, SIGNATURE, QE_REPORT, PEM = 632, 636, 770, 1258
AUTH = QUOTE[QE_REPORT + 384 + 64 + 2 : PEM - 6]  # covered by the quoting enclave's report, beside the key
KEYS = [ec.derive_private_key(0x1A7E1 + number, ec.SECP256R1()) for number in range(4)]


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def home_made() -> list[bytes]:
    """Intel's chain, leaf first, with other keys: names, times and extensions copied from the genuine one."""
    genuine = x509.load_pem_x509_certificates(QUOTE[PEM:].rstrip(b"\x00"))
    chain = []
    for number, one in enumerate(genuine):
        builder = (
            x509.CertificateBuilder()
            .subject_name(one.subject)
            .issuer_name(one.issuer)
            .public_key(KEYS[number].public_key())
            .serial_number(number + 1)
            .not_valid_before(one.not_valid_before_utc)
            .not_valid_after(one.not_valid_after_utc)
        )
        for extension in one.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        chain.append(builder.sign(KEYS[min(number + 1, 2)], SHA256()).public_bytes(Encoding.DER))
    return chain


def pem(chain: list[bytes]) -> bytes:
    def one(der: bytes) -> bytes:
        text = base64.b64encode(der)
        lines = b"".join(text[start : start + 64] + b"\n" for start in range(0, len(text), 64))
        return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"

    return b"".join(one(der) for der in chain)


def forged(chain: list[bytes]) -> bytes:
    """The quote with another attestation key and another platform's chain, every signature in it made anew."""
    signed = QUOTE[:BODY_END]
    report = QUOTE[QE_REPORT : QE_REPORT + 320] + hashlib.sha256(point(KEYS[3]) + AUTH).digest() + bytes(32)
    certified = report + sign(KEYS[0], report) + len(AUTH).to_bytes(2, "little") + AUTH
    certified += (5).to_bytes(2, "little") + len(pem(chain)).to_bytes(4, "little") + pem(chain)
    signature = sign(KEYS[3], signed) + point(KEYS[3])
    signature += (6).to_bytes(2, "little") + len(certified).to_bytes(4, "little") + certified
    return signed + len(signature).to_bytes(4, "little") + signature


def refusal(data: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        tdx.judge_tdx_untrusted(raw(data, TDX_NOW, collateral=tdx_collateral()))
    return caught.value


def genuine_chain() -> list[bytes]:
    chain = x509.load_pem_x509_certificates(QUOTE[PEM:].rstrip(b"\x00"))
    return [one.public_bytes(Encoding.DER) for one in chain]


def test_a_software_key_signs_a_guests_report() -> None:
    software = KEYS[3]
    data = bytearray(QUOTE)
    data[SIGNATURE : SIGNATURE + 128] = sign(software, QUOTE[:BODY_END]) + point(software)
    assert refusal(bytes(data)).factor == "vendor_chain"


def test_a_software_key_endorsed_by_itself_beside_a_genuine_chain() -> None:
    assert refusal(forged(genuine_chain())).factor == "vendor_chain"


def test_a_home_made_intel_with_the_right_names() -> None:
    error = refusal(forged(home_made()))
    assert (error.factor, error.reason) == ("vendor_chain", "the chain does not end at Intel's pinned root")


def test_a_home_made_intel_under_the_genuine_root() -> None:
    error = refusal(forged([*home_made()[:2], genuine_chain()[2]]))
    assert error.factor == "vendor_chain"
    assert "pinned root" not in error.reason


def test_the_forgery_is_rebuilt_as_the_genuine_quote_is() -> None:
    """Else the tests above would hold for another reason: the pieces, put together again, are the sample."""
    assert pem(genuine_chain()) == QUOTE[PEM:].rstrip(b"\x00")
    assert len(forged(genuine_chain())) == len(QUOTE[PEM:].rstrip(b"\x00")) + PEM

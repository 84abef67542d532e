"""Certificate chains of vendors that sign with elliptic curves alone (Apple, NVIDIA), walked from a pinned root.

Not `x509.verification`: that is for servers on the web, and refuses certificates of devices. The walk goes from the
root down, so that nothing of a certificate is read before its issuer's signature on it holds. What it does not look
at is revocation, which no offline verifier can (ATTESTATION.md, What each vendor needs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.x509.oid import ExtensionOID

from sealmesh.errors import VerificationError

#: NVIDIA's chains have five, Apple's three.
CHAIN_MAX: Final = 8
#: A device certificate has about 1 KiB.
CERTIFICATE_MAX: Final = 8 * 1024

_FACTOR: Final = "vendor_chain"
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_HASHES: Final = (SHA256, SHA384)
#: Critical extensions that this walk obeys; another one would be a demand that it does not understand.
_UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})


def verify_chain_untrusted(chain: Sequence[bytes], *, root: bytes, now: float) -> x509.Certificate:
    """Return the leaf of a chain that ends at a pinned root.

    Args:
        chain: DER, from the leaf up, each one issued by the next; the root itself may be left out.
        root: The pinned root, DER.
        now: Unix seconds.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    # 1. Bounded. The pinned root at the end, byte for byte, says nothing new; any other root is one more certificate.
    if len(chain) > CHAIN_MAX or any(len(one) > CERTIFICATE_MAX for one in chain):
        raise _refused("the chain is too long")
    below = list(chain[:-1]) if chain and chain[-1] == root else list(chain)
    if not below:
        raise _refused("the chain has no leaf")
    issuer = _load(root)
    for depth in range(len(below) - 1, -1, -1):
        certificate = _load(below[depth])
        # 2. The issuer, trusted by now, signed this one, with an algorithm of today.
        check_issued_untrusted(certificate, issuer)
        # 3. It is of this time.
        check_validity(certificate, now)
        # 4. It may be what it is used as: an issuer of `depth - 1` more issuers, or a leaf.
        _check_extensions_untrusted(certificate, depth)
        issuer = certificate
    return issuer


def check_issued_untrusted(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Refuse a certificate that this issuer did not sign (attack A06: a home-made chain with the right names).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    key = _public_key(issuer)
    try:
        algorithm = certificate.signature_hash_algorithm
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
            raise _refused("an issuer's key is not on P-256 or P-384")
        if not isinstance(algorithm, _HASHES):
            raise _refused("a certificate is signed with another hash than SHA-256 or SHA-384")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise _refused("a certificate is not signed by the next one up to the pinned root") from error


def check_validity(certificate: x509.Certificate, now: float) -> None:
    """Refuse a certificate outside its time (attack A08).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    try:
        begins = certificate.not_valid_before_utc.timestamp()
        ends = certificate.not_valid_after_utc.timestamp()
    except (ValueError, OverflowError) as error:
        raise _refused("a certificate has no readable times") from error
    if not begins <= now <= ends:
        raise VerificationError(
            _FACTOR,
            "a certificate is not valid at this time",
            expected=f"{certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}",
        )


def extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    """Return the value of a vendor's own extension, or None where there is none.

    Args:
        certificate: A verified one.
        oid: Of an extension that `cryptography` does not read itself.

    Raises:
        VerificationError: The certificate's extensions cannot be read; factor `vendor_chain`.
    """
    for one in _extensions_untrusted(certificate):
        if one.oid == oid and isinstance(one.value, x509.UnrecognizedExtension):
            return one.value.value
    return None


def leaf_key(leaf: x509.Certificate, curve: type[ec.EllipticCurve]) -> ec.EllipticCurvePublicKey:
    """Return the key of a verified leaf.

    Raises:
        VerificationError: It is not on this curve; factor `attestation_key`.
    """
    key = _public_key(leaf)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, curve):
        raise VerificationError("attestation_key", f"the certified key is not on {curve.name}")
    return key


def _check_extensions_untrusted(certificate: x509.Certificate, depth: int) -> None:
    constraints: x509.BasicConstraints | None = None
    usage: x509.KeyUsage | None = None
    for one in _extensions_untrusted(certificate):
        if one.critical and one.oid not in _UNDERSTOOD:
            raise _refused("a certificate has a critical extension that is not understood")
        if isinstance(one.value, x509.BasicConstraints):
            constraints = one.value
        elif isinstance(one.value, x509.KeyUsage):
            usage = one.value
    is_issuer = constraints is not None and constraints.ca
    if depth == 0:
        if is_issuer or (usage is not None and not usage.digital_signature):
            raise _refused("the leaf is not for signing evidence")
        return
    if not is_issuer or usage is None or not usage.key_cert_sign:
        raise _refused("a certificate in the chain may not issue others")
    longest = constraints.path_length if constraints is not None else 0
    if longest is not None and depth - 1 > longest:
        raise _refused("the chain is longer than one of its certificates allows")


def _extensions_untrusted(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise _refused("a certificate's extensions cannot be read") from error


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise _refused("a certificate's key cannot be read") from error


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        signature = certificate.signature
    except (x509.InvalidVersion, UnsupportedAlgorithm, ValueError, TypeError, Warning) as error:
        # `Warning`: where warnings are errors, a serial number of no positive value ends here too.
        raise _refused("a certificate cannot be read") from error
    # The signature ends the certificate, in a BIT STRING whose first byte counts the bits that do not belong to it.
    # No signature covers that byte, and `cryptography` takes others than 0: one certificate would have several forms.
    if der[-len(signature) - 1 : -len(signature)] != b"\x00":
        raise _refused("a certificate's signature is not in whole bytes")
    return certificate


def _refused(why: str) -> VerificationError:
    return VerificationError(_FACTOR, why)

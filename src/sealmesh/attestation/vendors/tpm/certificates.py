"""Certificates of TPMs: endorsement keys and vendor-certified attestation keys, up to pinned roots.

A path walk of our own: `cryptography.x509.verification` takes only certificates of the web, and TPMs' have other key
usages, critical directory names and no DNS name. The walk goes from the pinned roots down, so that no signature is ever
verified by a key that is not trusted already: a stranger's key of absurd size is never computed with.

What is not proven offline: revocation. Vendors' revocation lists are not stapled; verdicts say so.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealmesh.attestation.vendors.roots import TPM, load_root
from sealmesh.attestation.vendors.tpm.structures import PublicKey
from sealmesh.errors import VerificationError

#: Certificates of issuers that a host may staple: two chains of three, with room.
SUPPLIED_MAX: Final = 8
#: One certificate; vendors' have 1 to 2 KiB.
CERTIFICATE_MAX: Final = 8 * 1024
#: Issuers between a root and a leaf.
_ISSUERS_MAX: Final = 4
_RSA_MIN: Final = 2048

_TCG_EK: Final = x509.ObjectIdentifier("2.23.133.8.1")
_TCG_AIK: Final = x509.ObjectIdentifier("2.23.133.8.3")
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        "2.5.29.14",  # subject key identifier
        "2.5.29.15",  # key usage
        "2.5.29.17",  # subject alternative name: TPM maker, model, version
        "2.5.29.19",  # basic constraints
        "2.5.29.32",  # certificate policies
        "2.5.29.35",  # authority key identifier
        "2.5.29.37",  # extended key usage
    }
)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_BROKEN: Final = (
    ValueError,
    TypeError,
    KeyError,
    InvalidSignature,
    UnsupportedAlgorithm,
    OverflowError,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Use(enum.Enum):
    """What a certificate should be for."""

    EK = "an endorsement key"
    AK = "an attestation key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate that may certify others, and is trusted up to a pinned root.

    Attributes:
        certificate: Its certificate.
        vendor: In our words, from the table of roots.
        certifies_ak: Whether its owner certifies restricted keys of its TPMs under plain key usages, as GCE does.
        room: How many more issuers may stand below it.
        not_before: Unix seconds; the latest of the path.
        not_after: Unix seconds; the earliest of the path.
    """

    certificate: x509.Certificate
    vendor: str
    certifies_ak: bool
    room: int
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsed:
    """A leaf whose chain holds.

    Attributes:
        vendor: Whose root it is, in our words.
        key: The certified key.
        digest: SHA-256 of the key's SubjectPublicKeyInfo, 32 bytes.
    """

    vendor: str
    key: PublicKey
    digest: bytes


def parse_certificates_untrusted(data: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates: one in DER, or any number in PEM.

    Raises:
        VerificationError: There is none, one is malformed, or there are too many; `vendor_chain`.
    """
    if len(data) > SUPPLIED_MAX * 2 * CERTIFICATE_MAX:
        raise VerificationError("vendor_chain", "certificates are too long")
    try:
        with _quiet():
            pem = b"-----BEGIN" in data
            found = tuple(x509.load_pem_x509_certificates(data) if pem else [x509.load_der_x509_certificate(data)])
    except _BROKEN as error:
        raise VerificationError("vendor_chain", "a certificate is malformed") from error
    if len(found) > SUPPLIED_MAX:
        raise VerificationError("vendor_chain", "too many certificates")
    return found


def verify_endorsement_untrusted(
    leaf: x509.Certificate,
    *,
    use: Use,
    supplied: Sequence[x509.Certificate] = (),
    extra_roots: Sequence[x509.Certificate] = (),
    vendors: Iterable[str] | None = None,
    now: float,
) -> Endorsed:
    """Verify a certificate of a TPM's key up to a pinned root.

    Args:
        leaf: The key's certificate, of a stranger.
        use: What it has to be for.
        supplied: Issuers' certificates, of a stranger.
        extra_roots: Roots that the asker trusts beside the pinned ones; vendor `extra`.
        vendors: Vendors that the asker takes; None for all that are pinned.
        now: Unix seconds.

    Raises:
        VerificationError: No path holds at that time, or the certificate is for something else; `vendor_chain`.
    """
    if len(supplied) > SUPPLIED_MAX:
        raise VerificationError("vendor_chain", "too many certificates")
    check_leaf(leaf)
    trusted = [*_pinned(), *(_anchor(root, "extra", certifies_ak=True) for root in extra_roots)]
    if vendors is not None:
        allowed = {*vendors, "extra"}
        trusted = [one for one in trusted if one.vendor in allowed]
    trusted = [*trusted, *_grow(trusted, supplied)]
    issuer = _find_issuer(leaf, trusted, now)
    check_use(leaf, use, certifies_ak=issuer.certifies_ak)
    key = _strong_key(leaf)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return Endorsed(vendor=issuer.vendor, key=key, digest=digest.finalize())


def check_leaf(leaf: x509.Certificate) -> None:
    """Refuse a leaf that is a certificate authority, or demands something that is not understood here.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    constraints = _constraints(leaf)
    if constraints is not None and constraints.ca:
        raise VerificationError("vendor_chain", "the certificate is an authority's, not a TPM key's")
    _check_critical(leaf)


def check_use(leaf: x509.Certificate, use: Use, *, certifies_ak: bool) -> None:
    """Refuse a certificate that its vendor made for another kind of key (attack A06).

    The roots of TPM vendors stand behind endorsement keys, which only decrypt. That a key is a restricted signing key
    is said by the usage that TCG gave attestation keys, or by an owner who certifies no other signing keys (GCE).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    usage, purposes = _usage(leaf), _purposes(leaf)
    if use is Use.AK:
        signs = usage is not None and usage.digital_signature
        if not signs or not (_TCG_AIK in purposes or certifies_ak):
            raise VerificationError("vendor_chain", "the certificate does not say that its key is an attestation key")
        return
    agrees = usage is not None and (usage.key_encipherment or usage.key_agreement)
    if not agrees or (purposes and _TCG_EK not in purposes):
        raise VerificationError("vendor_chain", "the certificate does not say that its key is an endorsement key")


def _find_issuer(leaf: x509.Certificate, trusted: Iterable[Authority], now: float) -> Authority:
    late = False
    for authority in trusted:
        if not _issued(leaf, authority):
            continue
        begins, ends = _times(leaf)
        if max(authority.not_before, begins) <= now <= min(authority.not_after, ends):
            return authority
        late = True
    if late:
        raise VerificationError("vendor_chain", "a certificate of the chain is not valid at this time")
    raise VerificationError("vendor_chain", "the certificate does not lead to a pinned root")


def _grow(trusted: Sequence[Authority], supplied: Iterable[x509.Certificate]) -> list[Authority]:
    """Authorities among `supplied` that a path leads down to; at most `_ISSUERS_MAX` rounds over what is left."""
    grown: list[Authority] = []
    front, left = list(trusted), list(supplied)
    for _ in range(_ISSUERS_MAX):
        fresh = [authority for certificate in left if (authority := _authorise(certificate, front)) is not None]
        taken = {id(one.certificate) for one in fresh}
        left = [one for one in left if id(one) not in taken]
        grown += fresh
        front = fresh
        if not fresh:
            break
    return grown


def _authorise(certificate: x509.Certificate, front: Iterable[Authority]) -> Authority | None:
    for above in front:
        if above.room < 1 or not _issued(certificate, above):
            continue
        try:
            return _below(certificate, above)
        except VerificationError:
            return None
    return None


def _below(certificate: x509.Certificate, above: Authority) -> Authority:
    constraints, usage = _constraints(certificate), _usage(certificate)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise VerificationError("vendor_chain", "an issuer's certificate is no authority's")
    _check_critical(certificate)
    _strong_key(certificate)
    begins, ends = _times(certificate)
    room = above.room - 1 if constraints.path_length is None else min(above.room - 1, constraints.path_length)
    return Authority(
        certificate=certificate,
        vendor=above.vendor,
        certifies_ak=above.certifies_ak,
        room=room,
        not_before=max(above.not_before, begins),
        not_after=min(above.not_after, ends),
    )


def _anchor(certificate: x509.Certificate, vendor: str, *, certifies_ak: bool) -> Authority:
    constraints = _constraints(certificate)
    length = constraints.path_length if constraints is not None else None
    begins, ends = _times(certificate)
    return Authority(
        certificate=certificate,
        vendor=vendor,
        certifies_ak=certifies_ak,
        room=_ISSUERS_MAX if length is None else min(_ISSUERS_MAX, length),
        not_before=begins,
        not_after=ends,
    )


#: File of a pinned root, whose it is, and whether its owner certifies attestation keys under plain usages.
_ANCHORS: Final = (
    ("google_ek_ak_root.pem", "google", True),
    ("google_ek_root_1.pem", "google", True),
    ("infineon_ecc_root.pem", "infineon", False),
    ("infineon_rsa_root.pem", "infineon", False),
    ("intel_root.pem", "intel", False),
    ("stm_ecc_root_01.pem", "stm", False),
    ("stm_rsa_root.pem", "stm", False),
    ("globalsign_root.pem", "stm", False),
)
#: The vendors that a policy may name.
VENDORS: Final = frozenset(vendor for _, vendor, _ in _ANCHORS)


@functools.cache
def _pinned() -> tuple[Authority, ...]:
    """The pinned roots, and the issuers that ship beside them so that a leaf alone is enough."""
    anchors = [_anchor(_load(name), vendor, certifies_ak=certifies_ak) for name, vendor, certifies_ak in _ANCHORS]
    named = {name for name, _, _ in _ANCHORS}
    return (*anchors, *_grow(anchors, [_load(name) for name in TPM if name not in named]))


def _load(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(load_root("tpm", name))


def signed_by_strong_hash(certificate: x509.Certificate) -> bool:
    """Whether a certificate is signed by no SHA-1 or worse; today's `cryptography` refuses those too."""
    return isinstance(certificate.signature_hash_algorithm, _HASHES)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Vendors' directory names are longer than X.520 allows, strangers' serial numbers negative: the library warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _issued(certificate: x509.Certificate, authority: Authority) -> bool:
    """Whether the authority signed it, by a hash that is still trusted. Names are compared first."""
    try:
        if not signed_by_strong_hash(certificate):
            return False
        certificate.verify_directly_issued_by(authority.certificate)
    except _BROKEN:
        return False
    # How many bits of its last byte are unused: the one field that nothing signs and the library passes over.
    return certificate.public_bytes(Encoding.DER)[-len(certificate.signature) - 1] == 0


def _strong_key(certificate: x509.Certificate) -> PublicKey:
    try:
        key = certificate.public_key()
    except _BROKEN as error:
        raise VerificationError("vendor_chain", "a certificate's key cannot be read") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_MIN:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return key
    raise VerificationError("vendor_chain", "a certificate's key is of a kind or size that is not accepted")


def _times(certificate: x509.Certificate) -> tuple[float, float]:
    """Unix seconds. The library loads a certificate of the year 0, and raises when it is asked for its times."""
    try:
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    except _BROKEN as error:
        raise VerificationError("vendor_chain", "a certificate has no readable times") from error


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        with _quiet():
            return certificate.extensions
    except _BROKEN as error:
        raise VerificationError("vendor_chain", "a certificate's extensions are malformed") from error


def _check_critical(certificate: x509.Certificate) -> None:
    for extension in _extensions(certificate):
        if extension.critical and extension.oid.dotted_string not in _KNOWN_EXTENSIONS:
            raise VerificationError("vendor_chain", "a certificate demands something that is not understood")


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    for extension in _extensions(certificate):
        if isinstance(extension.value, x509.BasicConstraints):
            return extension.value
    return None


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    for extension in _extensions(certificate):
        if isinstance(extension.value, x509.KeyUsage):
            return extension.value
    return None


def _purposes(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier]:
    for extension in _extensions(certificate):
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            return frozenset(extension.value)
    return frozenset()

"""AMD's certificates: a chip's key (VCEK) or a cloud's (VLEK), by ASK or ASVK, by the pinned ARK of its generation.

ARK, ASK and ASVK ship with the package and are pinned by digest, so the leaf is all that a host staples. Revocation
lists are not looked at: what AMD revokes is a generation's ASK, and that arrives as a release of this package.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sealmesh.attestation.vendors.der import Certificate, check_time, read_certificate_untrusted, read_value_untrusted
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.attestation.vendors.sevsnp_report import TCB_BEFORE_TURIN, TCB_TURIN, Report
from sealmesh.errors import LocalProtocolError, VerificationError

_AMD: Final = bytes.fromhex("2b060104019c7801")  # 1.3.6.1.4.1.3704.1
_CHIP: Final = _AMD + b"\x04"
_ARCS: Final = {"bl": 1, "tee": 2, "snp": 3, "ucode": 8, "fmc": 9}
_PARTS: Final = {part: _AMD + bytes([3, arc]) for part, arc in _ARCS.items()}
_INTEGER, _OCTET_STRING = 0x02, 0x04
_CHIP_LENGTHS: Final = (64, 8)  # before Turin, and Turin's
_SALT_BYTES: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generation of chips, with keys and firmware layout of its own.

    Attributes:
        name: As in the files of `roots/amd`.
        tcb: Part to its byte in a TCB version.
        processors: CPU family, and the upper half of its model.
    """

    name: str
    tcb: Mapping[str, int]
    processors: frozenset[tuple[int, int]]


#: Genoa's keys are those of Bergamo and Siena too (family 0x19, models 0xA0 to 0xAF).
GENERATIONS: Final = (
    Generation(name="milan", tcb=TCB_BEFORE_TURIN, processors=frozenset({(0x19, 0x0)})),
    Generation(name="genoa", tcb=TCB_BEFORE_TURIN, processors=frozenset({(0x19, 0x1), (0x19, 0xA)})),
    Generation(name="turin", tcb=TCB_TURIN, processors=frozenset({(0x1A, 0x0), (0x1A, 0x1)})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """What AMD says of a key that signs reports; verified.

    Attributes:
        generation: Whose keys signed it.
        kind: `vcek`, a chip's own, or `vlek`, a cloud's.
        key: The key.
        public_key: DER SubjectPublicKeyInfo.
        tcb: Firmware part to version, for which the key was derived.
        chip_id: The chip's id, empty for a VLEK.
    """

    generation: Generation
    kind: str
    key: ec.EllipticCurvePublicKey
    public_key: bytes
    tcb: Mapping[str, int]
    chip_id: bytes


def verify_leaf_untrusted(data: bytes, now: float) -> Endorsement:
    """Verify a VCEK or VLEK up to a pinned root.

    Args:
        data: DER.
        now: Unix seconds.

    Raises:
        VerificationError: It does not hold; factor `vendor_chain`.
    """
    # 1. Read it, and find who AMD says signed it, by the name that it gives.
    leaf = read_certificate_untrusted(data)
    generation, kind, issuer, root = _find_issuer(leaf)
    # 2. The signature. The issuer's own was verified when it was loaded, and its digest is pinned.
    check_issued(leaf, issuer)
    # 3. Every certificate is within its time.
    for certificate in (leaf, issuer, root):
        check_time(certificate, now)
    # 4. The key, and what AMD certifies of it.
    return read_endorsement_untrusted(leaf, generation, kind)


def read_endorsement_untrusted(leaf: Certificate, generation: Generation, kind: str) -> Endorsement:
    """Return what a verified certificate says of its key.

    Args:
        leaf: The certificate.
        generation: Whose ASK or ASVK signed it.
        kind: `vcek` or `vlek`.

    Raises:
        VerificationError: It lacks something, or says it in another form; factor `vendor_chain`.
    """
    return Endorsement(
        generation=generation,
        kind=kind,
        key=_read_key(leaf.public_key),
        public_key=leaf.public_key,
        tcb={part: _read_version(leaf, part) for part in generation.tcb},
        chip_id=_read_chip_id(leaf) if kind == "vcek" else b"",
    )


def check_issued(certificate: Certificate, issuer: Certificate) -> None:
    """Refuse a certificate that its issuer did not sign (attack A06): RSA-PSS, as AMD's own issuers do it.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    if certificate.issuer != issuer.subject or certificate.algorithm != issuer.algorithm:
        raise VerificationError("vendor_chain", "a certificate names another issuer, or another way of signing")
    try:
        key = load_der_public_key(issuer.public_key)
        if not isinstance(key, rsa.RSAPublicKey):
            raise VerificationError("vendor_chain", "an issuer's key is not RSA")
        pss = padding.PSS(padding.MGF1(SHA384()), _SALT_BYTES)
        key.verify(certificate.signature, certificate.signed, pss, SHA384())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("vendor_chain", "AMD did not sign this certificate") from error


def check_endorsed(report: Report, endorsement: Endorsement) -> None:
    """Refuse a report beside another chip's, another firmware's or another generation's certificate (attack A07).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    generation = endorsement.generation
    if report.key != endorsement.kind:
        raise VerificationError("vendor_chain", "the report names another kind of key than the certificate's")
    if report.processor is not None:
        family, model = report.processor
        if (family, model >> 4) not in generation.processors:
            raise VerificationError("vendor_chain", "the report's processor is not of the certificate's generation")
    if report.tcb_parts(generation.tcb) != endorsement.tcb:
        raise VerificationError("vendor_chain", "the certificate is for another firmware than the report's")
    if endorsement.kind == "vlek" or (report.chip_masked and not any(report.chip_id)):
        return
    padded = endorsement.chip_id.ljust(len(report.chip_id), b"\x00")
    if report.chip_id != padded:
        raise VerificationError("vendor_chain", "the certificate is another chip's")


@functools.cache
def load_issuer(generation: str, kind: str) -> tuple[Certificate, Certificate]:
    """Return the pinned issuer of a generation's leaves, and its root; both signatures are verified here, once.

    Raises:
        LocalProtocolError: The package's own files do not hold.
    """
    try:
        root = read_certificate_untrusted(load_root("amd", f"ark_{generation}.pem"))
        issuer = read_certificate_untrusted(load_root("amd", f"{kind}_{generation}.pem"))
        check_issued(root, root)
        check_issued(issuer, root)
    except VerificationError as error:
        raise LocalProtocolError("the installed AMD certificates do not hold; reinstall sealmesh") from error
    return issuer, root


def _find_issuer(leaf: Certificate) -> tuple[Generation, str, Certificate, Certificate]:
    for generation in GENERATIONS:
        for kind, name in (("vcek", "ask"), ("vlek", "asvk")):
            issuer, root = load_issuer(generation.name, name)
            if issuer.subject == leaf.issuer:
                return generation, kind, issuer, root
    raise VerificationError("vendor_chain", "the certificate names an issuer that is not AMD's")


def _read_key(public_key: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(public_key)
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("vendor_chain", "the certificate's key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise VerificationError("vendor_chain", "the certificate's key is not of P-384")
    return key


def _read_version(leaf: Certificate, part: str) -> int:
    value = leaf.extensions.get(_PARTS[part])
    if value is None:
        raise VerificationError("vendor_chain", "the certificate does not name its firmware")
    number = read_value_untrusted(value, _INTEGER)
    if not 1 <= len(number) <= 2 or number[0] >= 0x80:
        raise VerificationError("vendor_chain", "the certificate's firmware version is out of range")
    return int.from_bytes(number, "big")


def _read_chip_id(leaf: Certificate) -> bytes:
    value = leaf.extensions.get(_CHIP, b"")
    # AMD writes it bare; some of its certificates wrap it once more.
    chip_id = value if len(value) in _CHIP_LENGTHS else read_value_untrusted(value, _OCTET_STRING)
    if len(chip_id) not in _CHIP_LENGTHS:
        raise VerificationError("vendor_chain", "the certificate's chip id is of another length")
    return chip_id

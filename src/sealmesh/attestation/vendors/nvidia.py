"""NVIDIA GPUs: a report that a device signed, whose certificates end at NVIDIA's root.

It adds claims about an accelerator and never makes a tier: the report says that *a* genuine device answered for this
host statement, not that it sits in this machine or runs this model. Verified here: Hopper (GH100) and Blackwell
(GB100), one genuine report each. NVSwitch reports are said to have the same layout; none was at hand, so they are
unverified. Not proven offline, for any of them: revocation of a certificate, that firmware is the known good one
(reference values are NVIDIA's, online), and that confidential mode is on.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.cbor_map import check_keys, read_map_untrusted, take_bytes, take_chain
from sealmesh.attestation.vendors.ec_chain import (
    CERTIFICATE_MAX,
    CHAIN_MAX,
    extension,
    leaf_key,
    verify_chain_untrusted,
)
from sealmesh.attestation.vendors.nvidia_report import REPORT_MAX, SIGNATURE_BYTES, Field, Report
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError
from sealmesh.limits import GPUS_MAX

TYPE: Final = "application/vnd.sealmesh.nvidia-gpu"
LABEL: Final = "nvidia-gpu"

_WHAT: Final = "the GPU's record"
_RECORD_MAX: Final = REPORT_MAX + CHAIN_MAX * CERTIFICATE_MAX
_FIELDS: Final = frozenset({"report", "chain"})
_HALF: Final = SIGNATURE_BYTES // 2
#: TCG DICE TcbInfo, where a leaf names the firmware that its key was derived for.
_TCB_INFO: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
_UNPROVEN: Final = "revocation, known good firmware and confidential mode are not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a verified report says.

    Attributes:
        report: The report.
        fingerprint: SHA-256 of the device's attestation key, 32 bytes.
        model: The name that NVIDIA's certificate gives the device, printable.
        firmware_matches: Whether the certificate names the firmware that the report names; None where the report
            names none.
    """

    report: Report
    fingerprint: bytes
    model: str
    firmware_matches: bool | None


def gpu_nonce(binding: bytes) -> bytes:
    """Return the nonce that a GPU is asked with, 32 bytes: derived from what all evidence binds, and not equal to it.

    Args:
        binding: From `statement.binding`, 32 bytes.
    """
    return hashlib.sha256(b"gpu" + binding).digest()


def make_record(report: bytes, chain: Sequence[bytes]) -> Record:
    """Return the evidence record of one GPU.

    Args:
        report: As the driver gave it for `gpu_nonce(binding)`.
        chain: DER, from the device's certificate up.
    """
    return Record(
        type=TYPE, data=cbor2.dumps({"report": report, "chain": list(chain)}, canonical=True), role=Role.EVIDENCE
    )


def verify_report_untrusted(
    data: bytes, chain: Sequence[bytes], *, nonce: bytes | None, now: float, root: bytes | None = None
) -> Device:
    """Judge one report.

    Args:
        data: The report.
        chain: DER, from the device's certificate up.
        nonce: What was asked with, 32 bytes; None where nothing was.
        now: Unix seconds.
        root: The trusted root, DER; NVIDIA's without it.

    Raises:
        VerificationError: Factors `accelerators`, `vendor_chain`, `attestation_key` or `binding`.
    """
    # 1. The report is whole.
    report = Report.parse_untrusted(data)
    # 2. NVIDIA certified the device's key.
    leaf = verify_chain_untrusted(chain, root=root or load_root("nvidia", "device_identity_root.pem"), now=now)
    key = leaf_key(leaf, ec.SECP384R1)
    # 3. That key signed the report.
    check_report_signature_untrusted(report, key)
    # 4. It was made for this nonce.
    if nonce is not None:
        check_nonce(report, nonce)
    # 5. The certificate is for the firmware that the report names.
    matches = _firmware_matches(report, leaf)
    if matches is False:
        raise VerificationError("accelerators", "the report names other firmware than the device's certificate")
    public = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return Device(
        report=report,
        fingerprint=hashlib.sha256(public).digest(),
        model=_model(leaf),
        firmware_matches=matches,
    )


def check_report_signature_untrusted(report: Report, key: ec.EllipticCurvePublicKey) -> None:
    """Refuse a report that the certified key did not sign (attack A06).

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    r, s = (int.from_bytes(report.signature[at : at + _HALF], "big") for at in (0, _HALF))
    try:
        key.verify(encode_dss_signature(r, s), report.signed, ec.ECDSA(SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("attestation_key", "the device's key did not sign this report") from error


def check_nonce(report: Report, nonce: bytes) -> None:
    """Refuse a report for another nonce: another host's, or an old one (attacks A07, A08).

    Raises:
        VerificationError: Factor `binding`.
    """
    if report.nonce != nonce:
        raise VerificationError(
            "binding", "the report was made for another nonce", expected=nonce.hex(), got=report.nonce.hex()
        )


def verify_nvidia_untrusted(evidence: EvidenceInput, *, root: bytes | None = None) -> Finding:
    """Judge a GPU's record: an accelerator factor and claims, no tier.

    Neither the binding nor the vendor's chain is among its factors: what a GPU shows must not stand in for what the
    host's own chip has to show.

    Raises:
        VerificationError: Factor `accelerators`, whatever does not hold.
    """
    try:
        content = read_map_untrusted(evidence.record.data, what=_WHAT, maximum=_RECORD_MAX)
        check_keys(content, _FIELDS, what=_WHAT)
        device = verify_report_untrusted(
            take_bytes(content, "report", what=_WHAT),
            take_chain(content, "chain", what=_WHAT),
            nonce=gpu_nonce(evidence.binding),
            now=evidence.now,
            root=root,
        )
    except VerificationError as error:
        raise VerificationError("accelerators", error.reason, expected=error.expected, got=error.got) from error
    prefix = f"gpu {device.fingerprint[:4].hex()}"
    return Finding(
        tier=Tier.NONE,
        factors=(_factor(FactorId.ACCELERATORS, Source.HARDWARE, f"a genuine NVIDIA device answered; {_UNPROVEN}"),),
        fingerprint=device.fingerprint,
        claims={f"{prefix} {name}": value for name, value in _claims(device).items()},
    )


KIND: Final = EvidenceKind(verify_untrusted=verify_nvidia_untrusted, ceiling=Tier.NONE, records_max=GPUS_MAX)


def judge_raw_untrusted(given: RawInput) -> RawFinding:
    """Judge a report as NVIDIA's tools write it: bytes or hex, with its chain in PEM.

    Raises:
        VerificationError: It does not hold.
    """
    if "chain" not in given.given:
        raise VerificationError("vendor_chain", "the device's certificates are missing: --with chain=PATH")
    expected = given.nonce
    if given.report_data is not None:
        derived = gpu_nonce(given.report_data)
        if expected not in (None, derived):
            raise VerificationError("binding", "the nonce and the report data that were given cannot both hold")
        expected = derived
    chain = read_chain_untrusted(given.given["chain"])
    device = verify_report_untrusted(_read_hex(given.data), chain, nonce=expected, now=given.now)
    factors = [
        _factor(FactorId.VENDOR_CHAIN, Source.VENDOR_ROOTED, "certified up to NVIDIA's device root"),
        _factor(FactorId.ATTESTATION_KEY, Source.HARDWARE, "the device's key signed the report"),
        _factor(FactorId.ACCELERATORS, Source.HARDWARE, f"a genuine NVIDIA device; {_UNPROVEN}"),
    ]
    if expected is not None:
        factors.append(_factor(FactorId.BINDING, Source.HARDWARE, "the report was made for this nonce"))
    return RawFinding(
        tier_if_bound=Tier.NONE, bound=expected is not None, factors=tuple(factors), claims=_claims(device)
    )


RAW_KIND: Final = RawKind(
    name="nvidia-gpu",
    judge_untrusted=judge_raw_untrusted,
    roles={"chain": "the device's certificates in PEM, from the device up"},
)


def _claims(device: Device) -> dict[str, str]:
    report = device.report
    values = b"".join(index.to_bytes(1, "big") + value for index, value in sorted(report.measurements.items()))
    claims = {
        "model": device.model,
        "device_key": device.fingerprint.hex(),
        "measurements": str(len(report.measurements)),
        "measurements_digest": hashlib.sha256(values).hexdigest(),
        "firmware_named_by_certificate": {True: "yes", False: "no", None: "not said"}[device.firmware_matches],
    }
    if Field.DRIVER_VERSION in report.fields:
        claims["driver"] = _printable(report.fields[Field.DRIVER_VERSION].rstrip(b"\x00"))
    if Field.VBIOS in report.fields:
        claims["vbios"] = report.fields[Field.VBIOS].hex()
    return claims


def _firmware_matches(report: Report, leaf: x509.Certificate) -> bool | None:
    firmware = report.fields.get(Field.FWID)
    if not firmware:
        return None
    return firmware in (extension(leaf, _TCB_INFO) or b"")


def _model(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    value = names[0].value if names else ""
    return _printable(value if isinstance(value, bytes) else value.encode())


def _printable(value: bytes) -> str:
    text = value.decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() and len(text) <= 64 else value.hex()


def _read_hex(data: bytes) -> bytes:
    if data[:1] == b"\x11":
        return data
    try:
        return binascii.unhexlify(b"".join(data[: 4 * REPORT_MAX].split()))
    except (binascii.Error, ValueError) as error:
        raise VerificationError("accelerators", "the report is neither bytes nor hex") from error


def _factor(factor: FactorId, source: Source, reason: str) -> Factor:
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)

"""Evidence of confidential guests: the real samples, and synthetic ones of layouts that nobody publishes.

Synthetic reports and certificates copy AMD's encodings; what signs them is a key of the test.
"""

from __future__ import annotations

import datetime
import functools
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kit.attested import ProvenHost
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attestation.statement import HostStatement
from sealmesh.attestation.vendors.base import EvidenceInput
from sealmesh.attestation.vendors.der import read_certificate_untrusted
from sealmesh.attestation.vendors.raw import RawInput

EVIDENCE = Path(__file__).parents[2] / "testvectors/evidence"
AMD_NOW = 1_790_000_000.0  # 2026-09-21
TDX_NOW = 1_750_400_000.0  # 2025-06-20
NITRO_NOW = 1_766_668_600.0  # 2025-12-25T13:16:40Z
DAY = 86_400.0


def sample(name: str) -> bytes:
    return (EVIDENCE / name).read_bytes()


def snp_report(name: str = "virtee_report_milan.hex") -> bytes:
    data = sample(f"sev-snp/{name}")
    return bytes.fromhex(data.decode()) if name.endswith(".hex") else data


def snp_key(name: str = "virtee_vcek_milan.der") -> bytes:
    return sample(f"sev-snp/{name}")


def tdx_quote() -> bytes:
    return sample("tdx/phala_tdx_quote")


def tdx_collateral() -> bytes:
    return sample("tdx/phala_tdx_quote_collateral.json")


def nitro_document() -> bytes:
    """The COSE_Sign1 in the sample's container."""
    data = sample("nitro/dstack_nitro.bin")
    return data[4 : 4 + 4527]


def policy(text: str = "") -> Policy:
    return parse_policy_untrusted(text.encode())


def raw(
    data: bytes,
    now: float,
    *,
    rules: str = "",
    nonce: bytes | None = None,
    report_data: bytes | None = None,
    **given: bytes,
) -> RawInput:
    return RawInput(data=data, given=given, nonce=nonce, report_data=report_data, policy=policy(rules), now=now)


def of_host(
    kind: str,
    data: bytes,
    now: float,
    *,
    binding: bytes,
    rules: str = "",
    endorsements: Mapping[str, bytes] | None = None,
    **statement: object,
) -> EvidenceInput:
    """Evidence as a host shows it. The statement is not what the binding stands for: samples were made for others."""
    host = ProvenHost()
    said: HostStatement = host.statement(now, **{"accelerators": (), **statement})
    record = Record(type=kind, data=data, role=Role.EVIDENCE)
    stapled = {
        f"endorsement {number}": Record(type=type_, data=content, role=Role.ENDORSEMENT)
        for number, (type_, content) in enumerate((endorsements or {}).items())
    }
    return EvidenceInput(
        record=record,
        envelope=Envelope(records={"evidence": record, **stapled}),
        binding=binding,
        statement=said,
        endpoint_id=host.endpoint_id,
        policy=policy(rules),
        now=now,
    )


def flips(data: bytes, *, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int, bytes]]:
    """The data with one bit of a byte turned over, another bit for each next byte."""
    for number, offset in enumerate(range(start, len(data) if stop is None else stop, step)):
        changed = bytearray(data)
        changed[offset] ^= 1 << number % 8
        yield offset, bytes(changed)


# --- AMD, made here ---------------------------------------------------------------------------------------------------

CHIP_KEY = ec.derive_private_key(0xA3D, ec.SECP384R1())
MEASUREMENT = bytes(range(48))
REPORT_DATA = b"r" * 32 + bytes(32)


def make_report(
    *,
    version: int = 3,
    policy_bits: int = 0x30000,
    vmpl: int = 0,
    algorithm: int = 1,
    key_info: int = 0,
    report_data: bytes = REPORT_DATA,
    tcb: bytes = bytes([3, 0, 0, 0, 0, 0, 8, 115]),
    processor: tuple[int, int] = (0x19, 0x11),
    chip_id: bytes = bytes(range(64)),
    key: ec.EllipticCurvePrivateKey = CHIP_KEY,
) -> bytes:
    """A report as the firmware lays it out, signed by a key of the test."""
    body = bytearray(0x2A0)
    struct.pack_into("<IIQ", body, 0, version, 0, policy_bits)
    struct.pack_into("<II", body, 0x30, vmpl, algorithm)
    struct.pack_into("<I", body, 0x48, key_info)
    body[0x50:0x90] = report_data
    body[0x90:0xC0] = MEASUREMENT
    body[0x180:0x188] = tcb
    if version >= 3:
        body[0x188:0x18A] = bytes(processor)
    body[0x1A0:0x1E0] = chip_id
    r, s = decode_dss_signature(key.sign(bytes(body), ec.ECDSA(SHA384())))
    signed = bytes(body) + r.to_bytes(72, "little") + s.to_bytes(72, "little")
    return signed.ljust(1184, b"\x00")


def amd_name(common: str) -> x509.Name:
    """A name as AMD writes it, in its order."""
    parts = [
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


@functools.cache
def forger() -> rsa.RSAPrivateKey:
    """The key of somebody who is not AMD."""
    return rsa.generate_private_key(65537, 2048)


def make_leaf(
    *,
    issuer: str = "SEV-Milan",
    subject: str = "SEV-VCEK",
    tcb: Mapping[int, int] | None = None,
    chip_id: bytes | None = bytes(range(64)),
    key: ec.EllipticCurvePrivateKey = CHIP_KEY,
) -> bytes:
    """A VCEK or VLEK with AMD's names and extensions, signed by the forger: DER."""
    parts = {1: 3, 2: 0, 3: 8, 8: 115} if tcb is None else tcb
    extensions = {f"3.{arc}": b"\x02\x01" + bytes([value]) for arc, value in parts.items()}
    if chip_id is not None:
        extensions["4"] = chip_id
    builder = (
        x509.CertificateBuilder()
        .subject_name(amd_name(subject))
        .issuer_name(amd_name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))
    )
    for arc, value in extensions.items():
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.3704.1.{arc}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    pss = padding.PSS(padding.MGF1(SHA384()), 48)
    made = read_certificate_untrusted(builder.sign(forger(), SHA384(), rsa_padding=pss).public_bytes(Encoding.DER))
    # AMD spells out the default trailer, `cryptography` does not: the forger writes what AMD writes.
    algorithm = read_certificate_untrusted(snp_key()).algorithm
    header = 4 if made.signed[1] == 0x82 else 3
    signed = _sequence(made.signed[header:].replace(made.algorithm, algorithm, 1))
    signature = b"\x00" + forger().sign(signed, pss, SHA384())
    return _sequence(signed + algorithm + b"\x03\x82" + len(signature).to_bytes(2, "big") + signature)


def _sequence(content: bytes) -> bytes:
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content

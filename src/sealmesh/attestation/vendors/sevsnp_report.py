"""AMD SEV-SNP attestation reports: layouts 2 to 5 (AMD's SNP firmware ABI, 56860, table ATTESTATION_REPORT).

Reading verifies nothing. 1184 bytes: 0x2A0 that the chip signs, then r and s, and zeros to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sealmesh.errors import VerificationError

REPORT_BYTES: Final = 1184
SIGNED_BYTES: Final = 0x2A0
_VERSIONS: Final = range(2, 6)
_ECDSA_P384: Final = 1
_INTEGER_BYTES: Final = 72  # of r and of s, little-endian
_P384_BYTES: Final = 48
_VMPL_LAST: Final = 3  # the host asks with 0xFFFFFFFF, and then report data is not the guest's
_CPUID_SINCE: Final = 3

#: Layout of a TCB version: part to its byte. Turin has a boot loader of its own (FMC) before the others.
TCB_BEFORE_TURIN: Final[Mapping[str, int]] = MappingProxyType({"bl": 0, "tee": 1, "snp": 6, "ucode": 7})
TCB_TURIN: Final[Mapping[str, int]] = MappingProxyType({"fmc": 0, "bl": 1, "tee": 2, "snp": 3, "ucode": 7})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says, as read.

    Attributes:
        version: Of the layout.
        signed: The bytes that the signature covers.
        signature: DER ECDSA signature.
        debug: Whether the host may read the guest.
        migratable: Whether a migration agent, which the report does not measure, may move the guest.
        vmpl: The privilege level in the guest that asked, 0 the highest.
        key: What signed: `vcek`, `vlek` or `none`.
        chip_masked: Whether the chip's id was left out.
        report_data: What the guest had signed, 64 bytes.
        measurement: The launch digest, 48 bytes.
        host_data: What the host gave at launch, 32 bytes; a claim of the host.
        tcb: The firmware's versions for which the key was derived, 8 bytes.
        processor: CPU family and model, or None before version 3.
        chip_id: 64 bytes; zeros where it was left out.
    """

    version: int
    signed: bytes
    signature: bytes
    debug: bool
    migratable: bool
    vmpl: int
    key: str
    chip_masked: bool
    report_data: bytes
    measurement: bytes
    host_data: bytes
    tcb: bytes
    processor: tuple[int, int] | None
    chip_id: bytes

    def tcb_parts(self, layout: Mapping[str, int]) -> dict[str, int]:
        """The versions by part."""
        return {part: self.tcb[offset] for part, offset in layout.items()}


def parse_report_untrusted(data: bytes) -> Report:
    """Read a report.

    Raises:
        VerificationError: It is none, or of a layout that is not known; factor `attestation_key`.
    """
    if len(data) != REPORT_BYTES:
        raise _malformed("it is not of 1184 bytes")
    version = _number(data, 0x00, 4)
    if version not in _VERSIONS:
        raise _malformed("its version is unknown")
    if _number(data, 0x34, 4) != _ECDSA_P384:
        raise _malformed("it is signed in another way than ECDSA P-384")
    vmpl = _number(data, 0x30, 4)
    if vmpl > _VMPL_LAST:
        raise _malformed("the host asked for it, not the guest")
    policy, key = _number(data, 0x08, 8), _number(data, 0x48, 4)
    return Report(
        version=version,
        signed=data[:SIGNED_BYTES],
        signature=_read_signature(data),
        debug=bool(policy >> 19 & 1),
        migratable=bool(policy >> 18 & 1),
        vmpl=vmpl,
        key={0: "vcek", 1: "vlek"}.get(key >> 2 & 7, "none"),
        chip_masked=bool(key >> 1 & 1),
        report_data=data[0x50:0x90],
        measurement=data[0x90:0xC0],
        host_data=data[0xC0:0xE0],
        tcb=data[0x180:0x188],
        processor=(data[0x188], data[0x189]) if version >= _CPUID_SINCE else None,
        chip_id=data[0x1A0:0x1E0],
    )


def _read_signature(data: bytes) -> bytes:
    r, s = data[SIGNED_BYTES:][:_INTEGER_BYTES], data[SIGNED_BYTES + _INTEGER_BYTES :][:_INTEGER_BYTES]
    unused = r[_P384_BYTES:] + s[_P384_BYTES:] + data[SIGNED_BYTES + 2 * _INTEGER_BYTES :]
    if any(unused):
        # No signature covers these bytes; as zeros they can carry nothing.
        raise _malformed("bytes around its signature are not zero")
    return encode_dss_signature(int.from_bytes(r, "little"), int.from_bytes(s, "little"))


def _number(data: bytes, offset: int, width: int) -> int:
    return int.from_bytes(data[offset : offset + width], "little")


def _malformed(what: str) -> VerificationError:
    return VerificationError("attestation_key", f"the SEV-SNP report is malformed: {what}")

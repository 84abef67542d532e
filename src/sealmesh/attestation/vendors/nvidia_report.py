"""NVIDIA's attestation report: an SPDM 1.1 GET_MEASUREMENTS request and its signed answer, one after the other.

Layout (DMTF DSP0274 1.1.0, 10.11; lengths in bytes, integers little-endian):
request: version 0x11, code 0xE0, attributes, operation, nonce 32, slot;
answer: version 0x11, code 0x60, two parameters, number of blocks, record length 3, record, nonce 32, opaque length 2,
opaque data, signature 96 (r and s, 48 each, big-endian). The signature covers everything before it.
Hopper's opaque data are fields of type 2, length 2, value; Blackwell's report has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sealmesh.errors import VerificationError

#: Hopper's report has 4,117 bytes.
REPORT_MAX: Final = 32 * 1024
SIGNATURE_BYTES: Final = 96
NONCE: Final = slice(4, 36)

_REQUEST_BYTES: Final = 37
_VERSION: Final = 0x11
_GET_MEASUREMENTS: Final = 0xE0
_MEASUREMENTS: Final = 0x60
_SIGNATURE_REQUESTED: Final = 0x01
_DMTF: Final = 0x01  # the one measurement specification that SPDM has


class Field:
    """Types of opaque fields that this verifier reads; the others are carried by number."""

    DRIVER_VERSION: Final = 3
    VBIOS: Final = 6
    FWID: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report as it was read; nothing of it is verified.

    Attributes:
        nonce: What the asker sent, 32 bytes.
        measurements: Index to digest or raw value.
        fields: Opaque field type to value.
        signed: What the signature covers.
        signature: r and s, 96 bytes.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    fields: Mapping[int, bytes]
    signed: bytes
    signature: bytes

    @classmethod
    def parse_untrusted(cls, data: bytes) -> Report:
        """Read a report.

        Raises:
            VerificationError: It is none; factor `accelerators`.
        """
        if len(data) > REPORT_MAX:
            raise _malformed("it is too long")
        cursor = _Cursor(data)
        # 1. The request, with the asker's nonce.
        request = cursor.take(_REQUEST_BYTES)
        if request[0] != _VERSION or request[1] != _GET_MEASUREMENTS or not request[2] & _SIGNATURE_REQUESTED:
            raise _malformed("it does not begin with a request for signed measurements of SPDM 1.1")
        # 2. The answer's head.
        head = cursor.take(8)
        if head[0] != _VERSION or head[1] != _MEASUREMENTS:
            raise _malformed("its answer holds no measurements of SPDM 1.1")
        # 3. Measurements, the device's own nonce, opaque data.
        measurements = _read_measurements(cursor.take(int.from_bytes(head[5:8], "little")), count=head[4])
        cursor.take(32)
        fields = _read_fields(cursor.take(int.from_bytes(cursor.take(2), "little")))
        # 4. The signature ends it.
        signature = cursor.take(SIGNATURE_BYTES)
        cursor.end()
        return cls(
            nonce=data[NONCE],
            measurements=MappingProxyType(measurements),
            fields=MappingProxyType(fields),
            signed=data[:-SIGNATURE_BYTES],
            signature=signature,
        )


def _read_measurements(record: bytes, *, count: int) -> dict[int, bytes]:
    cursor = _Cursor(record)
    found: dict[int, bytes] = {}
    for _ in range(count):
        index, specification = cursor.take(2)
        block = _Cursor(cursor.take(int.from_bytes(cursor.take(2), "little")))
        block.take(1)  # what the value is of
        value = block.take(int.from_bytes(block.take(2), "little"))
        block.end()
        if specification != _DMTF or index in found:
            raise _malformed("a measurement is of an unknown form, or there twice")
        found[index] = value
    cursor.end()
    return found


def _read_fields(opaque: bytes) -> dict[int, bytes]:
    cursor = _Cursor(opaque)
    found: dict[int, bytes] = {}
    while cursor.left:
        kind = int.from_bytes(cursor.take(2), "little")
        value = cursor.take(int.from_bytes(cursor.take(2), "little"))
        if kind in found:
            raise _malformed("a field is there twice")
        found[kind] = value
    return found


class _Cursor:
    """Reads on, and never past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise _malformed("it is cut")
        self._position += length
        return self._data[self._position - length : self._position]

    def end(self) -> None:
        if self.left:
            raise _malformed("bytes are left over")


def _malformed(what: str) -> VerificationError:
    return VerificationError("accelerators", f"the GPU report is malformed: {what}")

"""Evidence envelopes: a CBOR map of records `[type, bytes, role]`, after CMW (RFC 9999; docs/spec/statements.md).

An envelope is a container and proves nothing: a label, a type or a role is the sender's word. What a record is worth
is decided by the verifier of its type (`sealmesh.attestation.verifier`), and results in an envelope are never read as
results [ST-33].
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cbor2

from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.limits import ENVELOPE_RECORDS_MAX, EVIDENCE_MAX

LABEL_MAX: Final = 64  # bytes of a record's label
TYPE_MAX: Final = 128  # bytes of a record's media type

_UINT, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_RECORD_PARTS: Final = 3


class Role(enum.IntEnum):
    """What a record is for; the numbers are CMW's indicator bits, of which exactly one is set."""

    REFERENCE = 1
    ENDORSEMENT = 2
    EVIDENCE = 4
    RESULT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of an envelope.

    Attributes:
        type: Media type, by which its verifier is found.
        data: The raw bytes as their maker encoded them.
        role: What the sender says it is for.
    """

    type: str
    data: bytes
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Records by label, in the order in which they were received."""

    records: Mapping[str, Record]

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", MappingProxyType(dict(self.records)))

    def of_role(self, role: Role) -> tuple[tuple[str, Record], ...]:
        """Return label and record of every record in a role."""
        return tuple((label, record) for label, record in self.records.items() if record.role is role)

    def encode(self, *, maximum: int = EVIDENCE_MAX) -> bytes:
        """Return the envelope in deterministic CBOR (RFC 8949, 4.2.1) [ST-30].

        Raises:
            LocalProtocolError: It is empty or breaks a bound.
        """
        content = {label: [record.type, record.data, int(record.role)] for label, record in self.records.items()}
        encoded = cbor2.dumps(content, canonical=True)
        try:
            _read(encoded, maximum)
        except VerificationError as error:
            raise LocalProtocolError(f"an envelope that no reader would take: {error.reason}") from error
        return encoded

    @classmethod
    def parse_untrusted(cls, data: bytes, *, maximum: int = EVIDENCE_MAX) -> Envelope:
        """Read an envelope; nothing in it is verified by that [ST-32].

        Raises:
            VerificationError: It is none, or breaks a bound; factor `binding`, which it cannot satisfy.
        """
        return _read(data, maximum)


def evidence_digest(envelope: bytes) -> bytes:
    """Return the SHA-256 of an envelope's bytes as received, 32 bytes."""
    return hashlib.sha256(envelope).digest()


def _read(data: bytes, maximum: int) -> Envelope:
    # [ST-31] here and in the two readers below.
    if len(data) > maximum:
        raise _malformed("it is too long")
    check_plain_cbor_untrusted(data)
    try:
        content = cbor2.loads(
            data, max_depth=4, allow_indefinite=False, allow_duplicate_keys=False, strict_hashable_types=True
        )
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise _malformed("it does not decode") from error
    if not isinstance(content, dict) or not 1 <= len(content) <= ENVELOPE_RECORDS_MAX:
        raise _malformed("it is no map, holds no record, or too many")
    return Envelope(records={_read_label(label): _read_record(record) for label, record in content.items()})


def _read_label(label: object) -> str:
    if not isinstance(label, str) or not 0 < len(label.encode()) <= LABEL_MAX:
        raise _malformed("a label is no text, or too long")
    return label


def _read_record(record: object) -> Record:
    if not isinstance(record, list) or len(record) != _RECORD_PARTS:
        raise _malformed("a record is not of three parts")
    kind, content, role = record
    if not isinstance(kind, str) or not 0 < len(kind.encode()) <= TYPE_MAX:
        raise _malformed("a record's type is no text, or too long")
    if not isinstance(content, bytes):
        raise _malformed("a record's content is no byte string")
    if not isinstance(role, int) or role not in Role.__members__.values():
        raise _malformed("a record's role is unknown")
    return Record(type=kind, data=content, role=Role(role))


def check_plain_cbor_untrusted(data: bytes) -> None:
    """Let only plain, definite items through to the CBOR library: no tag, float, negative or simple value [ST-32].

    Tags would have the library build dates, regular expressions, big numbers or shared references out of hostile
    bytes. One pass over the heads, without recursion: nesting needs no bound here.

    Raises:
        VerificationError: Something else is there, a head or string is cut, or bytes follow the last item.
    """
    position, wanted = 0, 1
    while wanted:
        if position >= len(data):
            raise _malformed("it is cut")
        major, detail = data[position] >> 5, data[position] & 0x1F
        position += 1
        if detail in _WIDTHS:
            width = _WIDTHS[detail]
            argument = int.from_bytes(data[position : position + width], "big")
            position += width
        elif detail < min(_WIDTHS):
            argument = detail
        else:
            raise _malformed("an item has no definite length")
        wanted -= 1
        if major in (_BYTES, _TEXT):
            position += argument
        elif major == _ARRAY:
            wanted += argument
        elif major == _MAP:
            wanted += 2 * argument
        elif major != _UINT:
            raise _malformed("an item is of a kind that envelopes do not use")
        # Every wanted item takes a byte at least, so that a count beyond the data ends here and not later.
        if position + wanted > len(data):
            raise _malformed("it is cut")
    if position != len(data):
        raise _malformed("bytes follow its end")


def _malformed(what: str) -> VerificationError:
    return VerificationError("binding", f"the evidence envelope is malformed: {what}")

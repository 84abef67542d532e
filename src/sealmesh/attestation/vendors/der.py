"""A strict reader of X.509 certificates in DER, for those that `cryptography` announces to stop loading.

AMD numbers every VCEK and VLEK zero, which RFC 5280 forbids; `cryptography` warns at each of them that a later release
will raise. So they are read here, always, and keys and signatures stay with `cryptography`. DER has one encoding for
everything: lengths are minimal and nothing is left over, so no bit of a certificate can change unseen.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh.errors import VerificationError

#: AMD's and Intel's certificates are below 2 KiB.
CERTIFICATE_MAX: Final = 16 * 1024
EXTENSIONS_MAX: Final = 64

_INTEGER, _BIT_STRING, _OCTET_STRING, _OID = 0x02, 0x03, 0x04, 0x06
_BOOLEAN, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME = 0x01, 0x30, 0x17, 0x18
_VERSION_FIELD, _EXTENSIONS_FIELD = 0xA0, 0xA3
_TIME_FORMATS: Final = {_UTC_TIME: ("%y%m%d%H%M%SZ", 13), _GENERALIZED_TIME: ("%Y%m%d%H%M%SZ", 15)}
_V3: Final = bytes.fromhex("020102")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says, as read: nothing is verified by that.

    Attributes:
        signed: The bytes that its issuer signed.
        algorithm: How it is signed, a DER AlgorithmIdentifier.
        signature: The issuer's signature.
        issuer: The issuer's name, DER.
        subject: The subject's name, DER.
        not_before: Unix seconds.
        not_after: Unix seconds.
        public_key: DER SubjectPublicKeyInfo.
        extensions: Content of the object identifier to the extension's value.
    """

    signed: bytes
    algorithm: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    not_before: float
    not_after: float
    public_key: bytes
    extensions: Mapping[bytes, bytes]


class _Reader:
    """Walks over the items of one constructed value; every step is bounds-checked."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def peek(self) -> int | None:
        """The next tag, or None at the end."""
        return self._data[self._position] if self._position < len(self._data) else None

    def item(self, tag: int) -> tuple[bytes, bytes]:
        """The next item: the whole of it, and its content."""
        start = self._position
        if self._data[start : start + 1] != bytes([tag]):
            raise malformed("an item is missing or of another kind")
        head, length = self._length(start + 1)
        stop = head + length
        if stop > len(self._data):
            raise malformed("an item is cut")
        self._position = stop
        return self._data[start:stop], self._data[head:stop]

    def content(self, tag: int) -> bytes:
        return self.item(tag)[1]

    def end(self) -> None:
        if self._position != len(self._data):
            raise malformed("bytes follow its end")

    def _length(self, position: int) -> tuple[int, int]:
        first = self._data[position : position + 1]
        if not first:
            raise malformed("an item is cut")
        if first[0] < 0x80:
            return position + 1, first[0]
        width = first[0] & 0x7F
        field = self._data[position + 1 : position + 1 + width]
        # 0x80 is the indefinite form; CERTIFICATE_MAX needs two bytes at most.
        if not 1 <= width <= 2 or len(field) != width:
            raise malformed("a length is cut, indefinite or too large")
        length = int.from_bytes(field, "big")
        if length < 0x80 or field[0] == 0:
            raise malformed("a length is not minimal")
        return position + 1 + width, length


def read_certificate_untrusted(data: bytes) -> Certificate:
    """Read one DER certificate of version 3.

    Raises:
        VerificationError: It is none; factor `vendor_chain`.
    """
    if len(data) > CERTIFICATE_MAX:
        raise malformed("it is too long")
    outer = _Reader(data)
    parts = _Reader(outer.content(_SEQUENCE))
    outer.end()
    signed, fields = parts.item(_SEQUENCE)
    algorithm, _ = parts.item(_SEQUENCE)
    signature = parts.content(_BIT_STRING)
    parts.end()
    if signature[:1] != b"\x00":
        raise malformed("its signature is not of whole bytes")
    body = _Reader(fields)
    if body.content(_VERSION_FIELD) != _V3:
        raise malformed("it is not of version 3")
    body.content(_INTEGER)  # the serial number, which may be zero here
    inner_algorithm, _ = body.item(_SEQUENCE)
    if inner_algorithm != algorithm:
        # The outer one is not signed; a difference would be a bit that nobody vouches for.
        raise malformed("it names two ways in which it is signed")
    issuer, _ = body.item(_SEQUENCE)
    not_before, not_after = _read_validity(body.content(_SEQUENCE))
    subject, _ = body.item(_SEQUENCE)
    public_key, _ = body.item(_SEQUENCE)
    extensions = _read_extensions(body.content(_EXTENSIONS_FIELD)) if body.peek() == _EXTENSIONS_FIELD else {}
    body.end()
    return Certificate(
        signed=signed,
        algorithm=algorithm,
        signature=signature[1:],
        issuer=issuer,
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        public_key=public_key,
        extensions=extensions,
    )


def read_value_untrusted(data: bytes, tag: int) -> bytes:
    """Return the content of the one DER item that `data` is.

    Raises:
        VerificationError: It is none, or of another tag; factor `vendor_chain`.
    """
    reader = _Reader(data)
    content = reader.content(tag)
    reader.end()
    return content


def check_time(certificate: Certificate, now: float) -> None:
    """Refuse a certificate outside its time (attack A08).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    if not certificate.not_before <= now <= certificate.not_after:
        raise VerificationError("vendor_chain", "a certificate of the chain is outside its time")


def malformed(what: str) -> VerificationError:
    """The refusal of a certificate that cannot be read."""
    return VerificationError("vendor_chain", f"a certificate is malformed: {what}")


def _read_validity(content: bytes) -> tuple[float, float]:
    reader = _Reader(content)
    not_before, not_after = _read_time(reader), _read_time(reader)
    reader.end()
    return not_before, not_after


def _read_time(reader: _Reader) -> float:
    tag = reader.peek()
    if tag not in _TIME_FORMATS:
        raise malformed("a time is of another kind")
    pattern, length = _TIME_FORMATS[tag]
    text = reader.content(tag)
    if len(text) != length or not text[:-1].isdigit():
        raise malformed("a time is not of its form")
    try:
        return datetime.datetime.strptime(text.decode("ascii"), pattern).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError as error:
        raise malformed("a time is none") from error


def _read_extensions(content: bytes) -> dict[bytes, bytes]:
    wrapper = _Reader(content)
    listed = _Reader(wrapper.content(_SEQUENCE))
    wrapper.end()
    found: dict[bytes, bytes] = {}
    while listed.peek() is not None:
        one = _Reader(listed.content(_SEQUENCE))
        name = one.content(_OID)
        if one.peek() == _BOOLEAN:
            one.content(_BOOLEAN)
        value = one.content(_OCTET_STRING)
        one.end()
        if name in found or len(found) >= EXTENSIONS_MAX:
            raise malformed("an extension is there twice, or there are too many")
        found[name] = value
    return found

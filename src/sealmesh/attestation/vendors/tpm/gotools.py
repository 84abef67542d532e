"""Attestations as go-tpm-tools writes them: a protobuf message with the key, quotes of every bank and the boot log.

A strict reader for the few fields that are judged. Unlike a general protobuf library it refuses fields that it does not
know, single fields that come twice, and numbers in longer forms than needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.vendors.tpm.quote import QuoteParts
from sealmesh.attestation.vendors.tpm.structures import parse_quote_untrusted
from sealmesh.errors import VerificationError

#: A real one has 30 KiB, most of it boot log.
ATTESTATION_MAX: Final = 2 * 1024 * 1024
_QUOTES_MAX: Final = 8
_PCRS: Final = 24
_CERTIFICATES_MAX: Final = 8
_NUMBER, _BYTES = 0, 2
_VARINT_MAX: Final = 5  # bytes: field numbers, lengths and PCR indices fit 32 bits

_AK_PUBLIC, _QUOTE, _LOG, _INSTANCE, _CANONICAL_LOG, _AK_CERTIFICATE, _ISSUER, _SNP, _TDX = range(1, 10)
_SINGLE: Final = frozenset({_AK_PUBLIC, _LOG, _INSTANCE, _CANONICAL_LOG, _AK_CERTIFICATE, _SNP, _TDX})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What the file holds; nothing of it is verified.

    Attributes:
        ak_public: TPMT_PUBLIC of the attestation key.
        quotes: One a bank.
        event_log: Boot log, or empty.
        ak_certificate: DER, or empty.
        issuers: Certificates above it, DER.
    """

    ak_public: bytes
    quotes: tuple[QuoteParts, ...]
    event_log: bytes
    ak_certificate: bytes
    issuers: tuple[bytes, ...]


def parse_attestation_untrusted(data: bytes) -> Attestation:
    """Read an attestation file.

    Raises:
        VerificationError: It is malformed; `attestation_key`.
    """
    if len(data) > ATTESTATION_MAX:
        raise _malformed("it is too long")
    single: dict[int, bytes] = {}
    quotes: list[QuoteParts] = []
    issuers: list[bytes] = []
    for field, value in _fields(data):
        if not isinstance(value, bytes):
            raise _malformed("a field of another kind")
        if field == _QUOTE and len(quotes) < _QUOTES_MAX:
            quotes.append(_read_quote(value))
        elif field == _ISSUER and len(issuers) < _CERTIFICATES_MAX:
            issuers.append(value)
        elif field in _SINGLE and field not in single:
            single[field] = value
        else:
            raise _malformed("a field that is unknown, or there too often")
    if not quotes or _AK_PUBLIC not in single:
        raise _malformed("it has no quote, or no key")
    return Attestation(
        ak_public=single[_AK_PUBLIC],
        quotes=tuple(quotes),
        event_log=single.get(_LOG, b""),
        ak_certificate=single.get(_AK_CERTIFICATE, b""),
        issuers=tuple(issuers),
    )


def _read_quote(data: bytes) -> QuoteParts:
    """tpm.Quote: quote (1), raw_sig (2), pcrs (3)."""
    parts = _singles(data, {1: bytes, 2: bytes, 3: bytes})
    attest, signature, pcrs = parts.get(1), parts.get(2), parts.get(3)
    if not isinstance(attest, bytes) or not isinstance(signature, bytes) or not isinstance(pcrs, bytes):
        raise _malformed("a quote without its parts")
    bank, values = _read_registers(pcrs)
    selection = parse_quote_untrusted(attest).selection
    if (bank, tuple(sorted(values))) != (selection.bank, selection.indices):
        # What is written beside a quote is not signed; it must say what the signed selection says.
        raise _malformed("registers that are not those of their quote")
    return QuoteParts(attest=attest, signature=signature, values=b"".join(values[index] for index in selection.indices))


def _read_registers(data: bytes) -> tuple[int, dict[int, bytes]]:
    """tpm.PCRs: hash (1), pcrs (2) as a map of index to value."""
    values: dict[int, bytes] = {}
    bank = 0
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int) and bank == 0:
            bank = value
        elif field == 2 and isinstance(value, bytes):
            entry = _singles(value, {1: int, 2: bytes})
            index, digest = entry.get(1, 0), entry.get(2)
            if not isinstance(index, int) or not isinstance(digest, bytes) or index >= _PCRS or index in values:
                raise _malformed("a register that there is not, or one twice")
            values[index] = digest
        else:
            raise _malformed("a field that is unknown, or there too often")
    return bank, values


def _singles(data: bytes, kinds: dict[int, type]) -> dict[int, int | bytes]:
    found: dict[int, int | bytes] = {}
    for field, value in _fields(data):
        if field in found or not isinstance(value, kinds.get(field, type(None))):
            raise _malformed("a field that is unknown, of another kind, or there too often")
        found[field] = value
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        field, kind = tag >> 3, tag & 7
        if field == 0 or kind not in (_NUMBER, _BYTES):
            raise _malformed("a field of another kind")
        value, position = _number(data, position)
        if kind == _NUMBER:
            yield field, value
            continue
        if position + value > len(data):
            raise _malformed("it is cut")
        yield field, data[position : position + value]
        position += value


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 number in its shortest form, and where it ends."""
    value = 0
    for count in range(_VARINT_MAX):
        if position + count >= len(data):
            raise _malformed("it is cut")
        octet = data[position + count]
        value |= (octet & 0x7F) << (7 * count)
        if octet < 0x80:
            if octet == 0 and count:
                break
            return value, position + count + 1
    raise _malformed("a number that is too long")


def _malformed(what: str) -> VerificationError:
    return VerificationError("attestation_key", f"the attestation file is malformed: {what}")

"""AWS Nitro attestation documents: a COSE_Sign1 frame (RFC 9052) around a map in CBOR. Reading verifies nothing.

The certificates are inside what they sign for, so all of it has to be read before any of it can be believed. It is
read here and not by a library: only the few kinds of items that AWS writes, each with its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from sealmesh.errors import VerificationError

#: A document is about 4.5 KiB; user data, nonce and public key may add 2.5 KiB.
DOCUMENT_MAX: Final = 16 * 1024
BUNDLE_MAX: Final = 6
PCR_BYTES: Final = 48
SIGNATURE_BYTES: Final = 96

#: COSE_Sign1: an array of four, the protected header {alg: ES384}, no unprotected header, then the payload.
_FRAME: Final = bytes.fromhex("8444a1013822a0")
_TAG: Final = b"\xd2"
_PAYLOAD_HEAD: Final = 0x59  # a byte string with a length of two bytes
_SIGNATURE_HEAD: Final = bytes.fromhex("5860")
#: Sig_structure of RFC 9052, 4.4: an array of "Signature1", the protected header, no external data, the payload.
_SIGNED: Final = b"\x84\x6aSignature1\x44" + bytes.fromhex("a1013822") + b"\x40"

_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 2, 3, 4, 5, 7
_NULL, _INDEFINITE, _BREAK = 22, 31, 0xFF
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_ITEMS_MAX: Final = 32  # of one map or array: 16 registers, or nine fields
_DEPTH_MAX: Final = 2  # the map, and the registers or the bundle in it
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a document says, as read.

    Attributes:
        module: The enclave's name by AWS; text of the document.
        timestamp: Unix seconds.
        pcrs: Register to digest, 48 bytes each.
        leaf: The certificate of the key that signed, DER.
        bundle: Its issuers from the root down, DER.
        user_data: What the enclave had signed.
        nonce: What the enclave had signed, too.
        signed: The bytes that the signature covers.
        signature: r and s, big-endian, 48 bytes each.
    """

    module: str
    timestamp: float
    pcrs: Mapping[int, bytes]
    leaf: bytes
    bundle: tuple[bytes, ...]
    user_data: bytes
    nonce: bytes
    signed: bytes
    signature: bytes


def parse_document_untrusted(data: bytes) -> Document:
    """Read a document.

    Raises:
        VerificationError: It is none; factor `attestation_key`.
    """
    payload, signature = _read_frame(data)
    reader = _Reader(payload)
    content = _of_type(reader.item(0), dict)
    if reader.position != len(payload):
        raise _malformed("bytes follow its end")
    if content.get("digest") != "SHA384":
        raise _malformed("its registers are not of SHA-384")
    pcrs = _of_type(content.get("pcrs"), dict)
    bundle = _of_type(content.get("cabundle"), list)
    if not pcrs or not 1 <= len(bundle) <= BUNDLE_MAX:
        raise _malformed("it has no registers or no bundle, or too many")
    return Document(
        module=_of_type(content.get("module_id"), str),
        timestamp=_of_type(content.get("timestamp"), int) / 1000,
        pcrs={_of_type(number, int): _read_pcr(value) for number, value in pcrs.items()},
        leaf=_of_type(content.get("certificate"), bytes),
        bundle=tuple(_of_type(one, bytes) for one in bundle),
        user_data=_of_type(content.get("user_data") or b"", bytes),
        nonce=_of_type(content.get("nonce") or b"", bytes),
        signed=_SIGNED + bytes([_PAYLOAD_HEAD]) + len(payload).to_bytes(2, "big") + payload,
        signature=signature,
    )


def unwrap_dstack_untrusted(data: bytes) -> bytes:
    """Return the document of a file as dstack writes it, else the file.

    The container (SCALE): version 0, kind 2, the document, an empty list of events, report data of 64 bytes, a text.
    No signature covers what is around the document, and nobody reads it; its lengths are checked, so that nothing more
    follows.

    Raises:
        VerificationError: It begins like that container and is none; factor `attestation_key`.
    """
    if data[:2] != b"\x00\x02":
        return data
    document, position = _read_scale_bytes(data, 2)
    if data[position : position + 1] != b"\x00":
        raise _malformed("its container holds events")
    _, end = _read_scale_bytes(data, position + 1 + 64)
    if end != len(data):
        raise _malformed("bytes follow the end of its container")
    return document


class _Reader:
    """Reads CBOR items: unsigned numbers, byte strings, texts, arrays, maps and null; the latter two of any form."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def item(self, depth: int) -> object:
        major, argument = self._head()
        if major == _UINT and argument is not None:
            return argument
        if major in (_BYTES, _TEXT) and argument is not None:
            return self._string(argument, text=major == _TEXT)
        if major == _ARRAY and depth < _DEPTH_MAX:
            return [self.item(depth + 1) for _ in self._counted(argument)]
        if major == _MAP and depth < _DEPTH_MAX:
            return self._map(argument, depth)
        if (major, argument) == (_SIMPLE, _NULL):
            return None
        raise _malformed("an item is of a kind that AWS does not write")

    def _map(self, count: int | None, depth: int) -> dict[object, object]:
        found: dict[object, object] = {}
        for _ in self._counted(count):
            key = self.item(depth + 1)
            if not isinstance(key, (int, str)) or key in found:
                raise _malformed("a key is there twice, or of another kind")
            found[key] = self.item(depth + 1)
        return found

    def _counted(self, count: int | None) -> range | _UntilBreak:
        if count is None:
            return _UntilBreak(self)
        if count > _ITEMS_MAX:
            raise _malformed("it has too many items")
        return range(count)

    def at_break(self) -> bool:
        """Whether a list of indefinite length ends here; steps over its end."""
        if self._data[self.position : self.position + 1] != bytes([_BREAK]):
            return False
        self.position += 1
        return True

    def _string(self, length: int, *, text: bool) -> bytes | str:
        content = self._take(length)
        if not text:
            return content
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise _malformed("a text is not UTF-8") from error

    def _head(self) -> tuple[int, int | None]:
        (first,) = self._take(1)
        major, detail = first >> 5, first & 0x1F
        if detail in _WIDTHS and major != _SIMPLE:
            return major, int.from_bytes(self._take(_WIDTHS[detail]), "big")
        if detail == _INDEFINITE and major in (_ARRAY, _MAP):
            return major, None
        if detail in _WIDTHS or detail > max(_WIDTHS):
            raise _malformed("an item has a length of another form")
        return major, detail

    def _take(self, length: int) -> bytes:
        content = self._data[self.position : self.position + length]
        if len(content) != length:
            raise _malformed("it is cut")
        self.position += length
        return content


class _UntilBreak:
    """Counts the items of a list of indefinite length, up to the most that one may have."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._count = 0

    def __iter__(self) -> _UntilBreak:
        return self

    def __next__(self) -> int:
        if self._reader.at_break():
            raise StopIteration
        self._count += 1
        if self._count > _ITEMS_MAX:
            raise _malformed("it has too many items")
        return self._count


def _read_frame(data: bytes) -> tuple[bytes, bytes]:
    """The payload and the signature. Byte for byte the one form that AWS writes: no bit of the frame is free."""
    if len(data) > DOCUMENT_MAX:
        raise _malformed("it is too long")
    data = data.removeprefix(_TAG)
    start = len(_FRAME) + 3
    if data[: len(_FRAME)] != _FRAME or len(data) < start or data[len(_FRAME)] != _PAYLOAD_HEAD:
        raise _malformed("it is not a COSE_Sign1 by ES384")
    stop = start + int.from_bytes(data[start - 2 : start], "big")
    tail = data[stop:]
    if len(tail) != len(_SIGNATURE_HEAD) + SIGNATURE_BYTES or not tail.startswith(_SIGNATURE_HEAD):
        raise _malformed("it is cut, or bytes follow its end")
    return data[start:stop], tail[len(_SIGNATURE_HEAD) :]


def _read_pcr(value: object) -> bytes:
    pcr = _of_type(value, bytes)
    if len(pcr) != PCR_BYTES:
        raise _malformed("a register is of another length")
    return pcr


def _of_type(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise _malformed("a field is missing or of another kind")
    return value


def _read_scale_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    """A string after its length in SCALE's form of two bytes, for lengths from 64 to 16383."""
    start = position + 2
    head = int.from_bytes(data[position:start], "little")
    stop = start + (head >> 2)
    if head & 3 != 1 or stop > len(data):
        raise _malformed("its container is cut, or a length of another form")
    return data[start:stop], stop


def _malformed(what: str) -> VerificationError:
    return VerificationError("attestation_key", f"the Nitro document is malformed: {what}")

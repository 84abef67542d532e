"""Intel SGX and TDX quotes: versions 3 to 5 (Intel's DCAP quoting library, quote formats). Reading verifies nothing.

`dcap-qvl` verifies signatures and lists, and reads loosely: sizes that leave bytes over, line ends of PEM and the root
in the quote are all one to it. Here a quote has one form, so that no bit of it can change unseen.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError

QUOTE_MAX: Final = 32 * 1024
#: A quoting service may hand out its whole buffer, filled up with zeros.
PADDING_MAX: Final = 16 * 1024
_HEADER_BYTES: Final = 48
_SGX, _TDX = 0x00, 0x81
_VERSIONS: Final = {_SGX: (3, 4, 5), _TDX: (4, 5)}
_ECDSA_P256: Final = 2
_SGX_BODY: Final = 384
_TD10_BODY, _TD15_BODY = 584, 648
#: Kinds of bodies in version 5, and their sizes; a kind that is not here (TD report 1.5 extended) is not read yet.
_BODIES: Final = {1: (_SGX, _SGX_BODY), 2: (_TDX, _TD10_BODY), 3: (_TDX, _TD15_BODY)}
_SIGNATURE_BYTES: Final = 64
_KEY_BYTES: Final = 64
_QE_REPORT_BYTES: Final = 384
_PCK_CHAIN, _QE_REPORT_DATA = 5, 6
_CHAIN_CERTIFICATES: Final = 3
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----\n"
_END: Final = b"-----END CERTIFICATE-----\n"
_LINE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a quote says, as read.

    Attributes:
        data: The quote without padding, as it is verified.
        version: Of the layout.
        is_tdx: Whether it is of a TDX guest, not of an SGX enclave.
        body: The report.
        attestation_key: The quoting enclave's public key, 64 bytes.
    """

    data: bytes
    version: int
    is_tdx: bool
    body: bytes
    attestation_key: bytes


class _Reader:
    """Takes bytes from the front; every step is bounds-checked."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        content = self._data[self.position : self.position + length]
        if len(content) != length:
            raise malformed("it is cut")
        self.position += length
        return content

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def end(self) -> None:
        if self.position != len(self._data):
            raise malformed("bytes are left over")


def parse_quote_untrusted(data: bytes) -> Quote:
    """Read a quote; zeros may follow it, and nothing else.

    Raises:
        VerificationError: It is none, or of a layout that is not known; factor `attestation_key`.
    """
    if len(data) > QUOTE_MAX:
        raise malformed("it is too long")
    reader = _Reader(data)
    header = _Reader(reader.take(_HEADER_BYTES))
    version, key_kind, tee = header.number(2), header.number(2), header.number(4)
    if version not in _VERSIONS.get(tee, ()):
        raise malformed("its version or kind of hardware is unknown")
    if key_kind != _ECDSA_P256:
        raise malformed("it is signed in another way than ECDSA P-256")
    body = reader.take(_body_size(reader, version, tee))
    signature = reader.take(reader.number(4))
    stop = reader.position
    padding = data[stop:]
    if len(padding) > PADDING_MAX or any(padding):
        raise malformed("bytes follow its end")
    key = _read_signature(signature, nested=version > min(_VERSIONS[_SGX]))
    return Quote(data=data[:stop], version=version, is_tdx=tee == _TDX, body=body, attestation_key=key)


def _body_size(reader: _Reader, version: int, tee: int) -> int:
    if version < max(_VERSIONS[tee]):
        return _SGX_BODY if tee == _SGX else _TD10_BODY
    kind, size = reader.number(2), reader.number(4)
    if _BODIES.get(kind) != (tee, size):
        raise malformed("its report is of an unknown kind")
    return size


def _read_signature(data: bytes, *, nested: bool) -> bytes:
    """The attestation key. Before it the signature, behind it what endorses it, down to the last byte."""
    reader = _Reader(data)
    reader.take(_SIGNATURE_BYTES)
    key = reader.take(_KEY_BYTES)
    if nested:
        if reader.number(2) != _QE_REPORT_DATA:
            raise malformed("its key is endorsed in an unknown way")
        inner = _Reader(reader.take(reader.number(4)))
        reader.end()
        reader = inner
    reader.take(_QE_REPORT_BYTES + _SIGNATURE_BYTES)
    reader.take(reader.number(2))  # what the quoting enclave had its own report cover beside the key
    if reader.number(2) != _PCK_CHAIN:
        raise malformed("the chip's certificate is not in it")
    chain = reader.take(reader.number(4))
    reader.end()
    check_chain_form_untrusted(chain)
    return key


def check_chain_form_untrusted(chain: bytes) -> None:
    """Refuse a chain that is not three certificates in PEM's plainest form, the pinned root last, and then zeros.

    The signatures are the library's to verify. It takes the root from its caller and never looks at this one, and it
    skips what PEM lets one add.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    text = chain.rstrip(b"\x00")
    pieces = text.split(_BEGIN)
    if pieces[0] or len(pieces) != _CHAIN_CERTIFICATES + 1:
        raise VerificationError("vendor_chain", "the chip's certificates are not a chain of three")
    root = b""
    for piece in pieces[1:]:
        try:
            root = base64.b64decode(b"".join(piece.removesuffix(_END).split(b"\n")), validate=True)
        except binascii.Error as error:
            raise VerificationError("vendor_chain", "the chip's certificates are not PEM") from error
        if _pem_body(root) + _END != piece:
            raise VerificationError("vendor_chain", "the chip's certificates are not in PEM's plainest form")
    if root != load_root("intel", "sgx_root_ca.pem"):
        raise VerificationError("vendor_chain", "the chain does not end at Intel's pinned root")


def _pem_body(der: bytes) -> bytes:
    text = base64.b64encode(der)
    return b"".join(text[start : start + _LINE] + b"\n" for start in range(0, len(text), _LINE))


def malformed(what: str) -> VerificationError:
    """The refusal of a quote that cannot be read."""
    return VerificationError("attestation_key", f"the quote is malformed: {what}")

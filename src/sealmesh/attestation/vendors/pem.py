"""Certificates in PEM, as vendors' tools write chains."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from sealmesh.attestation.vendors.ec_chain import CERTIFICATE_MAX, CHAIN_MAX
from sealmesh.errors import VerificationError

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
_FILE_MAX: Final = 2 * CHAIN_MAX * CERTIFICATE_MAX


def read_chain_untrusted(data: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a PEM file, DER, in their order; between them stands nothing but white space.

    Raises:
        VerificationError: It is none, or has too many; factor `vendor_chain`.
    """
    if len(data) > _FILE_MAX:
        raise _refused("it is too long")
    pieces = data.split(_BEGIN)
    if pieces[0].strip() or not 1 < len(pieces) <= CHAIN_MAX + 1:
        raise _refused("it holds no certificate, too many, or something before them")
    chain = []
    for piece in pieces[1:]:
        body, end, rest = piece.partition(_END)
        if not end or rest.strip():
            raise _refused("a certificate does not end, or something follows it")
        try:
            chain.append(base64.b64decode(b"".join(body.split()), validate=True))
        except binascii.Error as error:
            raise _refused("a certificate is not base64") from error
    return tuple(chain)


def _refused(why: str) -> VerificationError:
    return VerificationError("vendor_chain", f"the PEM file cannot be used: {why}")

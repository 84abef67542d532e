"""Public areas from which a TPM makes its keys: the same template gives the same key until the chip is cleared.

The endorsement keys' are those of TCG's "EK Credential Profile", B.3.3 and B.3.4, for which vendors made certificates.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealmesh.attesters.tpm.wire import sized

OWNER: Final = 0x40000001
ENDORSEMENT: Final = 0x4000000B

_RSA, _KEYEDHASH, _ECC = 0x0001, 0x0008, 0x0023
_SHA256, _AES, _NULL, _ECDSA, _CFB, _P256 = 0x000B, 0x0006, 0x0010, 0x0018, 0x0043, 0x0003
_AES_128_CFB: Final = struct.pack(">HHH", _AES, 128, _CFB)

# Object attributes [TPM2, 8.3].
_FIXED: Final = 1 << 1 | 1 << 4  # to this TPM and to its parent
_ORIGIN: Final = 1 << 5  # the chip made the secret
_USER: Final = 1 << 6  # an (empty) password is enough to use it
_ADMIN: Final = 1 << 7  # only its policy
_NO_LOCKOUT: Final = 1 << 10
_RESTRICTED, _DECRYPT, _SIGN = 1 << 16, 1 << 17, 1 << 18

#: PolicySecret of the endorsement hierarchy: what the vendors' template asks of whoever uses the key.
_EK_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_EK_ATTRIBUTES: Final = _FIXED | _ORIGIN | _ADMIN | _RESTRICTED | _DECRYPT


def _public(kind: int, attributes: int, policy: bytes, parameters: bytes, unique: bytes) -> bytes:
    return struct.pack(">HHI", kind, _SHA256, attributes) + sized(policy) + parameters + unique


EK_RSA: Final = _public(
    _RSA, _EK_ATTRIBUTES, _EK_POLICY, _AES_128_CFB + struct.pack(">HHI", _NULL, 2048, 0), sized(bytes(256))
)
EK_P256: Final = _public(
    _ECC,
    _EK_ATTRIBUTES,
    _EK_POLICY,
    _AES_128_CFB + struct.pack(">HHH", _NULL, _P256, _NULL),
    sized(bytes(32)) + sized(bytes(32)),
)
#: Restricted: it signs only what the TPM itself made. Nothing in it needs guarding against guesses.
AK_P256: Final = _public(
    _ECC,
    _FIXED | _ORIGIN | _USER | _NO_LOCKOUT | _RESTRICTED | _SIGN,
    b"",
    struct.pack(">HHHHH", _NULL, _ECDSA, _SHA256, _P256, _NULL),
    sized(b"") + sized(b""),
)
#: The parent of what is kept on the disk. Its seed goes when the chip is cleared, and all that was sealed with it.
STORAGE_P256: Final = _public(
    _ECC,
    _FIXED | _ORIGIN | _USER | _NO_LOCKOUT | _RESTRICTED | _DECRYPT,
    b"",
    _AES_128_CFB + struct.pack(">HHH", _NULL, _P256, _NULL),
    sized(b"") + sized(b""),
)
SEALED_DATA: Final = _public(_KEYEDHASH, _FIXED | _USER | _NO_LOCKOUT, b"", struct.pack(">H", _NULL), sized(b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsementProfile:
    """One kind of endorsement key that a vendor may have certified.

    Attributes:
        template: Its public area.
        certificate_index: NV index of its certificate.
    """

    template: bytes
    certificate_index: int


#: Elliptic first: an RSA key takes a chip seconds to make.
PROFILES: Final = (
    EndorsementProfile(template=EK_P256, certificate_index=0x01C0000A),
    EndorsementProfile(template=EK_RSA, certificate_index=0x01C00002),
)

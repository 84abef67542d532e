"""The pure part of joining by approval: a commitment, and six digits that two people compare (docs/spec/admission.md).

Without the commitment the member's side could be ground until the digits fit: six digits fall to 914 keys. With it both
random values are fixed before either side knows the other's.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from sealmesh.errors import VerificationError
from sealmesh.identity.grants import Role

NONCE_LENGTH: Final = 32
CODE_DIGITS: Final = 6


def commitment(*, member_id: bytes, newcomer_id: bytes, mesh: bytes, member_nonce: bytes) -> bytes:
    """Return what the member sends first [AD-20].

    SHA-256("sealmesh/1 sas commit" ‖ 0 ‖ id_B ‖ id_A ‖ mesh id ‖ r_B), with B the member and A the newcomer.
    """
    return hashlib.sha256(b"sealmesh/1 sas commit\x00" + member_id + newcomer_id + mesh + member_nonce).digest()


def check_commitment_untrusted(
    committed: bytes, *, member_id: bytes, newcomer_id: bytes, mesh: bytes, member_nonce: bytes
) -> None:
    """Check that the member opened what it had committed to.

    Raises:
        VerificationError: It did not, or the nonce has another length than 32 bytes [AD-20].
    """
    if len(member_nonce) != NONCE_LENGTH:
        raise VerificationError("approval_commitment", "nonce of the wrong length", expected=f"{NONCE_LENGTH} bytes")
    opened = commitment(member_id=member_id, newcomer_id=newcomer_id, mesh=mesh, member_nonce=member_nonce)
    if not hmac.compare_digest(opened, committed):
        raise VerificationError("approval_commitment", "the member changed its mind after committing")


def code(
    *, newcomer_id: bytes, member_id: bytes, mesh: bytes, roles: Role, newcomer_nonce: bytes, member_nonce: bytes
) -> str:
    """Return the six digits that both screens show [AD-21].

    The first 8 bytes of SHA-256("sealmesh/1 sas code" ‖ 0 ‖ id_A ‖ id_B ‖ mesh id ‖ roles ‖ r_A ‖ r_B), as an integer,
    mod 10^6. Roles are one byte.
    """
    digest = hashlib.sha256(
        b"sealmesh/1 sas code\x00"
        + newcomer_id
        + member_id
        + mesh
        + bytes([roles.value])
        + newcomer_nonce
        + member_nonce
    ).digest()
    return str(int.from_bytes(digest[:8], "big") % 10**CODE_DIGITS).zfill(CODE_DIGITS)

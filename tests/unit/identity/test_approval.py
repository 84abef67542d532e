import hashlib

import pytest

from sealmesh.errors import VerificationError
from sealmesh.identity.admission import Role
from sealmesh.identity.approval import check_commitment_untrusted, code, commitment

A, B, MESH, R_A, R_B = (hashlib.sha256(name).digest() for name in (b"A", b"B", b"mesh", b"r_A", b"r_B"))


def test_the_code_is_the_one_of_the_specification():
    digest = hashlib.sha256(b"sealmesh/1 sas code\x00" + A + B + MESH + b"\x03" + R_A + R_B).digest()
    expected = f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06}"
    roles = Role.CLIENT | Role.HOST
    assert code(newcomer_id=A, member_id=B, mesh=MESH, roles=roles, newcomer_nonce=R_A, member_nonce=R_B) == expected


def test_a_short_code_keeps_its_zeros():
    codes = {
        code(newcomer_id=A, member_id=B, mesh=MESH, roles=Role.CLIENT, newcomer_nonce=bytes([i] * 32), member_nonce=R_B)
        for i in range(64)
    }
    assert all(len(each) == 6 and each.isdigit() for each in codes)
    assert any(each.startswith("0") for each in codes)


def test_a_member_that_changes_its_mind_is_caught():
    given = {"member_id": B, "newcomer_id": A, "mesh": MESH}
    committed = commitment(**given, member_nonce=R_B)
    check_commitment_untrusted(committed, **given, member_nonce=R_B)
    for member_nonce in (R_A, R_B[:31], b""):
        with pytest.raises(VerificationError):
            check_commitment_untrusted(committed, **given, member_nonce=member_nonce)
    with pytest.raises(VerificationError):
        check_commitment_untrusted(committed[:31], **given, member_nonce=R_B)
    with pytest.raises(VerificationError):
        check_commitment_untrusted(committed, member_id=A, newcomer_id=B, mesh=MESH, member_nonce=R_B)

"""The numbered procedure for a quote: each step refuses under its own factor."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from kit.tpm import AK_ATTRIBUTES, SHA1, SHA256, SHA384, ModelTpm, name_of
from sealmesh.attestation.vendors.tpm.quote import (
    check_extra_data,
    require_registers,
    verify_key_untrusted,
    verify_quote_untrusted,
)
from sealmesh.errors import VerificationError

EXTRA = b"e" * 32


def test_an_honest_quote() -> None:
    tpm = ModelTpm()
    tpm.extend(3, b"d" * 32)
    registers = verify_quote_untrusted(verify_key_untrusted(tpm.ak_public), tpm.quote(EXTRA, [2, 3]))
    assert registers.values == {2: bytes(32), 3: tpm.value(3)}
    assert require_registers(registers) == "sha256"
    check_extra_data(registers.quote, EXTRA)


def test_a_quote_of_another_bank_has_a_digest_by_the_signatures_hash() -> None:
    tpm = ModelTpm()
    tpm.extend(0, b"d" * 48, SHA384)
    registers = verify_quote_untrusted(verify_key_untrusted(tpm.ak_public), tpm.quote(EXTRA, [0], SHA384))
    assert (require_registers(registers), registers.values) == ("sha384", {0: tpm.value(0, SHA384)})


def test_the_sha1_bank_is_refused() -> None:
    tpm = ModelTpm()
    registers = verify_quote_untrusted(verify_key_untrusted(tpm.ak_public), tpm.quote(EXTRA, [0], SHA1))
    with pytest.raises(VerificationError, match="SHA-1") as refused:
        require_registers(registers)
    assert refused.value.factor == "platform_state"


@pytest.mark.parametrize("attribute", [1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 18])
def test_a_key_that_lacks_one_attribute(attribute: int) -> None:
    with pytest.raises(VerificationError, match="no restricted signing key"):
        verify_key_untrusted(ModelTpm(attributes=AK_ATTRIBUTES & ~attribute).ak_public)


def test_a_key_that_decrypts_too_or_has_no_scheme() -> None:
    with pytest.raises(VerificationError, match="no restricted signing key"):
        verify_key_untrusted(ModelTpm(attributes=AK_ATTRIBUTES | 1 << 17).ak_public)
    with pytest.raises(VerificationError, match="no fixed signing scheme"):
        verify_key_untrusted(ModelTpm(scheme=struct.pack(">H", 0x10)).ak_public)
    with pytest.raises(VerificationError, match="SHA-1"):
        verify_key_untrusted(ModelTpm(scheme=struct.pack(">HH", 0x18, SHA1)).ak_public)


def test_a_quote_that_names_another_key() -> None:
    """A key under a parent, or with other attributes than shown, has another qualified name."""
    tpm = ModelTpm()
    public = verify_key_untrusted(tpm.ak_public)
    for signer in (name_of(struct.pack(">I", 0x40000001) + name_of(tpm.ak_public)), name_of(tpm.ak_public), b""):
        with pytest.raises(VerificationError, match="names another key") as refused:
            verify_quote_untrusted(public, tpm.quote(EXTRA, signer=signer))
        assert refused.value.factor == "attestation_key"


def test_registers_that_were_not_quoted() -> None:
    tpm = ModelTpm()
    public = verify_key_untrusted(tpm.ak_public)
    parts = tpm.quote(EXTRA, [0, 1])
    for values in (parts.values[:-1], parts.values + bytes(32), b"", parts.values[:32]):
        with pytest.raises(VerificationError, match="do not fit the selection"):
            verify_quote_untrusted(public, dataclasses.replace(parts, values=values))
    with pytest.raises(VerificationError, match="not those that were quoted") as refused:
        verify_quote_untrusted(public, dataclasses.replace(parts, values=b"\1" + parts.values[1:]))
    assert refused.value.factor == "platform_state"


@pytest.mark.parametrize("expected", [b"", b"f" * 32, EXTRA[:31], EXTRA + b"e"])
def test_other_extra_data(expected: bytes) -> None:
    tpm = ModelTpm()
    registers = verify_quote_untrusted(verify_key_untrusted(tpm.ak_public), tpm.quote(EXTRA))
    with pytest.raises(VerificationError) as refused:
        check_extra_data(registers.quote, expected)
    assert refused.value.factor == "binding"


def test_nothing_bound_is_bound_to_nothing() -> None:
    tpm = ModelTpm()
    registers = verify_quote_untrusted(verify_key_untrusted(tpm.ak_public), tpm.quote(b""))
    with pytest.raises(VerificationError, match="something else"):
        check_extra_data(registers.quote, b"")


def test_the_selection_is_the_signed_one() -> None:
    assert ModelTpm().quote(EXTRA, [0]).attest.count(struct.pack(">IHB", 1, SHA256, 3)) == 1

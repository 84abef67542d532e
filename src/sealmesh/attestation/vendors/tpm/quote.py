"""The numbered procedure for a TPM's quote (docs/spec/statements.md; ATTESTATION.md, TPM 2.0).

What a quote shows alone: one key signed these registers and this extra data, and the key *says* that it is a restricted
key of a TPM. Only a vendor's certificate for the key, or credential activation, makes a TPM of it (attack A06).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealmesh.attestation.vendors.tpm.structures import (
    Attribute,
    Hierarchy,
    Public,
    Quote,
    hash_by,
    parse_public_untrusted,
    parse_quote_untrusted,
    require_bank,
    require_hash,
    verify_signature_untrusted,
)
from sealmesh.errors import VerificationError

_NEEDED = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.RESTRICTED
    | Attribute.SIGN
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteParts:
    """What a quote came as.

    Attributes:
        attest: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        values: The PCRs' values in the order of the selection, one after another.
    """

    attest: bytes
    signature: bytes
    values: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedRegisters:
    """A quote whose signature and registers hold.

    Attributes:
        quote: What was signed.
        values: PCR index to its value.
    """

    quote: Quote
    values: Mapping[int, bytes]


def verify_key_untrusted(ak_public: bytes) -> Public:
    """Read the attestation key's public area and check what its TPM lets it do (steps 1 and 2).

    Args:
        ak_public: TPMT_PUBLIC.

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    public = parse_public_untrusted(ak_public)
    check_attestation_key(public)
    return public


def verify_quote_untrusted(public: Public, parts: QuoteParts) -> QuotedRegisters:
    """Verify one quote (steps 3 to 6); whether its extra data is the right one is the caller's next step.

    A quote of the SHA-1 bank verifies here, so that no byte of it stays unlooked at; `require_bank` refuses its
    registers wherever they are used.

    Raises:
        VerificationError: Factor `attestation_key` or `platform_state`.
    """
    # 3. The key signed exactly these bytes.
    used_hash = verify_signature_untrusted(public, parts.attest, parts.signature)
    # 4. They are what only a TPM makes: magic and type.
    quote = parse_quote_untrusted(parts.attest)
    # 5. The signer is the key with these attributes, a primary of the endorsement hierarchy.
    check_signer(public, quote)
    # 6. The registers are those of the selection, and hash to the digest.
    return QuotedRegisters(quote=quote, values=_verify_registers(quote, parts.values, used_hash))


def check_attestation_key(public: Public) -> None:
    """Refuse a key that a TPM would let sign anything (attack A06).

    An unrestricted key signs whatever its owner hands it, a forged quote too; one that is not fixed to its TPM, or not
    made in it, may have a copy in software.

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    if public.attributes & _NEEDED != _NEEDED or public.attributes & Attribute.DECRYPT:
        raise VerificationError("attestation_key", "the key is no restricted signing key fixed to a TPM")
    if public.scheme is None:
        raise VerificationError("attestation_key", "the key has no fixed signing scheme")
    require_hash(public.scheme.hash)


def check_signer(public: Public, quote: Quote) -> None:
    """Refuse a quote that another key than this, attributes and all, signed.

    The qualified name hashes the public area, so that attributes cannot be painted on after the fact. Keys under a
    parent have names that need the parents' to check; attestation keys are primaries here, as they are at GCE.

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    if quote.signer != public.qualified_name(Hierarchy.ENDORSEMENT):
        raise VerificationError(
            "attestation_key", "the quote names another key, or one that is no primary of the endorsement hierarchy"
        )


def check_extra_data(quote: Quote, expected: bytes) -> None:
    """Refuse a quote for another host statement, or another nonce (attacks A07, A08; step 7).

    Raises:
        VerificationError: Factor `binding`.
    """
    if not expected or quote.extra != expected:
        raise VerificationError(
            "binding", "the quote was made for something else", expected=expected.hex(), got=quote.extra.hex()
        )


def _verify_registers(quote: Quote, values: bytes, used_hash: int) -> Mapping[int, bytes]:
    indices, bank = quote.selection.indices, quote.selection.bank
    length = len(hash_by(bank, b""))
    if len(values) != length * len(indices):
        raise VerificationError("platform_state", "the register values do not fit the selection")
    # The digest is by the signature's hash, whatever the bank (TPM 2.0 Library, Part 3, TPM2_Quote).
    if hash_by(used_hash, values) != quote.digest:
        raise VerificationError("platform_state", "the register values are not those that were quoted")
    return {index: values[place * length : (place + 1) * length] for place, index in enumerate(indices)}


def require_registers(registers: QuotedRegisters) -> str:
    """Return the bank's name; registers of the SHA-1 bank are refused.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    return require_bank(registers.quote.selection.bank)[0]

"""TPM structures: read whole, within bounds, or refused."""

from __future__ import annotations

import struct

import pytest

from kit.tpm import (
    AK_ATTRIBUTES,
    RSA_AK_ATTRIBUTES,
    SHA1,
    SHA256,
    ModelTpm,
    name_of,
    p256,
    p384,
    public_area,
    rsa_key,
    sized,
)
from sealmesh.attestation.vendors.tpm.structures import (
    Hierarchy,
    Selection,
    parse_public_untrusted,
    parse_quote_untrusted,
    require_bank,
    unwrap_untrusted,
    verify_signature_untrusted,
)
from sealmesh.errors import VerificationError

EXTRA = b"e" * 32


def test_a_public_area_of_either_kind_and_its_names() -> None:
    for key, attributes in ((p256("k").public_key(), AK_ATTRIBUTES), (rsa_key("k").public_key(), RSA_AK_ATTRIBUTES)):
        raw = public_area(key, attributes)
        public = parse_public_untrusted(raw)
        assert (public.key, public.raw, public.name) == (key, raw, name_of(raw))
        assert public.qualified_name(Hierarchy.ENDORSEMENT) == name_of(struct.pack(">I", 0x4000000B) + public.name)
        assert int(public.attributes) == attributes


def test_a_quote_says_what_was_put_in() -> None:
    tpm = ModelTpm()
    quote = parse_quote_untrusted(tpm.attest(EXTRA, [0, 7, 23]))
    assert quote.selection == Selection(bank=SHA256, indices=(0, 7, 23))
    assert (quote.extra, quote.resets, quote.restarts, quote.firmware) == (EXTRA, 4, 1, 0x2024)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 20, 60])
def test_cut_structures(length: int) -> None:
    tpm = ModelTpm()
    with pytest.raises(VerificationError, match="it is cut"):
        parse_public_untrusted(tpm.ak_public[:length])
    with pytest.raises(VerificationError, match="it is cut"):
        parse_quote_untrusted(tpm.attest(EXTRA)[:length])


def test_trailing_bytes() -> None:
    tpm = ModelTpm()
    attest = tpm.attest(EXTRA)
    public = parse_public_untrusted(tpm.ak_public)
    for read in (
        lambda: parse_public_untrusted(tpm.ak_public + b"\0"),
        lambda: parse_quote_untrusted(attest + b"\0"),
        lambda: verify_signature_untrusted(public, attest, tpm.sign(attest) + b"\0"),
    ):
        with pytest.raises(VerificationError, match="bytes follow its end"):
            read()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": 0xFF544348}, "what a TPM itself makes"),
        ({"kind": 0x8017}, "no quote"),
        ({"selection": struct.pack(">I", 0)}, "no PCR selection"),
        ({"selection": struct.pack(">I", 9)}, "no PCR selection, or too many"),
        ({"selection": struct.pack(">IHB3s", 1, SHA256, 3, bytes(3))}, "a quote of no PCR"),
        ({"selection": struct.pack(">IHB3sHB3s", 2, SHA256, 3, b"\1\0\0", SHA1, 3, b"\1\0\0")}, "several banks"),
        ({"selection": struct.pack(">IHB5s", 1, SHA256, 5, b"\1\0\0\0\0")}, "unknown bank or size"),
        ({"selection": struct.pack(">IHB3s", 1, 0x12, 3, b"\1\0\0")}, "unknown bank or size"),
    ],
)
def test_what_is_no_quote_of_one_bank(changes: dict[str, object], words: str) -> None:
    with pytest.raises(VerificationError, match=words) as refused:
        parse_quote_untrusted(ModelTpm().attest(EXTRA, **changes))
    assert refused.value.factor == "attestation_key"


def test_keys_that_are_not_accepted() -> None:
    good = public_area(rsa_key("k").public_key(), RSA_AK_ATTRIBUTES)
    elliptic = public_area(p256("k").public_key(), AK_ATTRIBUTES)
    at = len(good) - 2 - 256
    for raw, words in (
        (good[: at - 6] + struct.pack(">HI", 1024, 0) + good[at:], "another size or exponent"),
        (good[: at - 6] + struct.pack(">HI", 2048, 3) + good[at:], "another size or exponent"),
        (good[:at] + sized(bytes(256)), "another size or exponent"),
        (struct.pack(">H", 8) + good[2:], "no RSA or elliptic-curve key"),
        (good[:2] + struct.pack(">H", SHA1) + good[4:], "name algorithm"),
        (elliptic[:-1] + bytes([elliptic[-1] ^ 1]), "not on its curve"),
        (elliptic[:16] + struct.pack(">H", 5) + elliptic[18:], "other than P-256 and P-384"),
        (good + bytes(5000), "too long"),
    ):
        with pytest.raises(VerificationError, match=words):
            parse_public_untrusted(raw)


def test_signatures_by_another_scheme_than_the_keys_own() -> None:
    tpm = ModelTpm(ak=rsa_key("k"), attributes=RSA_AK_ATTRIBUTES)
    public = parse_public_untrusted(tpm.ak_public)
    attest = tpm.attest(EXTRA)
    signature = tpm.sign(attest)
    assert verify_signature_untrusted(public, attest, signature) == SHA256
    for head in ((0x16, SHA256), (0x18, SHA256), (0x14, SHA1), (0x14, 0x0C)):
        with pytest.raises(VerificationError, match="another scheme"):
            verify_signature_untrusted(public, attest, struct.pack(">HH", *head) + signature[4:])


def test_a_scheme_that_does_not_fit_the_key() -> None:
    scheme = struct.pack(">HH", 0x18, SHA256)
    public = parse_public_untrusted(public_area(rsa_key("k").public_key(), RSA_AK_ATTRIBUTES, scheme=scheme))
    with pytest.raises(VerificationError, match="does not fit its key"):
        verify_signature_untrusted(public, b"", scheme + sized(b"r") + sized(b"s"))


def test_sha1_is_refused_wherever_something_rests_on_it() -> None:
    scheme = struct.pack(">HH", 0x18, SHA1)
    public = parse_public_untrusted(public_area(p256("k").public_key(), AK_ATTRIBUTES, scheme=scheme))
    with pytest.raises(VerificationError, match="SHA-1"):
        verify_signature_untrusted(public, b"", scheme + sized(b"r") + sized(b"s"))
    with pytest.raises(VerificationError, match="SHA-1"):
        require_bank(SHA1)
    assert require_bank(SHA256) == ("sha256", 32)


def test_every_bit_of_a_quote_its_signature_and_its_key() -> None:
    for tpm in (ModelTpm(), ModelTpm(ak=rsa_key("k"), attributes=RSA_AK_ATTRIBUTES)):
        from sealmesh.attestation.vendors.tpm.quote import QuoteParts, verify_key_untrusted, verify_quote_untrusted

        tpm.extend(0, b"d" * 32)
        parts = tpm.quote(EXTRA, [0, 1])
        pieces = [tpm.ak_public, parts.attest, parts.signature, parts.values]
        assert verify_quote_untrusted(
            verify_key_untrusted(pieces[0]), QuoteParts(**dict(zip(NAMES, pieces[1:], strict=True)))
        )
        for which, piece in enumerate(pieces):
            for position in range(len(piece)):
                changed = list(pieces)
                flipped = piece[position] ^ 1 << position % 8
                changed[which] = piece[:position] + bytes([flipped]) + piece[position + 1 :]
                with pytest.raises(VerificationError):
                    verify_quote_untrusted(
                        verify_key_untrusted(changed[0]), QuoteParts(**dict(zip(NAMES, changed[1:], strict=True)))
                    )


NAMES = ("attest", "signature", "values")


def test_a_tpm2b_is_taken_out_of_its_length() -> None:
    assert unwrap_untrusted(sized(b"abc"), factor="x") == b"abc"
    assert unwrap_untrusted(b"abc", factor="x") == b"abc"
    with pytest.raises(VerificationError, match="empty"):
        unwrap_untrusted(b"", factor="x")


def test_p384_keys() -> None:
    numbers = p384("k").public_key().public_numbers()
    raw = (
        struct.pack(">HHI", 0x23, SHA256, AK_ATTRIBUTES)
        + sized(b"")
        + struct.pack(">HHHHH", 0x10, 0x18, 0x0C, 4, 0x10)
        + sized(numbers.x.to_bytes(48, "big"))
        + sized(numbers.y.to_bytes(48, "big"))
    )
    assert parse_public_untrusted(raw).key == p384("k").public_key()

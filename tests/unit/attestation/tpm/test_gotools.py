"""The strict reader of go-tpm-tools' attestations."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.tpm import ModelTpm
from sealmesh.attestation.vendors.tpm.gotools import ATTESTATION_MAX, parse_attestation_untrusted
from sealmesh.attestation.vendors.tpm.quote import QuoteParts
from sealmesh.errors import VerificationError

SAMPLE = (Path(__file__).parents[4] / "testvectors/evidence/gce/gce-cos-85-nonce9009.pb").read_bytes()


def number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(which: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return number(which << 3) + number(content)
    return number(which << 3 | 2) + number(len(content)) + content


def quote(parts: QuoteParts, pcrs: bytes) -> bytes:
    return field(2, field(1, parts.attest) + field(2, parts.signature) + field(3, pcrs))


def pcrs(bank: int, values: dict[int, bytes]) -> bytes:
    return field(1, bank) + b"".join(field(2, field(1, one) + field(2, value)) for one, value in values.items())


TPM = ModelTpm()
PARTS = TPM.quote(b"n", [0, 1])
PCRS = pcrs(0x0B, {1: bytes(32), 0: bytes(32)})
GOOD = (
    field(1, TPM.ak_public) + quote(PARTS, PCRS) + field(3, b"log") + field(6, b"ak") + field(7, b"i") + field(7, b"j")
)


def test_a_file_of_ours() -> None:
    read = parse_attestation_untrusted(GOOD + field(4, b"") + field(5, b"") + field(8, b"") + field(9, b""))
    assert (read.ak_public, read.quotes) == (TPM.ak_public, (PARTS,))
    assert (read.event_log, read.ak_certificate, read.issuers) == (b"log", b"ak", (b"i", b"j"))


def test_the_real_file() -> None:
    read = parse_attestation_untrusted(SAMPLE)
    assert [len(one.values) for one in read.quotes] == [24 * 20, 24 * 32, 24 * 48]
    assert (len(read.ak_public), len(read.event_log), len(read.ak_certificate)) == (280, 23970, 1340)


def test_the_index_0_may_be_left_out_as_the_format_does() -> None:
    short = field(1, 0x0B) + field(2, field(2, bytes(32))) + field(2, field(1, 1) + field(2, bytes(32)))
    assert parse_attestation_untrusted(field(1, TPM.ak_public) + quote(PARTS, short)).quotes == (PARTS,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no quote, or no key"),
        (field(1, TPM.ak_public), "no quote, or no key"),
        (quote(PARTS, PCRS), "no quote, or no key"),
        (GOOD + field(10, b""), "unknown"),
        (GOOD + field(1, b""), "too often"),
        (GOOD + quote(PARTS, PCRS) * 8, "too often"),
        (GOOD + field(7, b"") * 7, "too often"),
        (GOOD + field(5, 1), "another kind"),
        (GOOD + b"\0", "another kind"),
        (GOOD + b"\x2d\0\0\0\0", "another kind"),
        (GOOD + b"\x2b", "another kind"),
        (GOOD + b"\x2a", "it is cut"),
        (GOOD + b"\x2a\x05abcd", "it is cut"),
        (GOOD + b"\x2a\x80\x00", "too long"),
        (GOOD + b"\x2a\xff\xff\xff\xff\xff\x01", "too long"),
        (bytes(ATTESTATION_MAX + 1), "too long"),
        (GOOD + field(2, field(1, PARTS.attest) + field(2, b"s")), "without its parts"),
        (GOOD + field(2, field(1, PARTS.attest) * 2), "too often"),
        (GOOD + field(2, field(1, 5)), "of another kind"),
        (GOOD + quote(PARTS, PCRS + field(3, b"")), "unknown"),
        (GOOD + quote(PARTS, PCRS + field(1, 0x0B)), "too often"),
        (GOOD + quote(PARTS, PCRS + field(2, field(1, 1) + field(2, bytes(32)))), "one twice"),
        (GOOD + quote(PARTS, PCRS + field(2, field(1, 24) + field(2, bytes(32)))), "that there is not"),
        (GOOD + quote(PARTS, PCRS + field(2, field(1, 3))), "that there is not"),
        (GOOD + quote(PARTS, pcrs(0x0C, {0: bytes(32), 1: bytes(32)})), "not those of their quote"),
        (GOOD + quote(PARTS, pcrs(0x0B, {0: bytes(32), 2: bytes(32)})), "not those of their quote"),
    ],
)
def test_malformed(data: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words) as refused:
        parse_attestation_untrusted(data)
    assert refused.value.factor == "attestation_key"


def test_a_cut_file_is_malformed_or_without_its_certificate() -> None:
    """What is left after a cut between two fields shows no vendor (`test_raw_file.py`)."""
    for length in range(0, len(SAMPLE), 11):
        try:
            read = parse_attestation_untrusted(SAMPLE[:length])
        except VerificationError:
            continue
        assert not read.ak_certificate

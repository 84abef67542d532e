"""Readers of TPM evidence: any bytes give a verdict or the one exception, and real ones with damage do too."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.attested import NOW
from kit.tpm import Firmware, ModelTpm, Vendor, der, p256
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.vendors.tpm import RAW_KIND
from sealmesh.attestation.vendors.tpm.certificates import (
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)
from sealmesh.attestation.vendors.tpm.eventlog import parse_boot_log_untrusted
from sealmesh.attestation.vendors.tpm.evidence import TpmEvidence
from sealmesh.attestation.vendors.tpm.gotools import parse_attestation_untrusted
from sealmesh.attestation.vendors.tpm.structures import (
    parse_public_untrusted,
    parse_quote_untrusted,
    verify_signature_untrusted,
)
from sealmesh.attesters.tpm.chip import TpmChip
from sealmesh.errors import AttesterError, VerificationError

SAMPLE = (Path(__file__).parents[2] / "testvectors/evidence/gce/gce-cos-85-nonce9009.pb").read_bytes()
GCE = RawInput(data=SAMPLE, nonce=b"\x90\x09", policy=Policy(), now=NOW)
TPM = ModelTpm(ek=p256("ek"))
LOG = Firmware(TPM).boot()
QUOTE = TPM.quote(b"e" * 32)
PUBLIC = parse_public_untrusted(TPM.ak_public)
VENDOR = Vendor()


def leaf(data: bytes) -> object:
    found = parse_certificates_untrusted(data)
    return [verify_endorsement_untrusted(one, use=Use.EK, supplied=found[:4], now=NOW) for one in found]


READERS = {
    "public": (parse_public_untrusted, TPM.ak_public),
    "quote": (parse_quote_untrusted, QUOTE.attest),
    "signature": (lambda data: verify_signature_untrusted(PUBLIC, QUOTE.attest, data), QUOTE.signature),
    "log": (parse_boot_log_untrusted, LOG),
    "gotools": (parse_attestation_untrusted, SAMPLE[:3000]),
    "record": (TpmEvidence.parse_untrusted, TpmEvidence(ak_public=TPM.ak_public, parts=QUOTE).to_record().data),
    "certificates": (leaf, der(VENDOR.ek(TPM))),
    "raw": (lambda data: RAW_KIND.judge_untrusted(replace(GCE, data=data)), QUOTE.attest),
}


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with a piece cut out, put in, or written over."""
    at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
    return data[:at] + draw(st.binary(max_size=8)) + data[at + length :]


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    with contextlib.suppress(VerificationError):
        read(data.draw(st.one_of(st.binary(max_size=600), damaged(good))))


class Answers:
    """A chip that answers with these bytes, one after another, and then as the last."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        pass


def framed(parameters: bytes, tag: int, code: int) -> bytes:
    return struct.pack(">HII", tag, 10 + len(parameters), code) + parameters


ANSWER = st.one_of(
    st.binary(max_size=80),
    st.builds(framed, st.binary(max_size=120), st.sampled_from([0x8001, 0x8002]), st.sampled_from([0, 0, 0, 0x1DF])),
)


@settings(max_examples=200)
@given(answers=st.lists(ANSWER, min_size=1, max_size=30))
def test_whatever_a_chip_answers_is_evidence_or_the_one_error(answers: list[bytes]) -> None:
    """Every operation that a node does ends, whatever comes back."""
    chip = TpmChip(lambda: Answers(answers), random=bytes)
    for operation in (
        chip.describe,
        chip.prepare,
        lambda: chip.quote(bytes(32)),
        lambda: chip.activate(b"", b""),
        lambda: chip.seal(b"x"),
        lambda: chip.unseal(answers[0]),
    ):
        with contextlib.suppress(AttesterError):
            operation()


@settings(max_examples=60)
@given(data=damaged(SAMPLE))
def test_the_real_file_with_damage(data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        RAW_KIND.judge_untrusted(replace(GCE, data=data))


@settings(max_examples=40)
@given(role=st.sampled_from(["ak", "ek", "ca", "root", "log"]), data=st.binary(max_size=300))
def test_any_companion(role: str, data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        RAW_KIND.judge_untrusted(replace(GCE, given={role: data}))

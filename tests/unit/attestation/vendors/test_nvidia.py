"""NVIDIA reports: genuine ones of Hopper and Blackwell, home-made ones, and every change to them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given as fuzz
from hypothesis import settings
from hypothesis import strategies as st

from kit.attested import NOW
from kit.evidence import BOUND, at, flipped, given, refusal, sample
from kit.vendor_certs import NvidiaGpu
from sealmesh.attestation.envelope import Record
from sealmesh.attestation.factors import FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import nvidia
from sealmesh.attestation.vendors.nvidia_report import Report
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.errors import VerificationError

TODAY = at("2026-11-22T10:00:00+00:00")
HOPPER = bytes.fromhex(sample("nvidia/nvtrust_hopperAttestationReport.txt").decode())
HOPPER_PEM = sample("nvidia/nvtrust_hopperCertChain.txt")
BLACKWELL = bytes.fromhex(sample("nvidia/nvat_blackwell_report.txt").decode())
BLACKWELL_PEM = sample("nvidia/nvat_blackwell_chain.txt")
GENUINE = pytest.mark.parametrize(
    ("report", "pem", "model", "measurements"),
    [(HOPPER, HOPPER_PEM, "GH100", 64), (BLACKWELL, BLACKWELL_PEM, "GB100", 52)],
    ids=["hopper", "blackwell"],
)
GPU = NvidiaGpu()


def raw(report: bytes = HOPPER, pem: bytes = HOPPER_PEM, *, now: float = TODAY, **more: object) -> RawInput:
    return RawInput(data=report, given={"chain": pem}, policy=Policy(), now=now, **more)  # type: ignore[arg-type]


@GENUINE
def test_a_genuine_report_holds(report: bytes, pem: bytes, model: str, measurements: int) -> None:
    finding = nvidia.RAW_KIND.judge_untrusted(raw(report, pem, nonce=report[4:36]))
    assert (finding.tier_if_bound, finding.bound) == (Tier.NONE, True)
    assert (finding.code_measured, finding.operator_blind) == (False, OperatorBlind.NO)
    assert {one.factor: one.status for one in finding.factors} == dict.fromkeys(
        (FactorId.VENDOR_CHAIN, FactorId.ATTESTATION_KEY, FactorId.ACCELERATORS, FactorId.BINDING), Status.PASS
    )
    assert finding.claims["model"].startswith(model)
    assert finding.claims["measurements"] == str(measurements)


def test_what_hopper_says_of_itself() -> None:
    claims = nvidia.RAW_KIND.judge_untrusted(raw()).claims
    assert (claims["driver"], claims["vbios"]) == ("550.90.07", "009f009601000000")
    assert claims["firmware_named_by_certificate"] == "yes"


def test_hex_as_the_tools_write_it_is_the_same_report() -> None:
    text = sample("nvidia/nvtrust_hopperAttestationReport.txt")
    assert nvidia.RAW_KIND.judge_untrusted(raw(text)) == nvidia.RAW_KIND.judge_untrusted(raw())


def test_without_a_nonce_nothing_is_bound() -> None:
    finding = nvidia.RAW_KIND.judge_untrusted(raw())
    assert finding.bound is False
    assert FactorId.BINDING not in {one.factor for one in finding.factors}


def test_report_data_is_what_the_nonce_is_derived_from() -> None:
    report = GPU.report(nvidia.gpu_nonce(b"report data"))
    assert Report.parse_untrusted(report).nonce == hashlib.sha256(b"gpu" + b"report data").digest()
    device = nvidia.verify_report_untrusted(
        report, GPU.chain, nonce=nvidia.gpu_nonce(b"report data"), now=NOW, root=GPU.root_der
    )
    assert device.firmware_matches is True
    with pytest.raises(VerificationError, match="another nonce"):
        nvidia.RAW_KIND.judge_untrusted(raw(report_data=b"report data"))
    with pytest.raises(VerificationError, match="cannot both hold"):
        nvidia.RAW_KIND.judge_untrusted(raw(report_data=b"report data", nonce=HOPPER[4:36]))


@GENUINE
def test_every_flipped_bit_is_refused(report: bytes, pem: bytes, model: str, measurements: int) -> None:
    # No region of a report is left out by its signature.
    chain = read_chain_untrusted(pem)
    for bit, other in flipped(report, seed=1, count=150):
        assert refusal(lambda o=other: nvidia.verify_report_untrusted(o, chain, nonce=None, now=TODAY)), bit  # type: ignore[misc]


@GENUINE
def test_every_flipped_bit_of_the_chain_is_refused(report: bytes, pem: bytes, model: str, measurements: int) -> None:
    chain = read_chain_untrusted(pem)
    for place in range(len(chain)):
        for bit, other in flipped(chain[place], seed=place, count=60):
            changed = (*chain[:place], other, *chain[place + 1 :])
            judge = lambda c=changed: nvidia.verify_report_untrusted(report, c, nonce=None, now=TODAY)  # type: ignore[misc] # noqa: E731
            assert refusal(judge), (place, bit)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"data": HOPPER[:-1]}, "accelerators"),
        ({"data": HOPPER[:20]}, "accelerators"),
        ({"data": b""}, "accelerators"),
        ({"data": HOPPER + b"\x00"}, "accelerators"),
        ({"data": b"\x11" * 40_000}, "accelerators"),
        ({"data": b"no hex"}, "accelerators"),
        ({"nonce": bytes(32)}, "binding"),
        ({"nonce": HOPPER[4:35]}, "binding"),
        ({"now": at("2020-01-01T00:00:00+00:00")}, "vendor_chain"),
        ({"given": {}}, "vendor_chain"),
        ({"given": {"chain": b""}}, "vendor_chain"),
        ({"given": {"chain": HOPPER_PEM + b"more"}}, "vendor_chain"),
        ({"given": {"chain": BLACKWELL_PEM}}, "attestation_key"),
        ({"given": {"chain": HOPPER_PEM.replace(b"-----END CERTIFICATE-----", b"", 1)}}, "vendor_chain"),
        ({"given": {"chain": b"-----BEGIN CERTIFICATE-----\n\xff=\n-----END CERTIFICATE-----"}}, "vendor_chain"),
    ],
)
def test_a_refusal_names_its_factor(changes: dict[str, object], factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        nvidia.RAW_KIND.judge_untrusted(replace(raw(), **changes))  # type: ignore[arg-type]
    assert caught.value.factor == factor


FIRST = bytes.fromhex("01013300013000")  # index, form, length; kind, length


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (FIRST, bytes.fromhex("01013300012f00")),  # its value ends before the block does
        (FIRST, bytes.fromhex("01023300013000")),  # another form than DMTF's
        (FIRST, b"\x02" + FIRST[1:]),  # an index twice
        (bytes.fromhex("06000800"), bytes.fromhex("03000800")),  # a field twice
        (bytes.fromhex("11e001ff"), bytes.fromhex("11e000ff")),  # no signature was asked for
    ],
)
def test_a_report_has_one_form(part: bytes, other: bytes) -> None:
    report = GPU.report(bytes(32))
    Report.parse_untrusted(report)
    assert part in report
    with pytest.raises(VerificationError, match="accelerators"):
        Report.parse_untrusted(report.replace(part, other, 1))


@fuzz(st.binary(max_size=400))
@settings(max_examples=150)
def test_any_bytes_are_judged_or_refused(data: bytes) -> None:
    for report in (data, HOPPER[:37] + data, HOPPER[:45] + data):
        refusal(lambda r=report: Report.parse_untrusted(r))  # type: ignore[misc]
    refusal(lambda: read_chain_untrusted(data))
    refusal(lambda: nvidia.RAW_KIND.judge_untrusted(raw(data, data)))


def test_a_gpus_record_adds_an_accelerator_and_no_tier() -> None:
    record = nvidia.make_record(GPU.report(nvidia.gpu_nonce(BOUND)), GPU.chain)
    finding = nvidia.verify_nvidia_untrusted(given(record), root=GPU.root_der)
    assert (finding.tier, finding.pinnable, finding.code_measured) == (Tier.NONE, False, False)
    assert [(one.factor, one.status, one.source) for one in finding.factors] == [
        (FactorId.ACCELERATORS, Status.PASS, Source.HARDWARE)
    ]
    assert nvidia.KIND.ceiling is Tier.NONE
    assert any(key.endswith("driver") and value == "550.90.07" for key, value in finding.claims.items())


@pytest.mark.parametrize(
    "record",
    [
        nvidia.make_record(GPU.report(BOUND), GPU.chain),  # the binding itself is not what a GPU is asked with
        nvidia.make_record(GPU.report(nvidia.gpu_nonce(bytes(32))), GPU.chain),
        nvidia.make_record(GPU.report(nvidia.gpu_nonce(BOUND), firmware=bytes(48)), GPU.chain),
        replace(nvidia.make_record(b"", GPU.chain), data=b""),
        replace(nvidia.make_record(b"", GPU.chain), data=b"\xa1\x61a\x01"),
        nvidia.make_record(GPU.report(nvidia.gpu_nonce(BOUND)), ()),
    ],
)
def test_whatever_fails_in_a_gpus_record_fails_the_accelerator(record: Record) -> None:
    # Not the binding: a GPU that does not answer lowers a host, and does not make its own chip's word untrue.
    with pytest.raises(VerificationError) as caught:
        nvidia.verify_nvidia_untrusted(given(record), root=GPU.root_der)
    assert caught.value.factor == "accelerators"

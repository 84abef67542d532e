"""`sealmesh verify` on every genuine sample: accepted at its time as what it is, refused otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest

from sealmesh.attestation.appraise import Appraisal
from sealmesh.attestation.factors import Status, Tier
from sealmesh.attestation.kinds import RAW_KINDS
from sealmesh.cli.verify import Request, appraise, parse_time

ROOT = Path(__file__).parents[3]
EVIDENCE = ROOT / "testvectors" / "evidence"
SCHEMA = json.loads((ROOT / "docs" / "reference" / "verify.schema.json").read_text())
TODAY = parse_time("2026-11-22T10:00:00Z")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file, how it is judged, and what it is.

    Attributes:
        file: Under `testvectors/evidence`.
        kind: As after `--kind`.
        given: Role to file.
        binds: What it binds, hex: as a nonce or as report data.
        word: Which of the two.
        at: A time at which it holds; None for today.
        outside: Times at which it does not.
        tier: What it is worth if bound.
        refused: The factor by which it is always refused.
        damage: Where it is cut or a bit is flipped; in the middle without it.
    """

    file: str
    kind: str
    binds: str
    word: str = "nonce"
    given: dict[str, str] = field(default_factory=dict)
    at: str | None = None
    outside: tuple[str, ...]
    tier: Tier = Tier.HARDWARE_ROOTED
    refused: str = ""
    damage: int | None = None


def hex_of(file: str, start: int, end: int) -> str:
    data = (EVIDENCE / file).read_bytes()
    return (bytes.fromhex(data.decode()) if file.endswith((".hex", ".txt")) else data)[start:end].hex()


MACOS = json.loads((EVIDENCE / "apple" / "macos27.json").read_text())
SAMPLES = [
    Sample(
        file="sev-snp/virtee_report_milan.hex",
        kind="sev-snp",
        given={"vcek": "sev-snp/virtee_vcek_milan.der"},
        binds=hex_of("sev-snp/virtee_report_milan.hex", 0x50, 0x90),
        word="report_data",
        outside=("2023-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
    ),
    Sample(
        file="sev-snp/gsg_attestation.bin",
        kind="sev-snp",
        given={"vcek": "sev-snp/gsg_vcek.der"},
        binds=hex_of("sev-snp/gsg_attestation.bin", 0x50, 0x90),
        word="report_data",
        outside=(),
        refused="platform_state",
    ),
    Sample(
        file="tdx/phala_tdx_quote",
        kind="tdx",
        given={"collateral": "tdx/phala_tdx_quote_collateral.json"},
        binds=hex_of("tdx/phala_tdx_quote", 48 + 520, 48 + 584),
        word="report_data",
        at="2025-07-01T00:00:00Z",
        outside=("2025-06-18T00:00:00Z", "2025-07-20T00:00:00Z"),
    ),
    Sample(
        file="nitro/dstack_nitro.bin",
        kind="nitro",
        binds="",  # its user data and nonce are empty
        at="2025-12-25T14:00:00Z",
        outside=("2025-12-25T13:00:00Z", "2025-12-25T17:00:00Z"),
    ),
    Sample(
        file="gce/gce-cos-85-nonce9009.pb",
        kind="tpm2",
        binds="9009",
        outside=("2021-08-30T00:00:00Z", "2052-01-01T00:00:00Z"),
    ),
    *(
        Sample(
            file=f"nvidia/{report}",
            kind="nvidia-gpu",
            given={"chain": f"nvidia/{chain}"},
            binds=hex_of(f"nvidia/{report}", 4, 36),
            outside=("2015-01-01T00:00:00Z",),
            tier=Tier.NONE,  # it adds claims, and is no tier
        )
        for report, chain in (
            ("nvtrust_hopperAttestationReport.txt", "nvtrust_hopperCertChain.txt"),
            ("nvat_blackwell_report.txt", "nvat_blackwell_chain.txt"),
        )
    ),
    Sample(
        file="apple/macos27.json",
        kind="app-attest",
        binds=MACOS["assertion_client_data_hash"],
        at="2026-07-18T14:20:00Z",
        outside=("2026-07-17T00:00:00Z", "2026-07-21T00:00:00Z"),
    ),
    Sample(
        file="apple/ios-14.4.yaml",
        kind="app-attest",
        binds="8be65cca515ad097c953967d18d635d86dd78a142ed3d077526bed11c6bec67b",
        at="2021-01-23T12:13:36Z",
        outside=("2021-01-01T00:00:00Z", "2021-02-01T00:00:00Z"),
        damage=400,  # in the leaf; receipts for Apple's own server follow, which nobody reads
    ),
]
#: Files that are tried by the tests of their own verifier, and are no evidence by themselves.
ELSEWHERE = {
    "README.md",
    "gce/pca_tpm_ecc_sign_cert.pem",
    "gce/pca_tpm_ecc_enc_cert.pem",
    "apple/mda_synthetic_chain.pem",
    "apple/mda_synthetic_root.pem",
}

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: one.file)


def judge(sample: Sample, file: Path | None = None, **changes: object) -> Appraisal:
    request: dict[str, object] = {
        "files": [file or EVIDENCE / sample.file],
        "kind": sample.kind,
        "given": [f"{role}={EVIDENCE / path}" for role, path in sample.given.items()],
        "at": sample.at,
        **changes,
    }
    (appraisal,) = appraise(Request(**request), now=TODAY)  # type: ignore[arg-type]
    jsonschema.validate(json.loads(json.dumps(appraisal.describe())), SCHEMA)
    return appraisal


def failed(appraisal: Appraisal) -> set[str]:
    return {one.id for one in appraisal.factors if one.status is Status.FAIL}


@each
def test_a_sample_is_what_it_is_at_its_time(sample: Sample, tmp_path: Path) -> None:
    unbound = judge(sample, unbound=True)
    if sample.refused:
        assert not unbound.verified
        assert failed(unbound) == {sample.refused}
        assert unbound.tier is unbound.tier_if_bound is Tier.NONE
        return
    assert unbound.tier is unbound.tier_if_bound is sample.tier
    assert unbound.verified == (sample.tier >= Tier.HARDWARE_ROOTED)
    assert failed(unbound) == set()
    assert not unbound.code_measured  # nothing is on any list
    assert unbound.claims
    anything = tmp_path / "policy.toml"
    anything.write_text('minimum = "none"')
    assert judge(sample, unbound=True, policy=anything).verified
    if sample.binds:
        bound = judge(sample, **{sample.word: sample.binds}, policy=anything)
        assert bound.verified
        assert bound.tier is sample.tier


@each
def test_a_sample_that_nothing_was_asked_of_is_refused(sample: Sample) -> None:
    if not sample.refused:
        appraisal = judge(sample)
        assert not appraisal.verified
        assert appraisal.tier is Tier.NONE
        assert appraisal.tier_if_bound is sample.tier
        assert failed(appraisal) == {"binding"}


@each
def test_a_sample_that_binds_something_else_is_refused(sample: Sample, tmp_path: Path) -> None:
    anything = tmp_path / "policy.toml"
    anything.write_text('minimum = "none"')
    other = "11" * (len(bytes.fromhex(sample.binds)) or 8)
    for word in ("nonce", "report_data"):
        appraisal = judge(sample, **{word: other}, policy=anything)
        assert not appraisal.verified
        assert appraisal.tier is Tier.NONE
        assert failed(appraisal) <= {"binding", sample.refused, "vendor_chain"}
        assert failed(appraisal)


@each
def test_a_sample_outside_its_time_is_refused(sample: Sample) -> None:
    for moment in sample.outside:
        appraisal = judge(sample, unbound=True, at=moment)
        assert not appraisal.verified
        assert appraisal.tier is Tier.NONE
        assert failed(appraisal) & {"vendor_chain", "freshness", "accelerators"}, moment


@each
def test_a_damaged_sample_is_refused(sample: Sample, tmp_path: Path) -> None:
    data = (EVIDENCE / sample.file).read_bytes()
    place = len(data) // 2 if sample.damage is None else sample.damage
    for name, content in {
        "cut": data[:place],
        "trailing": data + b"\x01",
        "flipped": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        "garbage": b"\x00" * 64,
    }.items():
        (tmp_path / name).write_bytes(content)
        appraisal = judge(sample, tmp_path / name, unbound=True)
        assert not appraisal.verified, name
        assert failed(appraisal), name


@each
def test_a_sample_is_refused_as_any_other_kind(sample: Sample) -> None:
    for kind in set(RAW_KINDS) - {sample.kind}:
        appraisal = judge(sample, kind=kind, given=(), unbound=True)
        assert not appraisal.verified, kind


@each
def test_a_sample_without_what_came_beside_it_is_refused(sample: Sample) -> None:
    if sample.given:
        assert not judge(sample, given=(), unbound=True).verified


def test_every_sample_is_tried() -> None:
    there = {str(path.relative_to(EVIDENCE)) for path in EVIDENCE.rglob("*") if path.is_file()}
    tried = {path for one in SAMPLES for path in (one.file, *one.given.values())}
    assert there - ELSEWHERE == tried

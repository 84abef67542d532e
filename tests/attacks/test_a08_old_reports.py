"""A08: genuine reports of guests outside their time, and one from the future."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kit.guests import AMD_NOW, NITRO_NOW, TDX_NOW, nitro_document, raw, snp_key, snp_report, tdx_collateral, tdx_quote
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.vendors import nitro, sevsnp, tdx
from sealmesh.attestation.vendors.der import check_time, read_certificate_untrusted
from sealmesh.attestation.vendors.nitro_document import parse_document_untrusted
from sealmesh.attestation.vendors.raw import RawFinding
from sealmesh.errors import VerificationError

DAY = 86_400.0


def judge_snp(now: float) -> RawFinding:
    return sevsnp.judge_sevsnp_untrusted(raw(snp_report(), now, vcek=snp_key()))


def judge_tdx(now: float) -> RawFinding:
    return tdx.judge_tdx_untrusted(raw(tdx_quote(), now, collateral=tdx_collateral()))


def judge_nitro(now: float) -> RawFinding:
    return nitro.judge_nitro_untrusted(raw(nitro_document(), now))


@pytest.mark.parametrize(
    ("judge", "good", "before", "after"),
    [
        (judge_snp, AMD_NOW, 1_680_000_000.0, 1_901_700_000.0),
        (judge_tdx, TDX_NOW, TDX_NOW - 2 * DAY, TDX_NOW + 30 * DAY),
        (judge_nitro, NITRO_NOW, NITRO_NOW - 300, NITRO_NOW + 4 * 3600),
    ],
    ids=["sev-snp", "tdx", "nitro"],
)
def test_evidence_outside_its_time(
    judge: Callable[[float], RawFinding], good: float, before: float, after: float
) -> None:
    if judge is judge_tdx:
        pytest.importorskip("dcap_qvl", reason="the optional extension is not installed")
    assert judge(good).tier_if_bound is Tier.HARDWARE_ROOTED
    for now in (before, after):
        with pytest.raises(VerificationError) as caught:
            judge(now)
        assert caught.value.factor == "vendor_chain"


def test_the_named_defences_stand_alone() -> None:
    certificate = read_certificate_untrusted(snp_key())
    for now in (certificate.not_before, certificate.not_after):
        check_time(certificate, now)
    for now in (certificate.not_before - 1, certificate.not_after + 1):
        with pytest.raises(VerificationError, match="outside its time"):
            check_time(certificate, now)
    document = parse_document_untrusted(nitro_document())
    nitro.check_document_time(document, document.timestamp - 60)
    with pytest.raises(VerificationError, match="future"):
        nitro.check_document_time(replace(document, timestamp=NITRO_NOW + 61), NITRO_NOW)

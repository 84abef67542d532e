"""A06, A07, A08 for NVIDIA: a home-made root with NVIDIA's names, a software key, another host's or an old report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost, judge
from kit.evidence import BOUND, at, given, sample, statement_bytes
from kit.vendor_certs import Issuer, NvidiaGpu, make_key
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import nvidia
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.verifier import REGISTRY, HostVerdict, Verifier
from sealmesh.errors import VerificationError

GPU = NvidiaGpu()
HOPPER = bytes.fromhex(sample("nvidia/nvtrust_hopperAttestationReport.txt").decode())
CHAIN = read_chain_untrusted(sample("nvidia/nvtrust_hopperCertChain.txt"))
TODAY = at("2026-11-22T10:00:00+00:00")


def trusting(evidence: EvidenceInput) -> Finding:
    return nvidia.verify_nvidia_untrusted(evidence, root=GPU.root_der)


def record(bound: bytes) -> Record:
    return nvidia.make_record(GPU.report(nvidia.gpu_nonce(bound)), GPU.chain)


def live(kind: EvidenceKind, *, software: bool = True) -> HostVerdict:
    host = ProvenHost()
    answer = host.answer()
    records = dict(Envelope.parse_untrusted(answer.envelope).records) if software else {}
    records["gpu"] = record(binding(answer.host_statement))
    verifier = Verifier(policy=Policy(), registry={**REGISTRY, nvidia.TYPE: kind})
    return judge(host, replace(answer, envelope=Envelope(records=records).encode()), verifier=verifier)


def status(verdict: HostVerdict) -> dict[FactorId, Status]:
    return {one.factor: one.status for one in verdict.verdict.factors}


def test_a_home_made_root_with_nvidias_names() -> None:
    verdict = live(nvidia.KIND)
    assert status(verdict)[FactorId.ACCELERATORS] is Status.FAIL
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    report = GPU.report(bytes(32))
    nvidia.verify_report_untrusted(report, GPU.chain, nonce=bytes(32), now=NOW, root=GPU.root_der)
    with pytest.raises(VerificationError, match="not signed by the next one"):
        nvidia.verify_report_untrusted(report, GPU.chain, nonce=bytes(32), now=NOW)


def test_a_genuine_root_above_a_home_made_chain() -> None:
    below = NvidiaGpu(root=Issuer.root("NVIDIA Device Identity CA", seed="another")).chain
    with pytest.raises(VerificationError, match="not signed by the next one"):
        nvidia.verify_report_untrusted(GPU.report(bytes(32)), (*below[:-1], CHAIN[-1]), nonce=None, now=TODAY)


def test_a_software_key_under_a_genuine_chain() -> None:
    forged = GPU.report(bytes(32), key=make_key("software"))
    with pytest.raises(VerificationError, match="did not sign this report"):
        nvidia.verify_report_untrusted(forged, CHAIN, nonce=bytes(32), now=TODAY)


def test_a_genuine_gpu_makes_no_host() -> None:
    kind = EvidenceKind(verify_untrusted=trusting, ceiling=nvidia.KIND.ceiling)
    verdict = live(kind)
    assert status(verdict)[FactorId.ACCELERATORS] is Status.PASS
    # It answers for itself: nothing of it stands in for the chip that the host runs on.
    assert status(verdict)[FactorId.VENDOR_CHAIN] is Status.ABSENT
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    with pytest.raises(VerificationError, match="binding"):
        live(kind, software=False)


def test_the_ceiling_holds_where_its_verifier_is_fooled() -> None:
    def fooled(evidence: EvidenceInput) -> Finding:
        every = tuple(
            Factor(factor=one, status=Status.PASS, source=Source.HARDWARE, reason="fooled") for one in FactorId
        )
        return replace(trusting(evidence), tier=Tier.CONFIDENTIAL, factors=every, code_measured=True)

    verdict = live(EvidenceKind(verify_untrusted=fooled, ceiling=nvidia.KIND.ceiling)).verdict
    assert (verdict.tier, verdict.code_measured) == (Tier.SELF_ASSERTED, False)


@pytest.mark.parametrize(
    "report",
    [
        GPU.report(nvidia.gpu_nonce(bytes(32))),  # another host's binding, or an older statement's
        GPU.report(BOUND),  # the binding itself, which the host's own chip signs
        HOPPER,
    ],
)
def test_a07_a08_a_report_for_another_nonce(report: bytes) -> None:
    with pytest.raises(VerificationError, match="accelerators"):
        trusting(given(nvidia.make_record(report, GPU.chain)))


def test_a07_another_statement_has_another_nonce() -> None:
    trusting(given(record(BOUND)))
    with pytest.raises(VerificationError, match="another nonce"):
        trusting(given(record(BOUND), statement=statement_bytes(backend="local")))


def test_a08_before_the_certificates_begin() -> None:
    nvidia.verify_report_untrusted(HOPPER, CHAIN, nonce=HOPPER[4:36], now=TODAY)
    with pytest.raises(VerificationError, match="not valid at this time"):
        nvidia.verify_report_untrusted(HOPPER, CHAIN, nonce=HOPPER[4:36], now=at("2021-11-05T00:00:00+00:00"))

"""Hosts with hardware evidence, through the whole verifier: live, and as a stranger finds them in a saved proof."""

from __future__ import annotations

import functools

import pytest

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from kit.tpm import Firmware, ModelTpm, Vendor, der, p256, pem
from kit.vendor_certs import NvidiaGpu
from sealmesh.attestation.appraise import Appraisal, appraise_saved_untrusted
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId, Source, Status, Tier
from sealmesh.attestation.kinds import RAW_KINDS, REGISTRY, live_registry
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import apple_app_attest, nvidia, software, tpm
from sealmesh.attestation.vendors.base import EvidenceKind
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.attestation.vendors.tpm.evidence import TYPE_AK, TYPE_CA, TYPE_EK, TpmEvidence
from sealmesh.attestation.verifier import Verifier
from sealmesh.errors import VerificationError

HOST = ProvenHost()
VENDOR = Vendor()
GPU = NvidiaGpu()
HARDWARE = Tier.HARDWARE_ROOTED
TRUSTING = Policy(minimum=HARDWARE, vendors={"tpm": {"extra_roots": (pem(VENDOR.root).decode(),)}})
GPU_REQUIRED = parse_policy_untrusted(b"[gpu]\nrequired = true")
WITH_HOME_MADE_GPU = {
    **REGISTRY,
    nvidia.TYPE: EvidenceKind(
        verify_untrusted=functools.partial(nvidia.verify_nvidia_untrusted, root=GPU.root_der), ceiling=Tier.NONE
    ),
}


def tpm_records(statement: bytes, *, ek: bool = False, ak: bool = False) -> dict[str, Record]:
    firmware = Firmware(ModelTpm("chip", ek=p256("chip ek")))
    log, tpm = firmware.boot(), firmware.tpm
    quote = tpm.quote(binding(statement), range(10))
    records = {
        "tpm2": TpmEvidence(ak_public=tpm.ak_public, parts=quote, event_log=log).to_record(),
        "ca": Record(type=TYPE_CA, data=der(VENDOR.issuer), role=Role.ENDORSEMENT),
    }
    if ek:
        records["ek"] = Record(type=TYPE_EK, data=der(VENDOR.ek(tpm)), role=Role.ENDORSEMENT)
    if ak:
        records["ak"] = Record(type=TYPE_AK, data=der(VENDOR.ak(tpm)), role=Role.ENDORSEMENT)
    return records


def gpu_record(statement: bytes) -> Record:
    return nvidia.make_record(GPU.report(nvidia.gpu_nonce(binding(statement))), GPU.chain)


def software_record(statement: bytes) -> Record:
    return software.make_record(HOST.endpoint_key, binding(statement))


def answer_with(make: object) -> ProofAnswer:
    answer = HOST.answer()
    records = make(answer.host_statement)  # type: ignore[operator]
    return ProofAnswer(
        host_statement=answer.host_statement,
        envelope=Envelope(records=records).encode(),
        path=answer.path,
        keys=answer.keys,
    )


def as_stranger(answer: ProofAnswer, policy: Policy, registry: object = REGISTRY) -> Appraisal:
    data = SavedProof(
        endpoint_id=HOST.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=HOST.epoch(),
    ).encode()
    return appraise_saved_untrusted(data, policy=policy, now=NOW, registry=registry)  # type: ignore[arg-type]


def status(appraisal: Appraisal, factor: FactorId) -> tuple[Status, Source]:
    return next((one.status, one.source) for one in appraisal.factors if one.factor is factor)


def test_a_tpm_whose_key_its_vendor_certified_is_hardware_to_a_stranger() -> None:
    answer = answer_with(lambda statement: tpm_records(statement, ak=True))
    appraisal = as_stranger(answer, TRUSTING)
    assert appraisal.verified
    assert appraisal.tier is HARDWARE
    assert appraisal.kind == "tpm2"
    assert status(appraisal, FactorId.BINDING) == (Status.PASS, Source.HARDWARE)
    assert judge(HOST, answer, verifier=Verifier(policy=TRUSTING)).verdict.tier is HARDWARE


@pytest.mark.parametrize("ek", [False, True])
def test_a_tpm_that_somebody_else_activated_is_self_asserted_to_a_stranger(ek: bool) -> None:
    appraisal = as_stranger(answer_with(lambda statement: tpm_records(statement, ek=ek)), TRUSTING)
    assert not appraisal.verified
    assert appraisal.tier is Tier.SELF_ASSERTED
    assert status(appraisal, FactorId.ACTIVATION) == (Status.ABSENT, Source.PEER_WITNESSED)


def test_a_vendor_that_nobody_pinned_is_no_vendor() -> None:
    def both(statement: bytes) -> dict[str, Record]:
        return {"software-key": software_record(statement), **tpm_records(statement, ak=True)}

    alone = as_stranger(answer_with(lambda statement: tpm_records(statement, ak=True)), Policy(minimum=HARDWARE))
    assert alone.tier is Tier.NONE
    beside = as_stranger(answer_with(both), Policy(minimum=HARDWARE))
    for appraisal in (alone, beside):
        assert not appraisal.verified
        assert status(appraisal, FactorId.VENDOR_CHAIN)[0] is Status.FAIL
    assert beside.tier is Tier.SELF_ASSERTED


def test_another_hosts_tpm_quote_is_refused() -> None:
    other = ProvenHost("other").statement().encode()
    appraisal = as_stranger(answer_with(lambda _: tpm_records(other, ak=True)), TRUSTING)
    assert appraisal.tier is Tier.NONE
    assert status(appraisal, FactorId.BINDING)[0] is Status.FAIL


def test_a_policy_that_requires_accelerators_refuses_a_host_without() -> None:
    with pytest.raises(VerificationError, match="accelerators"):
        judge(HOST, verifier=Verifier(policy=GPU_REQUIRED))
    appraisal = as_stranger(HOST.answer(), GPU_REQUIRED)
    assert not appraisal.verified
    assert status(appraisal, FactorId.ACCELERATORS)[0] is Status.FAIL
    assert judge(HOST, verifier=Verifier(policy=parse_policy_untrusted(b"[gpu]\nrequired = false")))


def test_a_gpu_meets_that_policy_and_is_no_tier() -> None:
    def both(statement: bytes) -> dict[str, Record]:
        return {"software-key": software_record(statement), "gpu": gpu_record(statement)}

    appraisal = as_stranger(answer_with(both), GPU_REQUIRED, WITH_HOME_MADE_GPU)
    assert appraisal.verified
    assert appraisal.tier is Tier.SELF_ASSERTED
    assert status(appraisal, FactorId.ACCELERATORS)[0] is Status.PASS
    assert status(appraisal, FactorId.VENDOR_CHAIN)[0] is Status.ABSENT
    alone = as_stranger(answer_with(lambda statement: {"gpu": gpu_record(statement)}), Policy(), WITH_HOME_MADE_GPU)
    assert not alone.verified
    assert alone.tier is Tier.NONE


def test_a_gpu_that_does_not_hold_lowers_the_tier() -> None:
    def both(statement: bytes) -> dict[str, Record]:
        return {"gpu": gpu_record(statement), **tpm_records(statement, ak=True)}

    answer = answer_with(both)
    assert as_stranger(answer, TRUSTING, WITH_HOME_MADE_GPU).tier is HARDWARE
    lowered = as_stranger(answer, TRUSTING)  # NVIDIA's real root did not sign it
    assert lowered.tier is Tier.SELF_ASSERTED
    assert not lowered.verified


def test_the_tables_name_every_vendor() -> None:
    suffix = {kind.rpartition(".")[2] for kind in REGISTRY}
    assert suffix == set(RAW_KINDS) | {"software-key", "secure-enclave"}
    assert set(RAW_KINDS) == {"sev-snp", "tdx", "sgx", "tpm2", "nvidia-gpu", "app-attest", "apple-mda", "nitro"}


def test_only_a_live_verifier_remembers_and_each_for_itself() -> None:
    one, other = (live_registry(ActivationMemory().holds) for _ in range(2))
    assert set(one) == set(REGISTRY)
    changed = {kind for kind in REGISTRY if one[kind] is not REGISTRY[kind]}
    assert changed == {apple_app_attest.TYPE, tpm.TYPE}
    assert one[tpm.TYPE] is not other[tpm.TYPE]
    assert one[apple_app_attest.TYPE] is not other[apple_app_attest.TYPE]

"""Evidence of Apple's and NVIDIA's devices: records of envelopes and raw files, genuine and home-made ones as seeds."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from fuzz.harness import TESTVECTORS, Harness, Target

from kit.attested import NOW
from kit.evidence import BOUND, at, given
from kit.vendor_certs import AppleMac, Issuer, NvidiaGpu, sign_p256
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import apple_app_attest, apple_enclave, apple_files, apple_mda, nvidia
from sealmesh.attestation.vendors.apple_attest import verify_assertion_untrusted, verify_attestation_untrusted
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.errors import VerificationError

_EVIDENCE = TESTVECTORS / "evidence"
_MACOS = (_EVIDENCE / "apple/macos27.json").read_bytes()
_IOS = (_EVIDENCE / "apple/ios-14.4.yaml").read_bytes()
_MDA_CHAIN = (_EVIDENCE / "apple/mda_synthetic_chain.pem").read_bytes()
_HOPPER = bytes.fromhex((_EVIDENCE / "nvidia/nvtrust_hopperAttestationReport.txt").read_text())
_HOPPER_CHAIN = (_EVIDENCE / "nvidia/nvtrust_hopperCertChain.txt").read_bytes()
_BLACKWELL = (_EVIDENCE / "nvidia/nvat_blackwell_report.txt").read_bytes()
_BLACKWELL_CHAIN = (_EVIDENCE / "nvidia/nvat_blackwell_chain.txt").read_bytes()
_FIELDS = json.loads(_MACOS)
_MAC_AT, _TODAY = at("2026-07-18T14:20:00+00:00"), at("2026-11-22T10:00:00+00:00")
_REFUSES = (VerificationError,)

_MAC = AppleMac()
_MDA = AppleMac(root=Issuer.root("Apple Enterprise Attestation Root CA"))
_GPU = NvidiaGpu()
_APP_ATTEST = apple_app_attest.make_record(
    app_id=_MAC.app_id,
    attestation=_MAC.attestation(),
    client_data_hash=_MAC.client_data_hash,
    assertion=_MAC.assertion(BOUND),
)
_SIGNED = sign_p256(_MDA.key, apple_enclave.message(BOUND))
_MANAGED = apple_mda.make_record(_MDA.mda_chain(), _MDA.public, _SIGNED)
_ENCLAVE = apple_enclave.make_record(_MDA.public, _SIGNED)
_REPORT = nvidia.make_record(_GPU.report(nvidia.gpu_nonce(BOUND)), _GPU.chain)
_ATTESTATION = base64.b64decode(_FIELDS["attestation"])
_ATTESTED = verify_attestation_untrusted(
    _ATTESTATION,
    client_data_hash=bytes.fromhex(_FIELDS["attestation_client_data_hash"]),
    app_id=_FIELDS["app_id"],
    now=_MAC_AT,
)


def _app_attest(data: bytes) -> None:
    apple_app_attest.verify_app_attest_untrusted(given(replace(_APP_ATTEST, data=data)), root=_MAC.root_der)


def _managed(data: bytes) -> None:
    apple_mda.verify_mda_untrusted(given(replace(_MANAGED, data=data)), root=_MDA.root_der)


def _enclave(data: bytes) -> None:
    apple_enclave.verify_enclave_untrusted(given(replace(_ENCLAVE, data=data)))


def _gpu(data: bytes) -> None:
    nvidia.verify_nvidia_untrusted(given(replace(_REPORT, data=data)), root=_GPU.root_der)


def _attestation(data: bytes) -> None:
    verify_attestation_untrusted(
        data,
        client_data_hash=bytes.fromhex(_FIELDS["attestation_client_data_hash"]),
        app_id=_FIELDS["app_id"],
        now=_MAC_AT,
    )


def _assertion(data: bytes) -> None:
    bound = bytes.fromhex(_FIELDS["assertion_client_data_hash"])
    verify_assertion_untrusted(data, attested=_ATTESTED, client_data_hash=bound)


def _mac_file(data: bytes) -> None:
    apple_files.RAW_KIND.judge_untrusted(RawInput(data=data, policy=Policy(), now=_MAC_AT))


def _iphone_file(data: bytes) -> None:
    now = at("2021-01-23T12:13:36+00:00")
    apple_files.RAW_KIND.judge_untrusted(RawInput(data=data, policy=Policy(), now=now))


def _mda_file(data: bytes) -> None:
    apple_mda.judge_certificate_untrusted(RawInput(data=data, policy=Policy(), now=NOW), root=_MDA.root_der)


def _mda_file_by_apple(data: bytes) -> None:
    apple_mda.RAW_KIND.judge_untrusted(RawInput(data=data, policy=Policy(), now=NOW))


def _report_file(data: bytes) -> None:
    chain = _HOPPER_CHAIN if data[:1] == b"\x11" else _BLACKWELL_CHAIN
    nvidia.RAW_KIND.judge_untrusted(RawInput(data=data, given={"chain": chain}, policy=Policy(), now=_TODAY))


def _chain_file(data: bytes) -> None:
    read_chain_untrusted(data)
    nvidia.RAW_KIND.judge_untrusted(RawInput(data=_HOPPER, given={"chain": data}, policy=Policy(), now=_TODAY))


HARNESS = Harness(
    app_attest=Target(_app_attest, _REFUSES, [_APP_ATTEST.data]),
    managed=Target(_managed, _REFUSES, [_MANAGED.data]),
    enclave=Target(_enclave, _REFUSES, [_ENCLAVE.data]),
    gpu=Target(_gpu, _REFUSES, [_REPORT.data]),
    attestation=Target(_attestation, _REFUSES, [_ATTESTATION]),
    assertion=Target(_assertion, _REFUSES, [base64.b64decode(_FIELDS["assertion"])]),
    mac_file=Target(_mac_file, _REFUSES, [_MACOS]),
    iphone_file=Target(_iphone_file, _REFUSES, [_IOS]),
    mda_file=Target(_mda_file, _REFUSES, [_MDA_CHAIN]),
    mda_file_by_apple=Target(_mda_file_by_apple, _REFUSES, [_MDA_CHAIN]),
    report_file=Target(_report_file, _REFUSES, [_HOPPER, _BLACKWELL]),
    chain_file=Target(_chain_file, _REFUSES, [_HOPPER_CHAIN, _BLACKWELL_CHAIN]),
)

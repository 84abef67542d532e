"""NVIDIA's driver: the real binding on a machine without a GPU, and a driver that answers as the real one would."""

from __future__ import annotations

import sys
import types
from typing import Any

import pynvml
import pytest

from kit.evidence import sample
from sealmesh.attesters.nvidia import GpuReporter, load_nvml
from sealmesh.errors import AttesterError, AttesterUnavailableError

NONCE = bytes(range(32))
REPORT = bytes.fromhex(sample("nvidia/nvtrust_hopperAttestationReport.txt").decode())
CHAIN = sample("nvidia/nvtrust_hopperCertChain.txt")


def driver(**changes: Any) -> Any:
    """NVML with one GPU in confidential mode, through the real binding's structures and errors."""

    def report(_: object, nonce: bytes) -> object:
        assert nonce == NONCE
        answer = pynvml.c_nvmlConfComputeGpuAttestationReport_t()
        answer.attestationReport[: len(REPORT)] = REPORT
        answer.attestationReportSize = changes.get("size", len(REPORT))
        return answer

    def certificate(_: object) -> object:
        answer = pynvml.c_nvmlConfComputeGpuCertificate_t()
        answer.attestationCertChain[: len(CHAIN)] = CHAIN
        answer.attestationCertChainSize = len(CHAIN)
        return answer

    def state() -> object:
        if "state_error" in changes:
            raise pynvml.NVMLError(changes["state_error"])
        return types.SimpleNamespace(ccFeature=changes.get("feature", 1))

    fake = types.SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        NVMLError_NotSupported=pynvml.NVMLError_NotSupported,
        NVMLError_FunctionNotFound=pynvml.NVMLError_FunctionNotFound,
        ended=0,
        nvmlInit=lambda: None,
        nvmlSystemGetConfComputeState=state,
        nvmlDeviceGetCount=lambda: changes.get("count", 1),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: "NVIDIA H100\x1b[31m",
        nvmlDeviceGetConfComputeGpuAttestationReport=report,
        nvmlDeviceGetConfComputeGpuCertificate=certificate,
    )

    def shutdown() -> None:
        fake.ended += 1

    fake.nvmlShutdown = shutdown
    return fake


def test_every_function_that_is_called_is_in_the_real_binding() -> None:
    for name in vars(driver()):
        if name != "ended":
            assert hasattr(pynvml, name), name


def test_a_machine_without_a_driver() -> None:
    assert GpuReporter().find() == ()
    with pytest.raises(AttesterUnavailableError, match="no NVIDIA driver"):
        GpuReporter().reports(NONCE)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(AttesterUnavailableError, match="extra"):
        load_nvml()


@pytest.mark.parametrize("missing", sorted(set(vars(driver())) - {"ended"}))
def test_an_old_binding_of_another_package_stops_no_start(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Engines bring a `pynvml` of before confidential mode; a host with a chip asks it for GPUs at each start."""
    old = driver()
    delattr(old, missing)
    monkeypatch.setitem(sys.modules, "pynvml", old)
    assert GpuReporter().find() == ()
    with pytest.raises(AttesterUnavailableError, match=f"{missing}; install sealmesh"):
        GpuReporter().reports(NONCE)


def test_a_report_and_its_chain() -> None:
    nvml = driver()
    assert GpuReporter(nvml).find() == ("NVIDIA H100[31m",)
    (made,) = GpuReporter(nvml).reports(NONCE)
    assert made.report == REPORT
    assert len(made.chain) == 5
    assert nvml.ended == 2


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_a_gpu_without_confidential_mode_is_not_mentioned(error: int) -> None:
    assert GpuReporter(driver(state_error=error)).find() == ()
    assert GpuReporter(driver(feature=0)).find() == ()


def test_a_driver_that_fails_says_so() -> None:
    nvml = driver(state_error=pynvml.NVML_ERROR_GPU_IS_LOST)
    with pytest.raises(AttesterError, match="refuses"):
        GpuReporter(nvml).find()
    assert nvml.ended == 1


@pytest.mark.parametrize("changes", [{"size": 0}, {"size": 9000}, {"size": 1 << 31}, {"count": 9}, {"count": -1}])
def test_impossible_answers(changes: dict[str, int]) -> None:
    with pytest.raises(AttesterError):
        GpuReporter(driver(**changes)).reports(NONCE)


def test_only_a_whole_nonce() -> None:
    with pytest.raises(AttesterError, match="32 bytes"):
        GpuReporter(driver()).reports(b"short")

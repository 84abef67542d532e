"""NVIDIA GPUs in confidential mode, through NVML (`nvidia-ml-py`, the extra `nvidia`). Blocking.

Written to the interface of NVML and of NVIDIA's own verifier; no GPU in confidential mode has been at hand, so that
making a report is unrun.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sealmesh.attesters.files import to_der
from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.limits import GPU_REPORT_MAX, GPUS_MAX

EXTRA: Final = "sealmesh[nvidia]"
NONCE_BYTES: Final = 32
_NEEDED: Final = (
    "NVMLError",
    "NVMLError_FunctionNotFound",
    "NVMLError_NotSupported",
    "nvmlDeviceGetConfComputeGpuAttestationReport",
    "nvmlDeviceGetConfComputeGpuCertificate",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlInit",
    "nvmlShutdown",
    "nvmlSystemGetConfComputeState",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """What one device answered.

    Attributes:
        report: SPDM request and signed answer.
        chain: DER, from the device's certificate up.
    """

    report: bytes
    chain: tuple[bytes, ...]


class GpuReporter:
    """Asks the driver.

    Args:
        library: `pynvml`; looked for without it.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library

    def find(self) -> tuple[str, ...]:
        """Return the names of the devices in confidential mode; none where there is no driver, library or such device.

        Raises:
            AttesterError: The driver fails.
        """
        try:
            with self._opened() as nvml:
                try:
                    if not nvml.nvmlSystemGetConfComputeState().ccFeature:
                        return ()
                except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
                    return ()  # a GPU or driver from before there was such a mode
                return tuple(_name(nvml.nvmlDeviceGetName(device)) for device in _devices(nvml))
        except AttesterUnavailableError:
            return ()

    def reports(self, nonce: bytes) -> tuple[GpuReport, ...]:
        """Have each device sign a nonce.

        Args:
            nonce: 32 bytes.

        Raises:
            AttesterUnavailableError: There is no driver or library.
            AttesterError: A device does not answer as it should.
        """
        if len(nonce) != NONCE_BYTES:
            raise AttesterError(f"a GPU is asked with {NONCE_BYTES} bytes")
        with self._opened() as nvml:
            return tuple(_report(nvml, device, nonce) for device in _devices(nvml))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        nvml = self._library or load_nvml()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise AttesterUnavailableError(f"no NVIDIA driver answers ({error})") from error
        try:
            yield nvml
        except nvml.NVMLError as error:
            raise AttesterError(f"the NVIDIA driver refuses ({error})") from error
        finally:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def load_nvml() -> Any:
    """Return NVIDIA's binding.

    Raises:
        AttesterUnavailableError: The extra is not installed, or only an older binding.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise AttesterUnavailableError(f"GPUs are asked through an extra that is not installed: {EXTRA}") from error
    if missing := [name for name in _NEEDED if not hasattr(nvml, name)]:
        # Other packages bring older bindings, of before there was a confidential mode.
        raise AttesterUnavailableError(f"the binding pynvml that is installed has no {missing[0]}; install {EXTRA}")
    return nvml


def _devices(nvml: Any) -> Iterator[Any]:
    count = nvml.nvmlDeviceGetCount()
    if not 0 <= count <= GPUS_MAX:
        raise AttesterError("the NVIDIA driver counts more GPUs than a machine has")
    for index in range(count):
        yield nvml.nvmlDeviceGetHandleByIndex(index)


def _report(nvml: Any, device: Any, nonce: bytes) -> GpuReport:
    answer = nvml.nvmlDeviceGetConfComputeGpuAttestationReport(device, nonce)
    certificates = nvml.nvmlDeviceGetConfComputeGpuCertificate(device)
    chain = _content(certificates.attestationCertChain, certificates.attestationCertChainSize)
    return GpuReport(report=_content(answer.attestationReport, answer.attestationReportSize), chain=to_der(chain))


def _content(buffer: Any, length: int) -> bytes:
    """The used part of a fixed buffer of the driver's."""
    content = bytes(buffer)
    if not 0 < length <= min(len(content), GPU_REPORT_MAX):
        raise AttesterError("the NVIDIA driver gives nothing, or more than there is room for")
    return content[:length]


def _name(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("ascii", "replace")
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable())[:64]

"""Reports of a confidential guest, AMD SEV-SNP or Intel TDX, through the kernel's configfs-tsm: files only. Blocking.

The kernel's rules (Linux, Documentation/ABI/testing/configfs-tsm-report): a folder that is made under `report` is one
request; what is written to `inblob` is signed, and `outblob` is the report; `generation` counts writes, so that a
reader can tell whether somebody else wrote in between; `auxblob` holds what the host of the guest adds.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.limits import REPORT_FILE_MAX

FOLDER: Final = Path("/sys/kernel/config/tsm/report")
REPORT_DATA_BYTES: Final = 64
_TRIES: Final = 3  # with a name that nobody else knows, one is enough; another root process may still write
_ENTRY_BYTES: Final = 24  # of the table of certificates: GUID, offset, length
_ENTRIES_MAX: Final = 32


_Answer = TypeVar("_Answer")


class Provider(enum.Enum):
    """Which module of the kernel makes the reports, by the name that it gives itself."""

    SEV_SNP = "sev_guest"
    TDX = "tdx_guest"


class ReportFiles(Protocol):
    """The folder of requests: `KernelFiles`, or a test's own kernel."""

    def exists(self) -> bool:
        """Whether this kernel has it."""

    def make(self, name: str) -> None:
        """Make a request."""

    def write(self, name: str, attribute: str, content: bytes) -> None:
        """Write one of its files, at once."""

    def read(self, name: str, attribute: str) -> bytes:
        """Read one of its files."""

    def remove(self, name: str) -> None:
        """Forget the request."""


class KernelFiles:
    """The real files. Each method raises OSError as the kernel says.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def exists(self) -> bool:
        """See `ReportFiles.exists`."""
        return self._folder.is_dir()

    def make(self, name: str) -> None:
        """See `ReportFiles.make`."""
        (self._folder / name).mkdir()

    def write(self, name: str, attribute: str, content: bytes) -> None:
        """See `ReportFiles.write`."""
        descriptor = os.open(self._folder / name / attribute, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)

    def read(self, name: str, attribute: str) -> bytes:
        """See `ReportFiles.read`."""
        with (self._folder / name / attribute).open("rb") as stream:
            return stream.read(REPORT_FILE_MAX + 1)

    def remove(self, name: str) -> None:
        """See `ReportFiles.remove`."""
        (self._folder / name).rmdir()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestReport:
    """A report.

    Attributes:
        provider: Of which kind.
        report: As the hardware made it.
        extra: What the host added, for SEV-SNP a table of certificates; empty where it added nothing.
    """

    provider: Provider
    report: bytes
    extra: bytes


class GuestReporter:
    """Asks the kernel for reports.

    Args:
        files: Where.
        random: Makes names that no other request has.
    """

    def __init__(self, files: ReportFiles | None = None, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._files = KernelFiles() if files is None else files
        self._random = random

    def find(self) -> Provider | None:
        """Return what kind of guest this is; None for a machine that is none.

        Raises:
            AttesterError: It may be one, and this process may not ask for reports, or its kind is unknown.
        """
        if not self._files.exists():
            return None
        try:
            return self._asked(lambda name: _provider(self._read(name, "provider")))
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENODEV, errno.ENOENT):
                return None  # the folder is there, and no module that makes reports
            raise _failed(error) from error

    def report(self, data: bytes) -> GuestReport:
        """Have 64 bytes signed.

        Raises:
            AttesterUnavailableError: This is no confidential guest.
            AttesterError: The kernel gives no report.
        """
        if len(data) != REPORT_DATA_BYTES:
            raise AttesterError(f"a report is made over {REPORT_DATA_BYTES} bytes")
        if not self._files.exists():
            raise AttesterUnavailableError("this machine is no confidential guest, or its kernel has no configfs-tsm")
        for _ in range(_TRIES):
            try:
                found = self._asked(lambda name: self._request(name, data))
            except OSError as error:
                raise _failed(error) from error
            if found is not None:
                return found
        raise AttesterError("another process keeps writing to this one's requests for a report")

    def _asked(self, ask: Callable[[str], _Answer]) -> _Answer:
        """Make a request, ask, and forget it on every way out."""
        name = f"sealmesh-{self._random(8).hex()}"
        self._files.make(name)
        try:
            return ask(name)
        finally:
            with contextlib.suppress(OSError):
                self._files.remove(name)

    def _request(self, name: str, data: bytes) -> GuestReport | None:
        """One request; None if somebody else wrote to it in between."""
        self._files.write(name, "inblob", data)
        before = self._read(name, "generation")
        try:
            report = self._read(name, "outblob")
        except BlockingIOError:
            return None  # the kernel saw a write while it made the report
        extra = b""
        with contextlib.suppress(FileNotFoundError):
            extra = self._read(name, "auxblob")
        provider = _provider(self._read(name, "provider"))
        # 1 is our own write and the only one; a report made over other data would bind nothing of ours.
        if before.strip() != b"1" or self._read(name, "generation") != before:
            return None
        return GuestReport(provider=provider, report=report, extra=extra)

    def _read(self, name: str, attribute: str) -> bytes:
        content = self._files.read(name, attribute)
        if len(content) > REPORT_FILE_MAX:
            raise AttesterError(f"the kernel's {attribute} is longer than any report")
        return content


def _provider(content: bytes) -> Provider:
    word = content.decode("ascii", "replace").strip()
    for provider in Provider:
        if provider.value == word:
            return provider
    raise AttesterError("the kernel makes reports of a kind that is not known here")


def _failed(error: OSError) -> AttesterError:
    if isinstance(error, PermissionError):
        return AttesterError(f"this user may not ask for reports of the guest at {FOLDER}: run as root")
    return AttesterError(f"the kernel gives no report of this guest ({error.strerror})")


def _guids(names: Mapping[str, str]) -> dict[bytes, str]:
    read = {uuid.UUID(text): name for text, name in names.items()}
    return {form: name for one, name in read.items() for form in (one.bytes, one.bytes_le)}


_CERTIFICATES: Final = _guids(
    {
        "63da758d-e664-4564-adc5-f4b93be8accd": "vcek",
        "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek",
    }
)


def read_certificates_untrusted(table: bytes) -> dict[str, bytes]:
    """Read the certificates that the host of an SEV-SNP guest adds to a report: name to DER.

    Args:
        table: GUID, offset and length (little-endian) for each, a row of zeros, then the certificates [AMD's GHCB
            specification, 56421, 4.1.8.1]. The GUID's bytes stand in either of the two orders that are in use.

    Raises:
        AttesterError: A row points outside the table, or there are too many.
    """
    found: dict[str, bytes] = {}
    for row in range(_ENTRIES_MAX):
        entry = table[row * _ENTRY_BYTES : (row + 1) * _ENTRY_BYTES]
        if len(entry) < _ENTRY_BYTES or not any(entry):
            return found
        offset, length = int.from_bytes(entry[16:20], "little"), int.from_bytes(entry[20:24], "little")
        if not 0 < length <= len(table) - offset:
            raise AttesterError("the host's table of certificates points outside itself")
        name = _CERTIFICATES.get(entry[:16])
        if name is not None:
            found[name] = table[offset : offset + length]
    raise AttesterError("the host's table of certificates is longer than any")


def signing_key(report: bytes) -> str:
    """Return which of AMD's keys signed an SEV-SNP report: `vcek`, of the chip, or `vlek`, of the cloud."""
    return "vlek" if int.from_bytes(report[0x48:0x4C], "little") >> 2 & 7 == 1 else "vcek"

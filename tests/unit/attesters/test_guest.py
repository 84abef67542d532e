"""Reports of confidential guests through a kernel with the rules of the real one."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from kit.tsm import VCEK, VLEK, FakeKernel, certificate_table
from sealmesh.attesters.guest import (
    GuestReporter,
    KernelFiles,
    Provider,
    read_certificates_untrusted,
    signing_key,
)
from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.limits import REPORT_FILE_MAX

DATA = bytes(range(64))


def kernel(**changes: object) -> FakeKernel:
    return FakeKernel(sign=lambda data: b"signed " + data, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kind"), [("sev_guest", Provider.SEV_SNP), ("tdx_guest", Provider.TDX)])
def test_a_report_of_each_kind(name: str, kind: Provider) -> None:
    files = kernel(provider=name)
    assert GuestReporter(files).find() is kind
    made = GuestReporter(files).report(DATA)
    assert (made.provider, made.report, made.extra) == (kind, b"signed " + DATA, b"")
    assert files.requests == {}


def test_what_the_host_adds_comes_along() -> None:
    assert GuestReporter(kernel(aux=b"table")).report(DATA).extra == b"table"


@pytest.mark.parametrize("files", [kernel(there=False), kernel(provider=None)])
def test_a_machine_that_is_no_guest(files: FakeKernel) -> None:
    assert GuestReporter(files).find() is None


def test_a_report_where_there_is_none() -> None:
    with pytest.raises(AttesterUnavailableError):
        GuestReporter(kernel(there=False)).report(DATA)


@pytest.mark.parametrize("length", [0, 32, 65])
def test_only_whole_report_data(length: int) -> None:
    with pytest.raises(AttesterError, match="64 bytes"):
        GuestReporter(kernel()).report(bytes(length))


def test_who_may_not_ask_is_told_so() -> None:
    files = kernel(refuses=errno.EACCES)
    for ask in (GuestReporter(files).find, lambda: GuestReporter(files).report(DATA)):
        with pytest.raises(AttesterError, match="run as root"):
            ask()


def test_a_kind_that_is_not_known() -> None:
    with pytest.raises(AttesterError, match="not known"):
        GuestReporter(kernel(provider="cca_guest")).find()


def test_a_report_for_somebody_elses_data_is_asked_again() -> None:
    """Another root process writes once into the same request: the kernel says so, and the next try is clean."""
    files = kernel()
    left = [b"x" * 64]

    def write(name: str) -> None:
        if left:
            files.write(name, "inblob", left.pop())

    files.intruder = write
    assert GuestReporter(files).report(DATA).report == b"signed " + DATA
    assert files.made == 2
    assert files.requests == {}


def test_an_intruder_that_does_not_stop() -> None:
    files = kernel()
    files.intruder = lambda name: files.write(name, "inblob", b"x" * 64)
    with pytest.raises(AttesterError, match="another process"):
        GuestReporter(files).report(DATA)
    assert files.requests == {}


def test_a_report_made_over_what_was_there_before_counts_for_nothing() -> None:
    """The intruder wrote between our write and our first look at the counter."""

    class Early(FakeKernel):
        def write(self, name: str, attribute: str, content: bytes) -> None:
            super().write(name, attribute, content)
            super().write(name, attribute, b"x" * 64)

    with pytest.raises(AttesterError, match="another process"):
        GuestReporter(Early(sign=lambda data: data)).report(DATA)


def test_a_failing_hardware_forgets_the_request() -> None:
    def fail(_: bytes) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    files = FakeKernel(sign=fail)
    with pytest.raises(AttesterError, match="Input/output error"):
        GuestReporter(files).report(DATA)
    assert files.requests == {}


def test_a_report_longer_than_any() -> None:
    with pytest.raises(AttesterError, match="longer"):
        GuestReporter(FakeKernel(sign=lambda _: bytes(REPORT_FILE_MAX + 1))).report(DATA)


def test_the_real_files(tmp_path: Path) -> None:
    files = KernelFiles(tmp_path)
    assert files.exists()
    assert not KernelFiles(tmp_path / "none").exists()
    files.make("one")
    (tmp_path / "one" / "inblob").touch()
    files.write("one", "inblob", DATA)
    assert files.read("one", "inblob") == DATA
    with pytest.raises(FileNotFoundError):
        files.write("one", "outblob", DATA)
    (tmp_path / "one" / "inblob").unlink()
    files.remove("one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("big_endian", [False, True])
def test_certificates_of_the_host(big_endian: bool) -> None:
    table = certificate_table((VCEK, b"chip"), (VLEK, b"cloud"), big_endian=big_endian)
    assert read_certificates_untrusted(table) == {"vcek": b"chip", "vlek": b"cloud"}
    assert read_certificates_untrusted(b"") == {}
    assert read_certificates_untrusted(bytes(24)) == {}


@pytest.mark.parametrize(
    "table",
    [
        VCEK.bytes_le + struct.pack("<II", 24, 1),
        VCEK.bytes_le + struct.pack("<II", 2**32 - 1, 2**32 - 1) + bytes(64),
        VCEK.bytes_le + struct.pack("<II", 0, 0) + bytes(64),
        (b"\x01" * 16 + struct.pack("<II", 0, 1)) * 40,
    ],
)
def test_tables_that_point_anywhere(table: bytes) -> None:
    with pytest.raises(AttesterError):
        read_certificates_untrusted(table)


def test_which_key_signed() -> None:
    assert signing_key(bytes(0x48) + struct.pack("<I", 0)) == "vcek"
    assert signing_key(bytes(0x48) + struct.pack("<I", 1 << 2)) == "vlek"

"""What proves a host: what was chosen, else the best that works, and never in silence."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from kit.attested import ProvenHost
from kit.mac import Keychain
from kit.swtpm import SoftwareTpm, wrapped
from kit.tsm import VCEK, FakeKernel, certificate_table
from sealmesh.attestation.envelope import Envelope
from sealmesh.attestation.vendors import software
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.find import FoundTpm, open_tpm
from sealmesh.attesters.guest import GuestReporter
from sealmesh.attesters.nvidia import GpuReport
from sealmesh.attesters.tpm.chip import TpmChip
from sealmesh.attesters.tpm.transport import connector
from sealmesh.attesters.tpm.wire import Command
from sealmesh.config import AttesterChoice
from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.host.find import SOFTWARE_WORDS, FoundAttester, Machine, find_attester
from sealmesh.limits import EVIDENCE_MAX

KEY = ProvenHost().endpoint_key


def machine(tmp_path: Path, **changes: object) -> Machine:
    """A machine with nothing, but for what is given."""
    bare = {
        "tpm": FoundTpm(),
        "given": EndorsementFolder(tmp_path),
        "memory": tmp_path,
        "guest": GuestReporter(FakeKernel(sign=bytes, there=False)),
        "gpu": Gpus(),
        "framework": no_framework,
    }
    return Machine(**{**bare, **changes})  # type: ignore[arg-type]


class Gpus:
    """GPUs in confidential mode."""

    def __init__(self, *names: str, fails: bool = False, length: int = 0) -> None:
        self.names, self.fails, self.length = names, fails, length

    def find(self) -> tuple[str, ...]:
        return self.names

    def reports(self, nonce: bytes) -> tuple[GpuReport, ...]:
        if self.fails:
            raise AttesterError("the GPU is lost")
        return tuple(GpuReport(report=b"report " + nonce + bytes(self.length), chain=(b"leaf",)) for _ in self.names)


def no_framework(name: str) -> object:
    raise AttesterUnavailableError("this machine is no Mac")


async def find(choice: AttesterChoice, tmp_path: Path, **changes: object) -> FoundAttester:
    return await find_attester(choice, key=KEY, machine=machine(tmp_path, **changes))


def broken(tpm: SoftwareTpm, what: Command = Command.CREATE_PRIMARY) -> FoundTpm:
    """A chip that answers, and makes no key (or does not do something else)."""

    def fail(command: bytes) -> None:
        if int.from_bytes(command[6:10], "big") == what:
            raise AttesterError("the hierarchy has a password", code=0x8E)

    return FoundTpm(chip=TpmChip(wrapped(connector(tpm.path), fail)), path=tpm.path, words="TPM 2.0 by Acme")


async def test_without_a_chip_it_is_a_software_key(tmp_path: Path) -> None:
    found = await find(AttesterChoice.AUTO, tmp_path, tpm=FoundTpm())
    assert (found.words, found.notes) == (SOFTWARE_WORDS, ())
    assert set(await found.attester.attest(bytes(32))) == {software.LABEL}


@pytest.mark.parametrize(("note", "words"), [("", "--tpm"), ("join tss", "join tss")])
async def test_a_chip_that_was_chosen_and_is_not_there(tmp_path: Path, note: str, words: str) -> None:
    with pytest.raises(AttesterUnavailableError, match=words):
        await find(AttesterChoice.TPM, tmp_path, tpm=FoundTpm(note=note))


@pytest.mark.swtpm
@pytest.mark.parametrize("choice", [AttesterChoice.AUTO, AttesterChoice.TPM])
async def test_a_chip_is_taken_with_the_software_key_beside_it(
    tpm: SoftwareTpm, tmp_path: Path, choice: AttesterChoice
) -> None:
    found = await find(choice, tmp_path, tpm=open_tpm(tpm.path))
    assert (found.words, found.notes) == ("an emulated TPM 2.0 (no hardware)", ())
    assert {software.LABEL, "tpm2", "tpm2-ek-0"} == set(await found.attester.attest(bytes(32)))


@pytest.mark.swtpm
async def test_a_chip_may_be_passed_over_by_name(tpm: SoftwareTpm, tmp_path: Path) -> None:
    found = await find(AttesterChoice.SOFTWARE, tmp_path, tpm=open_tpm(tpm.path))
    assert found.words == SOFTWARE_WORDS


@pytest.mark.swtpm
@pytest.mark.parametrize("what", [Command.CREATE_PRIMARY, Command.QUOTE, Command.PCR_READ])
async def test_a_chip_that_proves_nothing_is_said_or_stops_the_start(
    tpm: SoftwareTpm, tmp_path: Path, what: Command
) -> None:
    """One that makes keys and has no SHA-256 registers to quote, too: the host must start with its software key."""
    found = await find(AttesterChoice.AUTO, tmp_path, tpm=broken(tpm, what))
    assert found.words == SOFTWARE_WORDS
    assert "tpm is here and proves nothing" in found.notes[0]
    with pytest.raises(AttesterError, match="password"):
        await find(AttesterChoice.TPM, tmp_path, tpm=broken(tpm, what))


def snp(**changes: object) -> GuestReporter:
    """A guest whose host adds its certificate."""
    table = certificate_table((VCEK, b"chip"))
    return GuestReporter(FakeKernel(sign=lambda data: bytes(0x50) + data, aux=table, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", [AttesterChoice.AUTO, AttesterChoice.SEV_SNP])
async def test_a_confidential_guest_comes_before_everything(tmp_path: Path, choice: AttesterChoice) -> None:
    found = await find(choice, tmp_path, guest=snp())
    assert (found.words, found.notes) == ("an AMD SEV-SNP guest", ())
    assert set(await found.attester.attest(bytes(32))) == {software.LABEL, "sev-snp", "sev-snp-key-0"}


async def test_a_guest_of_another_kind_than_was_chosen(tmp_path: Path) -> None:
    with pytest.raises(AttesterUnavailableError, match="not an Intel TDX guest"):
        await find(AttesterChoice.TDX, tmp_path, guest=snp())


async def test_a_tdx_guest_needs_its_collateral(tmp_path: Path) -> None:
    guest = GuestReporter(FakeKernel(sign=bytes, provider="tdx_guest"))
    found = await find(AttesterChoice.AUTO, tmp_path, guest=guest)
    assert found.words == SOFTWARE_WORDS
    assert "collateral.json" in found.notes[0]
    (tmp_path / "collateral.json").write_text("{}")
    assert (await find(AttesterChoice.AUTO, tmp_path, guest=guest)).words == "an Intel TDX guest"


async def test_a_guest_that_may_not_be_asked_is_said(tmp_path: Path) -> None:
    found = await find(AttesterChoice.AUTO, tmp_path, guest=snp(refuses=errno.EACCES))
    assert found.words == SOFTWARE_WORDS
    assert "run as root" in found.notes[0]


async def test_gpus_go_along_with_a_chip_and_never_alone(tmp_path: Path) -> None:
    found = await find(AttesterChoice.AUTO, tmp_path, guest=snp(), gpu=Gpus("NVIDIA H100", "NVIDIA H100"))
    assert found.words == "an AMD SEV-SNP guest, with 2 × NVIDIA H100"
    assert {"nvidia-gpu-0", "nvidia-gpu-1"} < set(await found.attester.attest(bytes(32)))
    assert (await find(AttesterChoice.AUTO, tmp_path, gpu=Gpus("NVIDIA H100"))).words == SOFTWARE_WORDS


async def test_a_gpu_that_fails_is_said(tmp_path: Path) -> None:
    found = await find(AttesterChoice.AUTO, tmp_path, guest=snp(), gpu=Gpus("NVIDIA H100", fails=True))
    assert found.words == "an AMD SEV-SNP guest"
    assert "the GPU is lost" in found.notes[0]


@pytest.mark.parametrize("choice", [AttesterChoice.APP_ATTEST, AttesterChoice.SECURE_ENCLAVE])
async def test_a_macs_chip_on_another_machine(tmp_path: Path, choice: AttesterChoice) -> None:
    with pytest.raises(AttesterUnavailableError, match="no Mac"):
        await find(choice, tmp_path)


@pytest.mark.parametrize("named", [True, False])
async def test_a_mac_before_app_attest_has_its_secure_enclave(tmp_path: Path, named: bool) -> None:
    class NotSupported:
        def isSupported(self) -> bool:
            return False

    def framework(name: str) -> object:
        service = SimpleNamespace(sharedService=NotSupported)
        check = SimpleNamespace(DCAppAttestService=service) if named else SimpleNamespace()  # of an older macOS
        return check if name == "DeviceCheck" else Keychain()

    found = await find(AttesterChoice.AUTO, tmp_path, framework=framework)
    assert "Secure Enclave" in found.words
    assert set(await found.attester.attest(bytes(32))) == {software.LABEL, "secure-enclave"}


async def test_evidence_that_no_envelope_holds_is_said_at_the_start(tmp_path: Path) -> None:
    """Else every statement fails, with words about our own code; eight GPUs, or a whole bundle of certificates."""
    gpus = Gpus(*["NVIDIA H100"] * 8, length=8000)
    found = await find(AttesterChoice.AUTO, tmp_path, guest=snp(), gpu=gpus)
    assert found.words == "an AMD SEV-SNP guest"
    assert "a GPU is here and proves nothing: what it gives does not fit" in found.notes[0]
    Envelope(records=await found.attester.attest(bytes(32))).encode()

    large = GuestReporter(
        FakeKernel(
            sign=lambda data: bytes(0x50) + data + bytes(EVIDENCE_MAX - 800), aux=certificate_table((VCEK, b"c"))
        )
    )
    found = await find(AttesterChoice.AUTO, tmp_path, guest=large)
    assert found.words == SOFTWARE_WORDS
    assert "does not fit into an envelope" in found.notes[0]

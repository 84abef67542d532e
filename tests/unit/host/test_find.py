"""What proves a host: what was chosen, else the best that works, and never in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.attested import ProvenHost
from kit.swtpm import SoftwareTpm, wrapped
from sealmesh.attestation.vendors import software
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.find import FoundTpm, open_tpm
from sealmesh.attesters.tpm.chip import TpmChip
from sealmesh.attesters.tpm.transport import connector
from sealmesh.attesters.tpm.wire import Command
from sealmesh.config import AttesterChoice
from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.host.find import SOFTWARE_WORDS, FoundAttester, find_attester

KEY = ProvenHost().endpoint_key


async def find(choice: AttesterChoice, tpm: FoundTpm, tmp_path: Path) -> FoundAttester:
    return await find_attester(choice, key=KEY, tpm=tpm, endorsements=EndorsementFolder(tmp_path))


def broken(tpm: SoftwareTpm) -> FoundTpm:
    """A chip that answers, and makes no key."""

    def fail(command: bytes) -> None:
        if int.from_bytes(command[6:10], "big") == Command.CREATE_PRIMARY:
            raise AttesterError("the hierarchy has a password", code=0x8E)

    return FoundTpm(chip=TpmChip(wrapped(connector(tpm.path), fail)), path=tpm.path, words="TPM 2.0 by Acme")


@pytest.mark.parametrize("note", ["", "a TPM is here and is not used: join tss"])
async def test_without_a_chip_it_is_a_software_key(tmp_path: Path, note: str) -> None:
    found = await find(AttesterChoice.AUTO, FoundTpm(note=note), tmp_path)
    assert (found.words, found.note) == (SOFTWARE_WORDS, note)
    assert set(await found.attester.attest(bytes(32))) == {software.LABEL}


@pytest.mark.parametrize(("note", "words"), [("", "--tpm"), ("join tss", "join tss")])
async def test_a_chip_that_was_chosen_and_is_not_there(tmp_path: Path, note: str, words: str) -> None:
    with pytest.raises(AttesterUnavailableError, match=words):
        await find(AttesterChoice.TPM, FoundTpm(note=note), tmp_path)


@pytest.mark.swtpm
@pytest.mark.parametrize("choice", [AttesterChoice.AUTO, AttesterChoice.TPM])
async def test_a_chip_is_taken_with_the_software_key_beside_it(
    tpm: SoftwareTpm, tmp_path: Path, choice: AttesterChoice
) -> None:
    found = await find(choice, open_tpm(tpm.path), tmp_path)
    assert (found.words, found.note) == ("an emulated TPM 2.0 (no hardware)", "")
    assert {software.LABEL, "tpm2", "tpm2-ek-0"} == set(await found.attester.attest(bytes(32)))


@pytest.mark.swtpm
async def test_a_chip_may_be_passed_over_by_name(tpm: SoftwareTpm, tmp_path: Path) -> None:
    found = await find(AttesterChoice.SOFTWARE, open_tpm(tpm.path), tmp_path)
    assert found.words == SOFTWARE_WORDS


@pytest.mark.swtpm
async def test_a_chip_that_proves_nothing_is_said_or_stops_the_start(tpm: SoftwareTpm, tmp_path: Path) -> None:
    found = await find(AttesterChoice.AUTO, broken(tpm), tmp_path)
    assert found.words == SOFTWARE_WORDS
    assert "TPM 2.0 by Acme is here and proves nothing" in found.note
    with pytest.raises(AttesterError, match="password"):
        await find(AttesterChoice.TPM, broken(tpm), tmp_path)

"""What a machine has is found, or it is said what is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.swtpm import SoftwareTpm
from sealmesh.attesters.find import find_tpm, open_tpm
from sealmesh.errors import AttesterError


def test_nothing_is_said_where_nothing_is(tmp_path: Path) -> None:
    found = find_tpm(tmp_path / "tpmrm0")
    assert (found.chip, found.note) == (None, "")


def test_a_chip_that_does_not_answer_is_named_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "tpmrm0").mkdir()
    found = find_tpm(tmp_path / "tpmrm0")
    assert found.chip is None
    assert "is not used" in found.note
    with pytest.raises(AttesterError):
        open_tpm(tmp_path / "tpmrm0")


@pytest.mark.swtpm
def test_a_chip_is_found_with_its_name(tpm: SoftwareTpm) -> None:
    found = find_tpm(tpm.path)
    assert found.chip is not None
    assert (found.words, found.note) == ("an emulated TPM 2.0 (no hardware)", "")

"""Looks for this machine's TPM, and says what it found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sealmesh.attesters.tpm.chip import TpmChip, open_chip
from sealmesh.attesters.tpm.transport import DEVICE
from sealmesh.errors import AttesterError


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTpm:
    """What there is.

    Attributes:
        chip: The driver; None where there is no TPM that this process may use.
        path: Where the chip is.
        words: What it is, for people: `TPM 2.0 by Infineon`.
        note: What is there and cannot be used, and what to do; empty where there is nothing to say.
    """

    chip: TpmChip | None = None
    path: Path | None = None
    words: str = ""
    note: str = ""


def find_tpm(path: Path = DEVICE) -> FoundTpm:
    """Look for a TPM where the kernel shows one. It answers, or it is not used. Blocks.

    Args:
        path: Where to look.
    """
    if not path.exists():
        return FoundTpm()
    try:
        return open_tpm(path)
    except AttesterError as error:
        return FoundTpm(note=f"a TPM is here and is not used: {error}")


def open_tpm(path: Path) -> FoundTpm:
    """Use the TPM at a path that the operator named. Blocks.

    Raises:
        AttesterError: None answers there.
    """
    chip = open_chip(path)
    return FoundTpm(chip=chip, path=path, words=chip.describe())

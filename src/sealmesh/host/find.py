"""With what this host proves itself: what the operator chose, or the best that the machine has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.find import FoundTpm
from sealmesh.config import AttesterChoice
from sealmesh.errors import AttesterError, AttesterUnavailableError
from sealmesh.host.attest import CombinedAttester, SoftwareAttester, TpmAttester
from sealmesh.host.prove import Attester
from sealmesh.identity.keys import EndpointKey

SOFTWARE_WORDS: Final = "a software key: self-asserted"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAttester:
    """What proves this host.

    Attributes:
        attester: Makes its evidence.
        words: What it is, for people.
        note: What the machine has and could not be used, and why; empty where there is nothing to say.
    """

    attester: Attester
    words: str
    note: str = ""


async def find_attester(
    choice: AttesterChoice, *, key: EndpointKey, tpm: FoundTpm, endorsements: EndorsementFolder
) -> FoundAttester:
    """Return what proves this host.

    Args:
        choice: The operator's.
        key: The node's endpoint key, which vouches beside every chip.
        tpm: This machine's, as it was found.
        endorsements: What the operator gives to be stapled.

    Raises:
        AttesterUnavailableError: The machine has not what was chosen by name.
        AttesterError: It has it, and it does not work.
    """
    software = SoftwareAttester(key)
    if choice is AttesterChoice.SOFTWARE:
        return FoundAttester(attester=software, words=SOFTWARE_WORDS)
    note = tpm.note
    if tpm.chip is not None:
        try:
            await asyncio.to_thread(tpm.chip.prepare)
            chip = TpmAttester(tpm.chip, endorsements)
            return FoundAttester(attester=CombinedAttester([software, chip]), words=tpm.words)
        except AttesterError as error:
            if choice is AttesterChoice.TPM:
                raise
            note = f"{tpm.words} is here and proves nothing: {error}"
    elif choice is AttesterChoice.TPM:
        raise AttesterUnavailableError(note or "name the TPM's device or socket with --tpm")
    return FoundAttester(attester=software, words=SOFTWARE_WORDS, note=note)

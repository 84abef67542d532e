"""With what this host proves itself: what the operator chose, or the best that the machine has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, assert_never

from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attesters.apple import AppAttestKey, SecureEnclaveKey, app_id, load_framework
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.find import FoundTpm
from sealmesh.attesters.guest import GuestReporter, Provider
from sealmesh.attesters.nvidia import GpuReporter
from sealmesh.config import AttesterChoice
from sealmesh.errors import AttesterError, AttesterUnavailableError, LocalProtocolError
from sealmesh.host.attest import (
    EK_FILES,
    AppAttestAttester,
    CombinedAttester,
    EnclaveAttester,
    GpuAttester,
    GuestAttester,
    SoftwareAttester,
    TpmAttester,
)
from sealmesh.host.prove import Attester
from sealmesh.identity.keys import EndpointKey
from sealmesh.limits import EVIDENCE_MAX, KIB

SOFTWARE_WORDS: Final = "a software key: self-asserted"
GUEST_WORDS: Final[Mapping[Provider, str]] = MappingProxyType(
    {Provider.SEV_SNP: "an AMD SEV-SNP guest", Provider.TDX: "an Intel TDX guest"}
)
_GUEST_CHOICE: Final[Mapping[Provider, AttesterChoice]] = MappingProxyType(
    {Provider.SEV_SNP: AttesterChoice.SEV_SNP, Provider.TDX: AttesterChoice.TDX}
)
_TRIAL: Final = bytes(32)
_OWN_WORD: Final = 1 * KIB  # of an envelope, for the record of the software key


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is to look at.

    Attributes:
        tpm: As it was found.
        guest: Asks the kernel for reports.
        gpu: Asks the NVIDIA driver.
        framework: Gives a framework of macOS by its name.
        given: What the operator gives to be stapled.
        memory: A folder for what chips need remembered: the home.
    """

    tpm: FoundTpm
    given: EndorsementFolder
    memory: Path
    guest: GuestReporter = field(default_factory=GuestReporter)
    gpu: GpuReporter = field(default_factory=GpuReporter)
    framework: Callable[[str], Any] = load_framework


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAttester:
    """What proves this host.

    Attributes:
        attester: Makes its evidence.
        words: What it is, for people.
        notes: What the machine has and could not be used, and why.
    """

    attester: Attester
    words: str
    notes: tuple[str, ...] = ()


async def find_attester(choice: AttesterChoice, *, key: EndpointKey, machine: Machine) -> FoundAttester:
    """Return what proves this host. Whatever is found is tried once: what does not work now is not relied on.

    Args:
        choice: The operator's.
        key: The node's endpoint key, which vouches beside every chip.
        machine: What there is.

    Raises:
        AttesterUnavailableError: The machine has not what was chosen by name.
        AttesterError: It has it, and it does not work.
    """
    software = SoftwareAttester(key)
    if choice is AttesterChoice.SOFTWARE:
        return FoundAttester(attester=software, words=SOFTWARE_WORDS)
    if choice is not AttesterChoice.AUTO:
        words, chip = await _try(choice, machine)
        return await _with_gpus(machine, [software, chip], words, ())
    notes: list[str] = []
    # Best first: what says more of the machine is tried before what says less.
    order = [AttesterChoice.TPM, AttesterChoice.APP_ATTEST, AttesterChoice.SECURE_ENCLAVE]
    try:
        provider = await asyncio.to_thread(machine.guest.find)
        if provider is not None:
            order.insert(0, _GUEST_CHOICE[provider])
    except AttesterError as error:
        notes.append(f"a confidential guest may be here and proves nothing: {error}")
    for one in order:
        try:
            words, chip = await _try(one, machine)
        except AttesterUnavailableError:
            continue
        except AttesterError as error:
            notes.append(f"{one.value} is here and proves nothing: {error}")
            continue
        return await _with_gpus(machine, [software, chip], words, tuple(notes))
    return FoundAttester(attester=software, words=SOFTWARE_WORDS, notes=tuple(notes))


async def _try(choice: AttesterChoice, machine: Machine) -> tuple[str, Attester]:
    """Words and attester of one kind of chip, tried."""
    match choice:
        case AttesterChoice.TPM:
            return await _tpm(machine)
        case AttesterChoice.SEV_SNP:
            return await _guest(machine, Provider.SEV_SNP)
        case AttesterChoice.TDX:
            return await _guest(machine, Provider.TDX)
        case AttesterChoice.APP_ATTEST:
            security, check = machine.framework("Security"), machine.framework("DeviceCheck")
            offered = getattr(check, "DCAppAttestService", None)
            if offered is None:
                raise AttesterUnavailableError("this macOS has no App Attest")
            service = offered.sharedService()
            memory = machine.memory / "app-attest-key"
            driver = AppAttestKey(service, app=app_id(security), memory=memory, random=os.urandom)
            attester: Attester = AppAttestAttester(driver)
            words = "Apple App Attest"
        case AttesterChoice.SECURE_ENCLAVE:
            attester = EnclaveAttester(SecureEnclaveKey(machine.framework("Security")))
            words = "a Secure Enclave key that nobody vouches for: self-asserted until pinned"
        case AttesterChoice.AUTO | AttesterChoice.SOFTWARE:
            raise AttesterUnavailableError("no chip")
        case _:
            assert_never(choice)
    await _try_out(attester)
    return words, attester


async def _tpm(machine: Machine) -> tuple[str, Attester]:
    chip = machine.tpm.chip
    if chip is None:
        raise AttesterUnavailableError(machine.tpm.note or "name the TPM's device or socket with --tpm")
    given = machine.given.certificates(*EK_FILES)
    await asyncio.to_thread(chip.prepare, given[0] if given else None)
    attester = TpmAttester(chip, machine.given)
    await _try_out(attester)  # a chip may make keys and have no SHA-256 registers to quote
    return machine.tpm.words, attester


async def _guest(machine: Machine, wanted: Provider) -> tuple[str, Attester]:
    found = await asyncio.to_thread(machine.guest.find)
    if found is not wanted:
        raise AttesterUnavailableError(f"this machine is not {GUEST_WORDS[wanted]}")
    attester = GuestAttester(machine.guest, machine.given)
    await _try_out(attester)
    return GUEST_WORDS[wanted], attester


async def _with_gpus(machine: Machine, parts: list[Attester], words: str, notes: tuple[str, ...]) -> FoundAttester:
    """Add the GPUs in confidential mode to a chip: alone they are worth no tier."""
    try:
        names = await asyncio.to_thread(machine.gpu.find)
        if names:
            together = [*parts, GpuAttester(machine.gpu)]
            await _try_out(CombinedAttester(together))
            parts = together
            words = f"{words}, with {len(names)} × {names[0]}"
    except AttesterError as error:
        notes = (*notes, f"a GPU is here and proves nothing: {error}")
    return FoundAttester(attester=CombinedAttester(parts), words=words, notes=notes)


async def _try_out(attester: Attester) -> None:
    """Have evidence made once, as it will be asked for; raises what stands in its way."""
    check_fits(await attester.attest(_TRIAL))


def check_fits(records: Mapping[str, Record]) -> None:
    """Refuse evidence that no envelope holds, now rather than at every statement.

    Raises:
        AttesterError: It is too much; the message says what to do.
    """
    try:
        Envelope(records=records).encode(maximum=EVIDENCE_MAX - _OWN_WORD)
    except LocalProtocolError as error:
        raise AttesterError(
            f"what it gives does not fit into an envelope ({error}); are there more certificates in `endorsements` "
            "than it needs?"
        ) from error

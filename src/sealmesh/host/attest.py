"""Makes evidence of this host: one adapter for each kind of hardware, each an `Attester` (see `host.prove`).

What chips say is wrapped into the records that `sealmesh.attestation.vendors` reads. Nothing here judges it. Chips are
spoken to in threads of their own, never on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, assert_never

from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.vendors import apple_app_attest, apple_enclave, nvidia, sevsnp, software, tdx
from sealmesh.attestation.vendors.tpm.eventlog import check_boot_log, parse_boot_log_untrusted
from sealmesh.attestation.vendors.tpm.evidence import TYPE_CA, TYPE_EK, TpmEvidence
from sealmesh.attestation.vendors.tpm.quote import QuoteParts
from sealmesh.attestation.vendors.tpm.structures import hash_by, parse_quote_untrusted
from sealmesh.attesters.apple import AppAttestKey, SecureEnclaveKey
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.guest import (
    REPORT_DATA_BYTES,
    GuestReport,
    GuestReporter,
    Provider,
    read_certificates_untrusted,
    signing_key,
)
from sealmesh.attesters.nvidia import GpuReporter
from sealmesh.attesters.tpm.chip import Quoted, TpmChip
from sealmesh.errors import AttesterError, AttesterUnavailableError, VerificationError
from sealmesh.host.prove import Attester
from sealmesh.identity.keys import EndpointKey

_log = logging.getLogger("sealmesh.host")

TPM_LABEL: Final = "tpm2"
EK_FILES: Final = ("tpm-ek.der", "tpm-ek.pem")
_T = TypeVar("_T")


class SoftwareAttester:
    """The attester of a node without hardware: its endpoint key signs.

    It stands beside every chip too: an asker who does not know the maker of the chip still has the host's own word.

    Args:
        key: The node's endpoint key.
    """

    def __init__(self, key: EndpointKey) -> None:
        self._key = key

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        return {software.LABEL: software.make_record(self._key, binding)}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Attester.activate`."""
        raise AttesterUnavailableError("this host has no chip that could activate a key")


class TpmAttester:
    """A TPM 2.0: quotes over the binding, with the certificates of its endorsement key.

    Args:
        chip: The driver.
        endorsements: Where the operator may put `tpm-ek.der` (for chips that store none) and `tpm-issuers.pem`.
    """

    def __init__(self, chip: TpmChip, endorsements: EndorsementFolder) -> None:
        self._chip = chip
        self._endorsements = endorsements
        self._thread = ChipThread("tpm")
        self._said_log = False

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        return await self._thread.run(lambda: self._attest(binding))

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """See `Attester.activate`."""
        return await self._thread.run(lambda: self._chip.activate(id_object, encrypted_secret))

    def _attest(self, binding: bytes) -> Mapping[str, Record]:
        quoted = self._chip.quote(binding)
        parts = QuoteParts(attest=quoted.attest, signature=quoted.signature, values=quoted.values)
        evidence = TpmEvidence(ak_public=quoted.ak_public, parts=parts, event_log=self._usable_log(quoted))
        records = {TPM_LABEL: evidence.to_record()}
        stored = (quoted.ek_certificate,) if quoted.ek_certificate is not None else ()
        ek = stored or self._endorsements.certificates(*EK_FILES)
        records |= endorsements(TPM_LABEL + "-ek", TYPE_EK, ek[:1])
        return records | endorsements(
            TPM_LABEL + "-ca", TYPE_CA, self._endorsements.certificates("tpm-issuers.pem", "tpm-issuers.der")
        )

    def _usable_log(self, quoted: Quoted) -> bytes:
        """The boot log if it gives the quoted registers. One that does not would count against an honest host."""
        if not quoted.boot_log:
            return b""
        try:
            selection = parse_quote_untrusted(quoted.attest).selection
            length = len(hash_by(selection.bank, b""))
            values = {
                index: quoted.values[place * length : (place + 1) * length]
                for place, index in enumerate(selection.indices)
            }
            check_boot_log(parse_boot_log_untrusted(quoted.boot_log), selection.bank, values)
        except VerificationError as error:
            if not self._said_log:
                _log.warning("the firmware's boot log is left out of the evidence: %s", error.reason)
            self._said_log = True
            return b""
        return quoted.boot_log


class GuestAttester:
    """A confidential guest: reports over the binding and 32 zero bytes, with the vendor's word for the key.

    Args:
        reporter: The driver.
        given: Where the operator may put `vcek.der` or `vlek.der` (AMD), `collateral.json` (Intel).
    """

    def __init__(self, reporter: GuestReporter, given: EndorsementFolder) -> None:
        self._reporter = reporter
        self._given = given
        self._thread = ChipThread("guest")

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        return await self._thread.run(lambda: self._attest(binding))

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Attester.activate`."""
        raise AttesterUnavailableError("a confidential guest's key needs no activation")

    def _attest(self, binding: bytes) -> Mapping[str, Record]:
        made = self._reporter.report(binding.ljust(REPORT_DATA_BYTES, b"\x00"))
        match made.provider:
            case Provider.SEV_SNP:
                return {
                    sevsnp.LABEL: Record(type=sevsnp.TYPE, data=made.report, role=Role.EVIDENCE),
                    **endorsements(sevsnp.LABEL + "-key", sevsnp.ENDORSEMENT_TYPE, [self._amd_key(made)]),
                }
            case Provider.TDX:
                collateral = self._given.read("collateral.json")
                if collateral is None:
                    raise AttesterError(
                        f"Intel's collateral for this machine is missing: {self._given.path}/collateral.json"
                    )
                return {
                    tdx.LABEL: Record(type=tdx.TYPE, data=made.report, role=Role.EVIDENCE),
                    **endorsements(tdx.LABEL + "-collateral", tdx.COLLATERAL_TYPE, [collateral]),
                }
            case _:
                assert_never(made.provider)

    def _amd_key(self, made: GuestReport) -> bytes:
        """AMD's certificate for the key that signed: the host's, else the operator's."""
        name = signing_key(made.report)
        added = read_certificates_untrusted(made.extra).get(name)
        if added is not None:
            return added
        found = self._given.certificates(f"{name}.der", f"{name}.pem")
        if not found:
            raise AttesterError(f"AMD's certificate of this machine is missing: {self._given.path / name}.der")
        return found[0]


class GpuAttester:
    """NVIDIA GPUs in confidential mode: a record for each. It adds claims to another attester's tier.

    Args:
        reporter: The driver.
    """

    def __init__(self, reporter: GpuReporter) -> None:
        self._reporter = reporter
        self._thread = ChipThread("gpu")

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        made = await self._thread.run(lambda: self._reporter.reports(nvidia.gpu_nonce(binding)))
        return {
            f"{nvidia.LABEL}-{number}": nvidia.make_record(one.report, one.chain) for number, one in enumerate(made)
        }

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Attester.activate`."""
        raise AttesterUnavailableError("a GPU's key needs no activation")


class EnclaveAttester:
    """A Mac's Secure Enclave key without Apple's word for it. Unrun.

    Args:
        key: The driver.
    """

    def __init__(self, key: SecureEnclaveKey) -> None:
        self._key = key
        self._thread = ChipThread("enclave")

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        signed = await self._thread.run(
            lambda: apple_enclave.make_record(self._key.public(), self._key.sign(apple_enclave.message(binding)))
        )
        return {apple_enclave.LABEL: signed}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Attester.activate`."""
        raise AttesterUnavailableError("a Secure Enclave activates no key")


class AppAttestAttester:
    """A Mac from macOS 27 on, with Apple's word for key, machine state and code. Unrun.

    Args:
        key: The driver.
    """

    def __init__(self, key: AppAttestKey) -> None:
        self._key = key
        self._thread = ChipThread("app-attest")

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`."""
        return {apple_app_attest.LABEL: await self._thread.run(lambda: self._attest(binding))}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Attester.activate`."""
        raise AttesterUnavailableError("App Attest activates no key")

    def _attest(self, binding: bytes) -> Record:
        attested = self._key.attested()
        return apple_app_attest.make_record(
            app_id=self._key.app,
            attestation=attested.attestation,
            client_data_hash=attested.client_data_hash,
            assertion=self._key.sign(binding),
        )


class CombinedAttester:
    """Several attesters that vouch for the same host statement, in one envelope.

    Args:
        parts: At least one. The first that can activates.
    """

    def __init__(self, parts: Sequence[Attester]) -> None:
        self._parts = tuple(parts)

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        """See `Attester.attest`. One that fails fails all: half of the evidence would be another host's tier."""
        records: dict[str, Record] = {}
        for part in self._parts:
            records |= await part.attest(binding)
        return records

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """See `Attester.activate`."""
        for part in self._parts:
            try:
                return await part.activate(id_object, encrypted_secret)
            except AttesterUnavailableError:
                continue
        raise AttesterUnavailableError("this host has no chip that could activate a key")


class ChipThread:
    """One thread for one chip: its operations queue there, and a cancelled one runs to its end and cleans up.

    Args:
        name: For people who look at threads.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sealmesh-{name}")

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do something that blocks, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def endorsements(label: str, kind: str, certificates: Sequence[bytes]) -> dict[str, Record]:
    """Return a record for each certificate, labelled and numbered."""
    return {
        f"{label}-{number}": Record(type=kind, data=certificate, role=Role.ENDORSEMENT)
        for number, certificate in enumerate(certificates)
    }

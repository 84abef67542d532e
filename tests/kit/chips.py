"""Hosts with a chip in memory: what their attester shows, and what a liar among them shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kit.tpm import Firmware, ModelTpm, Vendor, der, p256, pem
from kit.virtual_time import VirtualTime
from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.tpm.evidence import TYPE_CA, TYPE_EK, TpmEvidence
from sealmesh.errors import BusyError, RemoteProtocolError
from sealmesh.identity.keys import EndpointKey

VENDOR = Vendor()
ROOT = pem(VENDOR.root).decode()
#: What `--require-attested-hosts` comes to for an asker who trusts the test's own CA.
REQUIRING = Policy(minimum=Tier.HARDWARE_ROOTED, vendors={"tpm": {"extra_roots": (ROOT,)}})
#: The same, for one who does not.
STRANGER = Policy(minimum=Tier.HARDWARE_ROOTED)


@dataclass
class ChipAttester:
    """The attester of a host with a TPM, and the endpoint key beside it.

    Attributes:
        key: The host's endpoint key.
        time: Operations take this time's seconds, and the chip's clock is its.
        which: Names the chip: another name is another chip.
        took_s: How long an operation takes.
        gone: The chip answers nothing any more.
        activates: Stands in for the chip at activations, where a host lies or relays.
        worked: When the chip worked, and for what.
    """

    key: EndpointKey
    time: VirtualTime
    which: str = "chip"
    took_s: float = 0.0
    gone: bool = False
    activates: Callable[[bytes, bytes], bytes] | None = None
    vendor: Vendor = field(default_factory=lambda: VENDOR)
    worked: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        firmware = Firmware(ModelTpm(self.which, ek=p256(f"{self.which} ek")))
        self.tpm, self.log = firmware.tpm, firmware.boot()
        self.base = self.time.elapsed()

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        await self._work("quote")
        self.tpm.clock = 1000 + round((self.time.elapsed() - self.base) * 1000)
        evidence = TpmEvidence(ak_public=self.tpm.ak_public, parts=self.tpm.quote(binding), event_log=self.log)
        return {
            software.LABEL: software.make_record(self.key, binding),
            "tpm2": evidence.to_record(),
            "ek": Record(type=TYPE_EK, data=der(self.vendor.ek(self.tpm)), role=Role.ENDORSEMENT),
            "ca": Record(type=TYPE_CA, data=der(self.vendor.issuer), role=Role.ENDORSEMENT),
        }

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        await self._work("activation")
        if self.activates is not None:
            return self.activates(id_object, encrypted_secret)
        try:
            return self.tpm.activate(id_object, encrypted_secret)
        except ValueError as error:
            raise RemoteProtocolError("the chip refuses the credential") from error

    async def _work(self, what: str) -> None:
        if self.gone:
            raise BusyError("the chip does not answer")
        self.worked.append((self.time.elapsed(), what))
        if self.took_s:
            await self.time.sleep(self.took_s)

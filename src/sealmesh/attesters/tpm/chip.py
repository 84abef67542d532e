"""What a node does with its TPM: evidence, activation, and secrets at rest. Blocking, one operation at a time.

Keys are made once in a process and then kept as saved contexts, which a chip takes back in milliseconds where making
an RSA key takes it seconds. They hold no secret for anyone but the chip.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealmesh.attesters.tpm.client import Tpm
from sealmesh.attesters.tpm.templates import (
    AK_P256,
    EK_RSA,
    ENDORSEMENT,
    OWNER,
    PROFILES,
    SEALED_DATA,
    STORAGE_P256,
    EndorsementProfile,
)
from sealmesh.attesters.tpm.transport import DEVICE, Connect, connector
from sealmesh.attesters.tpm.wire import Code, Reader, malformed, sized
from sealmesh.errors import AttesterError
from sealmesh.limits import BOOT_LOG_MAX, TPM_SEALED_MAX

#: Firmware, boot loader, kernel and initrd, with GRUB or a unified image. Not 10: the running system extends it always.
PCRS: Final = (*range(10), 11, 12)
BOOT_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
_QUOTE_TRIES: Final = 3  # a register that is extended between quote and reading makes them differ
_MANUFACTURER: Final = 0x105  # TPM_PT [TPM2, 6.13]; the vendor's own words follow it
_VENDOR_WORDS: Final = range(0x106, 0x10A)
_MAKERS: Final = {
    "AMD": "AMD",
    "ATML": "Atmel",
    "GOOG": "Google",
    "IBM": "IBM",
    "IFX": "Infineon",
    "INTC": "Intel",
    "MSFT": "Microsoft",
    "NTC": "Nuvoton",
    "NTZ": "Nationz",
    "QCOM": "Qualcomm",
    "SMSN": "Samsung",
    "STM": "STMicroelectronics",
}
#: Answers of a chip that has an NV index and gives nothing of use from it, now or ever.
_UNREADABLE: Final = frozenset(
    {
        Code.NV_RANGE,
        Code.NV_LOCKED,
        Code.NV_AUTHORIZATION,
        Code.NV_UNINITIALIZED,
        Code.AUTH_UNAVAILABLE,
        Code.ATTRIBUTES,
        Code.AUTH_FAIL,
        Code.BAD_AUTH,
        Code.SIZE,
    }
)
_RSA_BYTES, _POINT_BYTES = 256, 32
_EMULATOR: Final = "SW"  # the vendor's words of swtpm and libtpms


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """A quote and what belongs to it.

    Attributes:
        ak_public: TPMT_PUBLIC of the attestation key.
        attest: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        values: The registers of `PCRS`, one after another.
        boot_log: What firmware says that it extended, or empty.
        ek_certificate: The vendor's certificate of the endorsement key, DER, or None where the chip has none.
    """

    ak_public: bytes
    attest: bytes
    signature: bytes
    values: bytes
    boot_log: bytes = b""
    ek_certificate: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What was made once: saved contexts and public parts."""

    ak_public: bytes
    ak_context: bytes
    ek_context: bytes
    ek_certificate: bytes | None


class TpmChip:
    """The TPM of this machine.

    Args:
        connect: Opens a connection; one an operation.
        random: Makes nonces.
        boot_log: Gives the firmware's log, or nothing.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        random: Callable[[int], bytes] = os.urandom,
        boot_log: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self._connect = connect
        self._random = random
        self._boot_log = boot_log
        self._one_at_a_time = threading.Lock()
        self._keys: _Keys | None = None
        self._given: bytes | None = None
        self._unclean = True  # a process before this one may have been killed

    def describe(self) -> str:
        """Return what it is, for people: `TPM 2.0 by Infineon`.

        Raises:
            AttesterError: It is gone or no TPM 2.0; so in every method here.
        """
        with self._operation() as tpm:
            found = tpm.properties(_MANUFACTURER, 1 + len(_VENDOR_WORDS))
        maker = _words(found.get(_MANUFACTURER, 0))
        vendor = "".join(_words(found.get(one, 0)) for one in _VENDOR_WORDS)
        if vendor.startswith(_EMULATOR):
            return "an emulated TPM 2.0 (no hardware)"
        return f"TPM 2.0 by {_MAKERS.get(maker, maker or 'an unnamed maker')}"

    def prepare(self, certificate: bytes | None = None) -> None:
        """Make the keys now: on slow chips that takes seconds, which no challenge should wait for.

        Args:
            certificate: The maker's certificate of the endorsement key, DER, for a chip that stores none: it says which
                kind of key the maker certified, and only that one can activate what verifiers make for it.

        Raises:
            AttesterError: The certificate is needed, and is for none of this chip's endorsement keys.
        """
        with self._operation() as tpm:
            self._given = certificate
            self._keys = self._make_keys(tpm)

    def quote(self, extra: bytes) -> Quoted:
        """Have the registers signed together with `extra`, at most 64 bytes."""
        with self._operation() as tpm, self._ak(tpm) as (handle, keys):
            for _ in range(_QUOTE_TRIES):
                attest, signature = tpm.quote(handle, extra, PCRS)
                values = b"".join(value for _, value in sorted(tpm.pcr_read(PCRS).items()))
                if attest.endswith(sized(hashlib.sha256(values).digest())):
                    return Quoted(
                        ak_public=keys.ak_public,
                        attest=attest,
                        signature=signature,
                        values=values,
                        boot_log=self._boot_log(),
                        ek_certificate=keys.ek_certificate,
                    )
        raise AttesterError("the TPM's registers change faster than they can be quoted")

    def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """Hand out a secret that was made for this chip's two keys (TPM2_ActivateCredential).

        Args:
            id_object: Content of TPM2B_ID_OBJECT.
            encrypted_secret: Content of TPM2B_ENCRYPTED_SECRET.
        """
        with self._operation() as tpm, self._ak(tpm) as (ak, keys), tpm.restored(keys.ek_context) as ek:
            return tpm.activate(ak, ek, id_object, encrypted_secret)

    def seal(self, secret: bytes) -> bytes:
        """Encrypt up to 128 bytes so that only this chip gives them back, until it is cleared."""
        with self._operation() as tpm, tpm.primary(OWNER, STORAGE_P256) as parent:
            private, public = tpm.create_sealed(parent.handle, SEALED_DATA, secret)
        return sized(private) + sized(public)

    def unseal(self, sealed: bytes) -> bytes:
        """Return what `seal` encrypted, on this chip.

        Raises:
            AttesterError: Another chip sealed it, or this one was cleared since, or the bytes are damaged.
        """
        reader = Reader(sealed)
        private, public = reader.sized(), reader.sized()
        reader.end()
        with (
            self._operation() as tpm,
            tpm.primary(OWNER, STORAGE_P256) as parent,
            tpm.loaded(parent.handle, private, public) as handle,
        ):
            secret = tpm.unseal(handle)
        if len(secret) > TPM_SEALED_MAX:
            raise malformed("more than was sealed")
        return secret

    # --- below ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _operation(self) -> Iterator[Tpm]:
        with self._one_at_a_time, contextlib.closing(self._connect()) as transport:
            tpm = Tpm(transport, random=self._random)
            if self._unclean:
                tpm.flush_leftovers()
            self._unclean = True
            yield tpm
            self._unclean = False  # after any failure it stays: what failed may have been the flushing

    @contextlib.contextmanager
    def _ak(self, tpm: Tpm) -> Iterator[tuple[int, _Keys]]:
        """The attestation key, restored; made anew where the chip was restarted under this process."""
        keys = self._keys
        with contextlib.ExitStack() as stack:
            handle = None
            if keys is not None:
                try:
                    handle = stack.enter_context(tpm.restored(keys.ak_context))
                except AttesterError as error:
                    if not error.code:
                        raise  # it said nothing: it is gone, or hangs
            if keys is None or handle is None:
                keys = self._keys = self._make_keys(tpm)
                handle = stack.enter_context(tpm.restored(keys.ak_context))
            yield handle, keys

    def _make_keys(self, tpm: Tpm) -> _Keys:
        ek_context, certificate = self._make_endorsement_key(tpm)
        with tpm.primary(ENDORSEMENT, AK_P256) as ak:
            return _Keys(
                ak_public=ak.public,
                ak_context=tpm.save_context(ak.handle),
                ek_context=ek_context,
                ek_certificate=certificate,
            )

    def _make_endorsement_key(self, tpm: Tpm) -> tuple[bytes, bytes | None]:
        """The key that the vendor certified, as a saved context, and the certificate where the chip stores it."""
        profiles, stored = _stored_profile(tpm)
        given = self._given if stored is None else None
        for profile in profiles:
            with tpm.primary(ENDORSEMENT, profile.template) as ek:
                if given is None or names_key(given, ek.public):
                    return tpm.save_context(ek.handle), stored
        raise AttesterError(
            "the certificate that was given for the TPM's endorsement key is another chip's, or for a kind of key that "
            "is not used here"
        )


def names_key(certificate: bytes, public: bytes) -> bool:
    """Whether a certificate, DER, is for an endorsement key of `PROFILES`; who signed it is for verifiers to judge.

    The key's own numbers stand in it as they are, however the maker encodes what stands around them.
    """
    is_rsa = public.startswith(EK_RSA[:2])
    own = public[-_RSA_BYTES:] if is_rsa else public[-66:-34] + public[-_POINT_BYTES:]  # each behind its length
    return own in certificate


def _stored_profile(tpm: Tpm) -> tuple[tuple[EndorsementProfile, ...], bytes | None]:
    """The first kind of endorsement key whose certificate the chip stores; all kinds where it stores none."""
    for profile in PROFILES:
        certificate = _stored_certificate(tpm, profile.certificate_index)
        if certificate is not None:
            return (profile,), certificate
    return PROFILES, None


def _stored_certificate(tpm: Tpm, index: int) -> bytes | None:
    """What lies at an NV index, or None for nothing that can be read: makers leave indices closed, unwritten or blank.

    Raises:
        AttesterError: The chip is gone or cannot answer now, from which nothing follows.
    """
    try:
        stored = tpm.nv_read(index)
    except AttesterError as error:
        if error.code in _UNREADABLE:
            return None
        raise
    with contextlib.suppress(AttesterError):
        return None if stored is None else trim_der(stored)
    return None


def open_chip(path: Path) -> TpmChip:
    """Return the chip at a path: the kernel's device, or an emulator's socket. Nothing is opened yet."""
    return TpmChip(connector(path), boot_log=read_boot_log if path == DEVICE else lambda: b"")


def read_boot_log(path: Path = BOOT_LOG) -> bytes:
    """Return the firmware's log where this user may read it and it fits into an envelope, else nothing."""
    try:
        with path.open("rb") as stream:
            content = stream.read(BOOT_LOG_MAX + 1)
    except OSError:
        return b""
    return content if len(content) <= BOOT_LOG_MAX else b""


def trim_der(stored: bytes) -> bytes:
    """Return the one DER sequence at the start: vendors store a certificate in a larger index and pad it.

    Raises:
        AttesterError: There is none.
    """
    reader = Reader(stored)
    if reader.number(1) != 0x30:
        raise malformed("no certificate where one should be stored")
    length = reader.number(1)
    head = 2
    if length & 0x80:
        width = length & 0x7F
        if not 1 <= width <= 2:
            raise malformed("a certificate of an impossible length")
        length, head = reader.number(width), 2 + width
    reader.take(length)
    return stored[: head + length]


def _words(value: int) -> str:
    """Four characters in a number; what does not print is left out."""
    text = value.to_bytes(4, "big").decode("ascii", "replace")
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable()).strip()

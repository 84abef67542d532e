"""Boot logs of firmware, in TCG's crypto-agile format, replayed against quoted registers.

A log is a claim until its digests, extended one after another, give the registers that the chip signed. Even then only
the digests are proven: an event's *type* is signed by nobody, and its *data* only where its hash is the digest. So
nothing here believes a type, and the one thing that is read out, Secure Boot, is read from data whose hash was extended
[PFP: "TCG PC Client Platform Firmware Profile", 3.3.4 and 10].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.vendors.tpm.structures import BANKS, hash_by
from sealmesh.errors import VerificationError

#: Real logs have 20 to 200 KiB; firmware sets aside less than this.
LOG_MAX: Final = 1024 * 1024
#: PCRs of firmware and boot loader: nothing extends them once the system runs, so that a log must explain them wholly.
BOOT_PCRS: Final = range(10)
_PCRS: Final = 24
_ALGORITHMS_MAX: Final = 8
_EV_NO_ACTION: Final = 3
_SPEC_ID: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_LOCALITIES: Final = frozenset({0, 3, 4})
_SECURE_BOOT_PCR: Final = 7
_EFI_GLOBAL: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")  # 8be4df61-93ca-11d2-aa0d-00e098032b8c
_SECURE_BOOT: Final = "SecureBoot".encode("utf-16-le")
_SEPARATORS: Final = frozenset({bytes(4), b"\xff" * 4})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event that was extended.

    Attributes:
        pcr: Register.
        digests: Hash algorithm id to what was extended.
        data: What firmware says that it was; proven only where it hashes to the digest.
    """

    pcr: int
    digests: Mapping[int, bytes]
    data: bytes

    def proves_data(self, bank: int) -> bool:
        """Whether the data is what was extended."""
        return hash_by(bank, self.data) == self.digests[bank]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLog:
    """A log as read.

    Attributes:
        algorithms: Banks that every event has a digest for.
        events: In order, without those that extend nothing.
        locality: Where the TPM was started from; the last byte of PCR 0 before the first event.
    """

    algorithms: tuple[int, ...]
    events: tuple[Event, ...]
    locality: int

    def replay(self, bank: int) -> dict[int, bytes]:
        """Return the value of each register that has an event, by extending every digest.

        Raises:
            VerificationError: The log has no digests of that bank; `platform_state`.
        """
        if bank not in self.algorithms:
            raise VerificationError("platform_state", "the boot log has no digests of the quoted bank")
        length = BANKS[bank][1]
        values: dict[int, bytes] = {}
        for event in self.events:
            start = bytes(length - 1) + bytes([self.locality if event.pcr == 0 else 0])
            values[event.pcr] = hash_by(bank, values.get(event.pcr, start) + event.digests[bank])
        return values

    def secure_boot(self, bank: int) -> bool | None:
        """Return whether firmware enforced Secure Boot; None where the log does not prove it.

        Firmware extends its configuration first and closes it with a separator. Up to there every event's data has to
        hash to its digest: else the true entry could be passed off as something else, and a false one added.
        """
        found: list[bytes] = []
        for event in self.events:
            if event.pcr != _SECURE_BOOT_PCR:
                continue
            if not event.proves_data(bank):
                return None
            if event.data in _SEPARATORS:
                return found[0] == b"\x01" if len(found) == 1 and found[0] in (b"\x00", b"\x01") else None
            value = _read_secure_boot(event.data)
            if value is not None:
                found.append(value)
        return None


def check_boot_log(log: BootLog, bank: int, registers: Mapping[int, bytes]) -> tuple[int, ...]:
    """Refuse a log that does not lead to the quoted registers.

    Args:
        log: As read.
        bank: Hash algorithm id of the registers.
        registers: PCR index to its quoted value.

    Returns:
        Quoted registers above the boot loader's that the log does not explain: the running system extends those.

    Raises:
        VerificationError: A register of firmware or boot loader is not what the log gives; `platform_state`.
    """
    replayed = log.replay(bank)
    unexplained = []
    for index, value in registers.items():
        given = replayed.get(index, bytes(len(value)))
        if given == value:
            continue
        if index in BOOT_PCRS:
            raise VerificationError("platform_state", f"the boot log does not give the quoted PCR {index}")
        if index in replayed or value != b"\xff" * len(value):  # 17 to 22 are all ones until a late launch
            unexplained.append(index)
    return tuple(unexplained)


def parse_boot_log_untrusted(data: bytes) -> BootLog:
    """Read a crypto-agile log [PFP, 10.2]; the older format has SHA-1 only and is refused.

    Raises:
        VerificationError: It is malformed, too long, or of the older format; `platform_state`.
    """
    if len(data) > LOG_MAX:
        raise VerificationError("platform_state", "the boot log is too long")
    reader = _LogReader(data)
    algorithms = _read_header(reader)
    events: list[Event] = []
    locality = 0
    started = False
    while reader.more:
        pcr, kind = reader.number(4), reader.number(4)
        digests = _read_digests(reader, algorithms)
        content = reader.take(reader.number(4))
        if kind == _EV_NO_ACTION:
            if content.startswith(_LOCALITY) and pcr == 0:
                locality = _read_locality(content, started)
            continue
        if pcr >= _PCRS:
            raise reader.refuse("an event of a register that there is not")
        started = started or pcr == 0
        events.append(Event(pcr=pcr, digests=digests, data=content))
    return BootLog(algorithms=tuple(algorithms), events=tuple(events), locality=locality)


class _LogReader:
    """A little-endian cursor; every read is bounds-checked."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    @property
    def more(self) -> bool:
        return self._position < len(self._data)

    def refuse(self, what: str) -> VerificationError:
        return VerificationError("platform_state", f"a malformed boot log: {what}")

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise self.refuse("it is cut")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")


def _read_header(reader: _LogReader) -> dict[int, int]:
    """The first event, in the older form, that names the digests of all others: algorithm to length."""
    pcr, kind, digest = reader.number(4), reader.number(4), reader.take(20)
    inner = _LogReader(reader.take(reader.number(4)))
    if pcr != 0 or kind != _EV_NO_ACTION or any(digest) or inner.take(len(_SPEC_ID)) != _SPEC_ID:
        raise reader.refuse("it does not begin as a crypto-agile log")
    inner.take(8)  # platform class, version, errata, width of an integer
    count = inner.number(4)
    if not 1 <= count <= _ALGORITHMS_MAX:
        raise reader.refuse("no digests, or of too many algorithms")
    algorithms: dict[int, int] = {}
    for _ in range(count):
        algorithm, length = inner.number(2), inner.number(2)
        known = BANKS.get(algorithm)
        if algorithm in algorithms or not 0 < length <= 64 or (known is not None and known[1] != length):
            raise reader.refuse("digests of a wrong length, or of one algorithm twice")
        algorithms[algorithm] = length
    inner.take(inner.number(1))  # the vendor's own
    if inner.more:
        raise reader.refuse("bytes follow its header")
    return algorithms


def _read_digests(reader: _LogReader, algorithms: Mapping[int, int]) -> dict[int, bytes]:
    if reader.number(4) != len(algorithms):
        raise reader.refuse("an event without a digest of each algorithm")
    digests: dict[int, bytes] = {}
    for _ in algorithms:
        algorithm = reader.number(2)
        if algorithm not in algorithms or algorithm in digests:
            raise reader.refuse("a digest of another algorithm, or one twice")
        digests[algorithm] = reader.take(algorithms[algorithm])
    return digests


def _read_locality(content: bytes, started: bool) -> int:
    locality = content[-1]
    if len(content) != len(_LOCALITY) + 1 or started or locality not in _LOCALITIES:
        raise VerificationError("platform_state", "a malformed boot log: a misplaced start of the chip")
    return locality


def _read_secure_boot(data: bytes) -> bytes | None:
    """The value of the variable SecureBoot from a UEFI_VARIABLE_DATA, or None for other data [PFP, 10.2.6]."""
    head = 32  # GUID, length of the name in UTF-16 units, length of the value
    if len(data) < head or data[:16] != _EFI_GLOBAL:
        return None
    name_end = head + 2 * int.from_bytes(data[16:24], "little")
    end = name_end + int.from_bytes(data[24:32], "little")
    if end != len(data) or data[head:name_end] != _SECURE_BOOT:
        return None
    return data[name_end:end]

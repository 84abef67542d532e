"""Boot logs: replayed against registers, believed only as far as their hashes go."""

from __future__ import annotations

import hashlib
import struct

import pytest

from kit.tpm import SHA1, SHA256, SHA384, Firmware, ModelTpm, variable
from sealmesh.attestation.vendors.tpm.eventlog import LOG_MAX, check_boot_log, parse_boot_log_untrusted
from sealmesh.errors import VerificationError


def booted(**options: bytes) -> tuple[ModelTpm, Firmware]:
    firmware = Firmware(ModelTpm())
    firmware.boot(**options)
    return firmware.tpm, firmware


def registers(tpm: ModelTpm, bank: int = SHA256) -> dict[int, bytes]:
    return {pcr: tpm.value(pcr, bank) for pcr in range(16)}


def test_an_ordinary_boot() -> None:
    tpm, firmware = booted()
    log = parse_boot_log_untrusted(firmware.log)
    assert log.algorithms == (SHA256,)
    assert check_boot_log(log, SHA256, registers(tpm)) == ()
    assert log.secure_boot(SHA256) is True


def test_several_banks_are_replayed_apart() -> None:
    firmware = Firmware(ModelTpm(), banks=(SHA1, SHA256, SHA384))
    log = parse_boot_log_untrusted(firmware.boot())
    for bank in (SHA1, SHA256, SHA384):
        assert check_boot_log(log, bank, registers(firmware.tpm, bank)) == ()
    with pytest.raises(VerificationError, match="no digests of the quoted bank"):
        check_boot_log(parse_boot_log_untrusted(booted()[1].log), SHA384, {})


@pytest.mark.parametrize("pcr", range(10))
def test_a_register_that_the_log_does_not_give(pcr: int) -> None:
    tpm, firmware = booted()
    tpm.extend(pcr, hashlib.sha256(b"something that was not logged").digest())
    with pytest.raises(VerificationError, match=f"PCR {pcr}$") as refused:
        check_boot_log(parse_boot_log_untrusted(firmware.log), SHA256, registers(tpm))
    assert refused.value.factor == "platform_state"


def test_an_event_that_was_left_out_or_added() -> None:
    tpm, firmware = booted()
    longer = Firmware(ModelTpm(), log=b"")
    longer.boot()
    longer.measure(4, b"one more")
    with pytest.raises(VerificationError, match="PCR 4"):
        check_boot_log(parse_boot_log_untrusted(longer.log), SHA256, registers(tpm))
    with pytest.raises(VerificationError, match="PCR 4"):
        check_boot_log(parse_boot_log_untrusted(firmware.log), SHA256, registers(longer.tpm))


def test_what_the_running_system_extends_is_named() -> None:
    tpm, firmware = booted()
    tpm.extend(10, b"i" * 32)
    values = registers(tpm) | {17: b"\xff" * 32, 18: b"\1" * 32}
    assert check_boot_log(parse_boot_log_untrusted(firmware.log), SHA256, values) == (10, 18)


def test_the_start_of_the_chip_at_another_locality() -> None:
    firmware = Firmware(ModelTpm())
    firmware.tpm.registers[SHA256] = {0: bytes(31) + b"\3"}
    firmware.write(0, 3, {SHA256: bytes(32)}, b"StartupLocality\0\3")
    firmware.boot()
    log = parse_boot_log_untrusted(firmware.log)
    assert check_boot_log(log, SHA256, registers(firmware.tpm)) == ()
    late = Firmware(ModelTpm())
    late.boot()
    for log_bytes in (
        late.log + event(0, 3, b"StartupLocality\0\3"),
        Firmware(ModelTpm()).log + event(0, 3, b"StartupLocality\0\7"),
        Firmware(ModelTpm()).log + event(0, 3, b"StartupLocality\0\3\0"),
    ):
        with pytest.raises(VerificationError, match="misplaced start"):
            parse_boot_log_untrusted(log_bytes)


def event(pcr: int, kind: int, data: bytes, digest: bytes = bytes(32)) -> bytes:
    return struct.pack("<IIIH", pcr, kind, 1, SHA256) + digest + struct.pack("<I", len(data)) + data


def test_secure_boot_off_or_missing() -> None:
    assert parse_boot_log_untrusted(booted(secure_boot=b"\0")[1].log).secure_boot(SHA256) is False
    assert parse_boot_log_untrusted(booted(secure_boot=b"\2")[1].log).secure_boot(SHA256) is None
    assert parse_boot_log_untrusted(booted(secure_boot=b"")[1].log).secure_boot(SHA256) is None
    assert parse_boot_log_untrusted(Firmware(ModelTpm()).log).secure_boot(SHA256) is None


def test_a_secure_boot_that_was_extended_after_the_firmware() -> None:
    """A system that started without it extends the happier value itself."""
    _, firmware = booted(secure_boot=b"\0")
    firmware.measure(7, variable("SecureBoot", b"\1"))
    assert parse_boot_log_untrusted(firmware.log).secure_boot(SHA256) is False


@pytest.mark.parametrize("kind", [0x80000001, 0x4, 0xD, 0x80000003])
def test_a_true_entry_passed_off_as_something_else(kind: int) -> None:
    """The digest of `off` stays, under other data and any type; `on` and a separator follow."""
    firmware = Firmware(ModelTpm())
    firmware.measure(7, b"nothing to see", kind, measured=variable("SecureBoot", b"\0"))
    firmware.measure(7, variable("SecureBoot", b"\1"))
    firmware.measure(7, bytes(4), 0x4)
    log = parse_boot_log_untrusted(firmware.log)
    assert check_boot_log(log, SHA256, {7: firmware.tpm.value(7)}) == ()
    assert log.secure_boot(SHA256) is None


def test_two_answers_are_none() -> None:
    firmware = Firmware(ModelTpm())
    for value in (b"\0", b"\1"):
        firmware.measure(7, variable("SecureBoot", value))
    firmware.measure(7, bytes(4), 0x4)
    assert parse_boot_log_untrusted(firmware.log).secure_boot(SHA256) is None


def test_a_type_is_believed_by_nobody() -> None:
    """All types changed to one: nothing else comes out."""
    tpm, _ = booted()
    firmware = Firmware(ModelTpm())
    real = firmware.measure
    firmware.measure = lambda pcr, data, kind=0, *, measured=None: real(pcr, data, 0xD, measured=measured)  # type: ignore[method-assign]
    log = parse_boot_log_untrusted(firmware.boot())
    assert check_boot_log(log, SHA256, registers(tpm)) == ()
    assert log.secure_boot(SHA256) is True


def test_every_cut_of_a_log() -> None:
    _, firmware = booted()
    whole = parse_boot_log_untrusted(firmware.log)
    starts = 0
    for length in range(len(firmware.log)):
        try:
            events = parse_boot_log_untrusted(firmware.log[:length]).events
        except VerificationError:
            continue
        assert events == whole.events[: len(events)]
        starts += 1
    assert starts == len(whole.events)  # cut between two events, it is a shorter log, which gives other registers


def test_malformed_logs() -> None:
    good = Firmware(ModelTpm()).log
    for log, words in (
        (b"", "it is cut"),
        (good + b"\0", "it is cut"),
        (good + event(24, 1, b""), "a register that there is not"),
        (good + struct.pack("<III", 0, 1, 2), "without a digest of each"),
        (good + struct.pack("<IIIH", 0, 1, 1, SHA1) + bytes(32), "another algorithm"),
        (good + struct.pack("<IIIH", 0, 1, 1, SHA256) + bytes(32) + struct.pack("<I", 1 << 31), "it is cut"),
        (good[:8] + b"\1" + good[9:], "crypto-agile"),
        (good.replace(b"Event03", b"Event02"), "crypto-agile"),
        (good.replace(struct.pack("<HH", SHA256, 32), struct.pack("<HH", SHA256, 20)), "a wrong length"),
        (good.replace(struct.pack("<HHB", SHA256, 32, 0), struct.pack("<HHB", SHA256, 32, 1)), "it is cut"),
        (Firmware(ModelTpm(), banks=(SHA256, SHA256)).log, "one algorithm twice"),
        (Firmware(ModelTpm(), banks=()).log, "no digests"),
        (good + bytes(LOG_MAX), "too long"),
    ):
        with pytest.raises(VerificationError, match=words) as refused:
            parse_boot_log_untrusted(log)
        assert refused.value.factor == "platform_state"


def test_two_digests_of_one_algorithm() -> None:
    good = Firmware(ModelTpm(), banks=(SHA1, SHA256)).log
    twice = struct.pack("<IIIH", 0, 1, 2, SHA1) + bytes(20) + struct.pack("<H", SHA1) + bytes(20)
    with pytest.raises(VerificationError, match="one twice"):
        parse_boot_log_untrusted(good + twice)

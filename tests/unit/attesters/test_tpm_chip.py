"""The driver against a real emulator: what it says verifies, and nothing stays loaded on any way out."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit.swtpm import SoftwareTpm, wrapped
from sealmesh.attestation.vendors.tpm.certificates import (
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)
from sealmesh.attestation.vendors.tpm.credential import make_credential
from sealmesh.attestation.vendors.tpm.quote import (
    QuoteParts,
    check_extra_data,
    verify_key_untrusted,
    verify_quote_untrusted,
)
from sealmesh.attestation.vendors.tpm.structures import parse_public_untrusted
from sealmesh.attesters.tpm import templates
from sealmesh.attesters.tpm.chip import PCRS, TpmChip, open_chip, read_boot_log, trim_der
from sealmesh.attesters.tpm.client import TRANSIENT, Tpm
from sealmesh.attesters.tpm.transport import DeviceTransport, SocketTransport, connector
from sealmesh.attesters.tpm.wire import EMPTY_PASSWORD, Code, Command, parse_response_untrusted, sized
from sealmesh.errors import AttesterError
from sealmesh.limits import BOOT_LOG_MAX, TPM_SEALED_MAX

pytestmark = pytest.mark.swtpm


def test_it_says_that_it_is_an_emulator(tpm: SoftwareTpm) -> None:
    assert tpm.chip.describe() == "an emulated TPM 2.0 (no hardware)"


def test_a_quote_verifies_and_its_key_stays_the_same(tpm: SoftwareTpm) -> None:
    chip = tpm.chip
    one, two = chip.quote(b"one".ljust(32)), chip.quote(b"two".ljust(32))
    assert one.ak_public == two.ak_public == tpm.chip.quote(bytes(32)).ak_public
    public = verify_key_untrusted(one.ak_public)
    registers = verify_quote_untrusted(
        public, QuoteParts(attest=one.attest, signature=one.signature, values=one.values)
    )
    check_extra_data(registers.quote, b"one".ljust(32))
    assert tuple(registers.values) == PCRS
    assert tpm.loaded() == ()


def test_the_certificate_is_the_makers(tpm: SoftwareTpm) -> None:
    stored = tpm.chip.quote(bytes(32)).ek_certificate
    assert stored is not None
    certificate = x509.load_der_x509_certificate(stored)
    now = certificate.not_valid_before_utc.timestamp() + 60
    issuers = parse_certificates_untrusted(tpm.authority.issuers)
    roots = parse_certificates_untrusted(tpm.authority.roots)
    found = verify_endorsement_untrusted(certificate, use=Use.EK, supplied=issuers, extra_roots=roots, now=now)
    assert found.vendor == "extra"


def test_activation_hands_out_the_secret(tpm: SoftwareTpm) -> None:
    chip = tpm.chip
    quoted = chip.quote(bytes(32))
    assert quoted.ek_certificate is not None
    key = x509.load_der_x509_certificate(quoted.ek_certificate).public_key()
    name = parse_public_untrusted(quoted.ak_public).name
    credential = make_credential(key, name, b"the secret", os.urandom)  # type: ignore[arg-type]
    assert chip.activate(credential.id_object, credential.encrypted_secret) == b"the secret"
    other = make_credential(key, name[:-1] + b"\x00", b"the secret", os.urandom)  # type: ignore[arg-type]
    with pytest.raises(AttesterError) as caught:
        chip.activate(other.id_object, other.encrypted_secret)
    assert caught.value.code == Code.INTEGRITY
    assert tpm.loaded() == ()


@pytest.mark.parametrize("template", [templates.EK_P256, templates.EK_RSA])
def test_both_kinds_of_endorsement_key_activate(tpm: SoftwareTpm, template: bytes) -> None:
    transport = SocketTransport(tpm.path)
    client = Tpm(transport)
    with (
        client.primary(templates.ENDORSEMENT, template) as ek,
        client.primary(templates.ENDORSEMENT, templates.AK_P256) as ak,
    ):
        key, attestation = parse_public_untrusted(ek.public).key, parse_public_untrusted(ak.public)
        credential = make_credential(key, attestation.name, b"both", os.urandom)
        assert client.activate(ak.handle, ek.handle, credential.id_object, credential.encrypted_secret) == b"both"
    transport.close()
    assert tpm.loaded() == ()


def test_what_is_sealed_comes_back_after_a_restart(tpm: SoftwareTpm) -> None:
    sealed = tpm.chip.seal(b"x" * TPM_SEALED_MAX)
    tpm.stop()
    tpm.start()
    assert tpm.chip.unseal(sealed) == b"x" * TPM_SEALED_MAX
    assert tpm.loaded() == ()


def test_damaged_bytes_do_not_unseal(tpm: SoftwareTpm) -> None:
    sealed = tpm.chip.seal(b"secret")
    for place in (5, 100, len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(AttesterError):
            tpm.chip.unseal(bytes(damaged))
    for cut in (b"", sealed[:50], sealed + b"x"):
        with pytest.raises(AttesterError, match="malformed"):
            tpm.chip.unseal(cut)
    assert tpm.loaded() == ()


def test_only_so_much_is_sealed(tpm: SoftwareTpm) -> None:
    for secret in (b"", bytes(TPM_SEALED_MAX + 1)):
        with pytest.raises(AttesterError, match="seals 1 to"):
            tpm.chip.seal(secret)
    assert tpm.loaded() == ()


def test_keys_are_made_anew_after_a_restart_under_the_process(tpm: SoftwareTpm) -> None:
    chip = tpm.chip
    before = chip.quote(bytes(32))
    tpm.stop()
    with pytest.raises(AttesterError, match="there is no TPM"):
        chip.quote(bytes(32))
    tpm.start()
    assert chip.quote(bytes(32)).ak_public == before.ak_public


def test_keys_are_made_once_in_a_process(tpm: SoftwareTpm) -> None:
    commands: list[int] = []
    chip = TpmChip(wrapped(connector(tpm.path), lambda command: commands.append(int.from_bytes(command[6:10], "big"))))
    chip.prepare()
    assert commands.count(Command.CREATE_PRIMARY) == 2
    del commands[:]
    chip.quote(bytes(32))
    assert Command.CREATE_PRIMARY not in commands


class Extending:
    """A chip whose register 8 is extended just before it is read: something boots on."""

    def __init__(self, path: Path, times: list[int]) -> None:
        self._inner = SocketTransport(path)
        self._times = times

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        if int.from_bytes(command[6:10], "big") == Command.PCR_READ and self._times[0]:
            self._times[0] -= 1
            digests = struct.pack(">IH", 1, 0xB) + bytes(32)
            body = struct.pack(">II", 8, 9) + EMPTY_PASSWORD.encode() + digests
            extend = struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body
            parse_response_untrusted(self._inner.exchange(extend, timeout_s=timeout_s))
        return self._inner.exchange(command, timeout_s=timeout_s)

    def close(self) -> None:
        self._inner.close()


def test_registers_that_change_between_quote_and_reading_are_quoted_again(tpm: SoftwareTpm) -> None:
    quoted = TpmChip(lambda: Extending(tpm.path, [1])).quote(bytes(32))
    parts = QuoteParts(attest=quoted.attest, signature=quoted.signature, values=quoted.values)
    assert verify_quote_untrusted(verify_key_untrusted(quoted.ak_public), parts).values[8] != bytes(32)


def test_registers_that_never_rest_are_an_error(tpm: SoftwareTpm) -> None:
    always = [1000]
    with pytest.raises(AttesterError, match="faster than they can be quoted"):
        TpmChip(lambda: Extending(tpm.path, always)).quote(bytes(32))
    assert tpm.loaded() == ()


class Answering:
    """A connection where a test gives the answer to some commands itself."""

    def __init__(self, path: Path, answer: Callable[[bytes], bytes | None]) -> None:
        self._inner = SocketTransport(path)
        self._answer = answer

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        return self._answer(command) or self._inner.exchange(command, timeout_s=timeout_s)

    def close(self) -> None:
        self._inner.close()


def refusal(code: int) -> bytes:
    return struct.pack(">HII", 0x8001, 10, code)


def is_about(command: bytes, what: Command, handle: int) -> bool:
    return command[6:14] == struct.pack(">II", what, handle)


def nv_public(size: int) -> bytes:
    public = struct.pack(">IHI", 0x01C0000A, 0xB, 0) + sized(b"") + struct.pack(">H", size)
    return struct.pack(">HII", 0x8001, 12 + len(public) + 2, 0) + sized(public) + sized(b"")


@pytest.mark.parametrize("oddity", ["unwritten", "closed", "huge", "blank"])
def test_an_index_without_a_certificate_of_use_leaves_the_chip_usable(tpm: SoftwareTpm, oddity: str) -> None:
    """Makers reserve the index of the elliptic key and leave it unwritten, closed or blank; the RSA key's is good."""

    def answer(command: bytes) -> bytes | None:
        if is_about(command, Command.NV_READ_PUBLIC, 0x01C0000A):
            return nv_public(0xFFFF if oddity == "huge" else 100)
        if is_about(command, Command.NV_READ, 0x01C0000A):
            if oddity != "blank":
                return refusal(0x14A if oddity == "unwritten" else 0x149)
            return struct.pack(">HII", 0x8002, 10 + 4 + 102 + 5, 0) + struct.pack(">IH", 102, 100) + bytes(105)
        return None

    stored = TpmChip(lambda: Answering(tpm.path, answer)).quote(bytes(32)).ek_certificate
    with contextlib.closing(SocketTransport(tpm.path)) as transport:
        rsa = Tpm(transport).nv_read(0x01C00002)
    assert stored == (None if rsa is None else trim_der(rsa))


def storing_nothing(tpm: SoftwareTpm) -> TpmChip:
    """A chip whose certificates its maker serves elsewhere, as many of AMD's and Intel's."""

    def answer(command: bytes) -> bytes | None:
        is_certificate = is_about(command, Command.NV_READ_PUBLIC, 0x01C0000A) or is_about(
            command, Command.NV_READ_PUBLIC, 0x01C00002
        )
        return refusal(0x18B) if is_certificate else None

    return TpmChip(lambda: Answering(tpm.path, answer))


@pytest.mark.parametrize("template", [templates.EK_P256, templates.EK_RSA])
def test_a_certificate_that_was_given_says_which_key_activates(tpm: SoftwareTpm, template: bytes) -> None:
    """Else verifiers make secrets for the certified RSA key, and the elliptic one refuses them for ever."""
    with (
        contextlib.closing(SocketTransport(tpm.path)) as transport,
        Tpm(transport).primary(templates.ENDORSEMENT, template) as ek,
    ):
        key = parse_public_untrusted(ek.public).key
    certificate = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # all of one that is looked at
    chip = storing_nothing(tpm)
    chip.prepare(b"head" + certificate + b"tail")
    quoted = chip.quote(bytes(32))
    assert quoted.ek_certificate is None
    name = parse_public_untrusted(quoted.ak_public).name
    credential = make_credential(key, name, b"the secret", os.urandom)
    assert chip.activate(credential.id_object, credential.encrypted_secret) == b"the secret"
    assert tpm.loaded() == ()


def test_a_certificate_of_another_chip_is_said_at_the_start(two_tpms: list[SoftwareTpm]) -> None:
    mine, other = two_tpms
    foreign = other.chip.quote(bytes(32)).ek_certificate
    with pytest.raises(AttesterError, match="another chip's"):
        storing_nothing(mine).prepare(foreign)
    mine.chip.prepare(foreign)  # the chip's own goes first: nothing that was given is needed
    assert mine.loaded() == ()


def test_a_chip_that_is_busy_while_its_certificate_is_read_is_not_one_without(tpm: SoftwareTpm) -> None:
    """It would have another endorsement key at each start."""

    def answer(command: bytes) -> bytes | None:
        return refusal(0x922) if is_about(command, Command.NV_READ_PUBLIC, 0x01C0000A) else None

    with pytest.raises(AttesterError, match="busy"):
        TpmChip(lambda: Answering(tpm.path, answer)).prepare()


@pytest.mark.parametrize("refused", [1, 2, 3, 100])
def test_what_could_not_be_flushed_is_flushed_by_the_next_operation(tpm: SoftwareTpm, refused: int) -> None:
    """A chip has three slots: three flushes that a busy chip puts off, and it would do nothing any more."""
    left = [refused]

    def answer(command: bytes) -> bytes | None:
        if command[6:10] == Command.FLUSH_CONTEXT.to_bytes(4, "big") and left[0]:
            left[0] -= 1
            return refusal(0x922)
        return None

    chip = TpmChip(lambda: Answering(tpm.path, answer))
    for _ in range(4):
        with contextlib.suppress(AttesterError):
            chip.seal(b"secret")
    left[0] = 0
    chip.seal(b"secret")
    assert tpm.loaded() == ()


def test_a_leftover_that_cannot_be_flushed_stops_nothing(tpm: SoftwareTpm) -> None:
    def answer(command: bytes) -> bytes | None:
        if command[6:10] == Command.FLUSH_CONTEXT.to_bytes(4, "big") and command[10:] == b"\x80\x00\x00\x09":
            return refusal(0x18B)
        if command[6:18] == struct.pack(">III", Command.GET_CAPABILITY, 1, TRANSIENT):
            return struct.pack(">HIIBIII", 0x8001, 23, 0, 0, 1, 1, TRANSIENT + 9)
        return None

    assert TpmChip(lambda: Answering(tpm.path, answer)).unseal(tpm.chip.seal(b"secret")) == b"secret"


def test_a_chip_that_is_locked_against_guessing_still_serves(tpm: SoftwareTpm) -> None:
    """Another program's wrong passwords must not take this host's keys away (TPM2_DictionaryAttackParameters)."""
    chip = tpm.chip
    sealed = chip.seal(b"secret")
    body = struct.pack(">II", 0x4000000A, 9) + EMPTY_PASSWORD.encode() + struct.pack(">III", 0, 1000, 1000)
    with contextlib.closing(SocketTransport(tpm.path)) as transport:  # no try at all: locked from now on
        lock = struct.pack(">HII", 0x8002, 10 + len(body), 0x13A) + body
        parse_response_untrusted(transport.exchange(lock, timeout_s=5))
        assert Tpm(transport).properties(0x200, 1)[0x200] & 1 << 9  # TPMA_PERMANENT.inLockout
    assert chip.unseal(sealed) == b"secret"
    quoted = chip.quote(bytes(32))
    assert quoted.ek_certificate is not None
    key = x509.load_der_x509_certificate(quoted.ek_certificate).public_key()
    name = parse_public_untrusted(quoted.ak_public).name
    credential = make_credential(key, name, b"the secret", os.urandom)  # type: ignore[arg-type]
    assert chip.activate(credential.id_object, credential.encrypted_secret) == b"the secret"


def test_many_nodes_use_one_chip_without_a_resource_manager(tpm: SoftwareTpm) -> None:
    """Each operation is a connection of its own, waits its turn, and leaves nothing of another node's flushed."""
    chips = [tpm.chip for _ in range(6)]
    sealed = [chip.seal(b"secret %d" % number) for number, chip in enumerate(chips)]
    assert len({chip.quote(bytes(32)).ak_public for chip in chips}) == 1
    with ThreadPoolExecutor(len(chips)) as pool:
        work = [pool.submit(chip.unseal, one) for chip, one in zip(chips * 4, sealed * 4, strict=True)]
        assert [one.result(60) for one in work] == [b"secret %d" % number for number in range(6)] * 4
    assert tpm.loaded() == ()


OPERATIONS: dict[str, Callable[[TpmChip], object]] = {
    "describe": lambda chip: chip.describe(),
    "prepare": lambda chip: chip.prepare(),
    "quote": lambda chip: chip.quote(bytes(32)),
    "activate": lambda chip: chip.activate(b"\x00\x20" + bytes(34), bytes(256)),
    "seal": lambda chip: chip.seal(b"secret"),
    "unseal": lambda chip: chip.unseal(chip.seal(b"secret")),
}


class Interruption(BaseException):
    """Stands for whatever can end a thread's work in the middle."""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_stays_loaded_wherever_an_operation_is_interrupted(tpm: SoftwareTpm, operation: str) -> None:
    """At its first command, its second, and so on until it runs through."""
    for limit in range(1, 40):
        count = 0

        def interrupt(command: bytes, limit: int = limit) -> None:
            nonlocal count
            count += 1
            if count == limit:
                raise Interruption

        ended = False
        try:
            OPERATIONS[operation](TpmChip(wrapped(connector(tpm.path), interrupt)))
            ended = True
        except (Interruption, AttesterError):
            ended = count < limit
        assert tpm.loaded() == (), f"command {limit} of {operation}"
        if ended:
            return
    raise AssertionError("it never ran through")


def test_a_silent_chip_is_an_error_and_no_hang(tpm: SoftwareTpm) -> None:
    transport = SocketTransport(tpm.path)
    tpm.freeze()
    with pytest.raises(AttesterError, match="in time"):
        transport.exchange(b"\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x7b", timeout_s=0.05)
    transport.close()
    transport.close()
    with pytest.raises(AttesterError, match="closed"):
        transport.exchange(b"", timeout_s=1)
    tpm.thaw()


def test_what_a_cut_connection_left_loaded_is_flushed_by_the_next(tpm: SoftwareTpm) -> None:
    transport = SocketTransport(tpm.path)
    held = Tpm(transport).primary(templates.OWNER, templates.STORAGE_P256)
    held.__enter__()
    transport.close()
    assert tpm.loaded() != ()
    tpm.chip.describe()
    assert tpm.loaded() == ()


def test_a_chip_that_is_switched_off_in_the_middle(tpm: SoftwareTpm) -> None:
    def pull(command: bytes) -> None:
        if int.from_bytes(command[6:10], "big") == Command.QUOTE:
            tpm.stop()

    with pytest.raises(AttesterError):
        TpmChip(wrapped(connector(tpm.path), pull)).quote(bytes(32))


def test_places_where_no_chip_is(tmp_path: Path) -> None:
    with pytest.raises(AttesterError, match="there is no TPM"):
        open_chip(tmp_path / "none").describe()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"policy = 1, and much more than a command is long")
    for name in ("folder", "file"):
        with pytest.raises(AttesterError, match="neither a TPM's device nor"):
            open_chip(tmp_path / name).describe()
    # An operator who names the wrong file still has it.
    assert (tmp_path / "file").read_bytes() == b"policy = 1, and much more than a command is long"
    with pytest.raises(AttesterError, match="cannot be opened"):
        DeviceTransport(tmp_path / "folder")
    deep = tmp_path / ("x" * 100) / "tpm"
    with pytest.raises(AttesterError, match="too long"):
        SocketTransport(deep)


def test_boot_logs_that_fit(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_boot_log(log) == b""
    log.write_bytes(b"x" * BOOT_LOG_MAX)
    assert len(read_boot_log(log)) == BOOT_LOG_MAX
    log.write_bytes(b"x" * (BOOT_LOG_MAX + 1))
    assert read_boot_log(log) == b""

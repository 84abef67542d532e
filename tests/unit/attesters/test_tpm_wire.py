"""Command bytes, and responses of chips that say no or send anything."""

from __future__ import annotations

import struct

import pytest

from sealmesh.attesters.tpm.chip import trim_der
from sealmesh.attesters.tpm.client import Tpm
from sealmesh.attesters.tpm.wire import (
    EMPTY_PASSWORD,
    Code,
    Command,
    Session,
    encode_command,
    parse_response_untrusted,
)
from sealmesh.errors import AttesterError
from sealmesh.limits import TPM_MESSAGE_MAX, TPM_NV_MAX


def response(parameters: bytes = b"", *, tag: int = 0x8001, code: int = 0, length: int | None = None) -> bytes:
    size = 10 + len(parameters) if length is None else length
    return struct.pack(">HII", tag, size, code) + parameters


def test_a_command_without_sessions() -> None:
    encoded = encode_command(Command.FLUSH_CONTEXT, parameters=b"\x80\x00\x00\x01")
    assert encoded.hex() == "8001" + "0000000e" + "00000165" + "80000001"


def test_a_command_with_a_password_and_a_policy() -> None:
    sessions = (EMPTY_PASSWORD, Session(handle=0x03000000, keeps=True))
    encoded = encode_command(Command.ACTIVATE_CREDENTIAL, handles=(1, 2), sessions=sessions, parameters=b"xy")
    assert encoded[:10].hex() == "8002" + f"{len(encoded):08x}" + "00000147"
    area = "40000009" + "0000" + "00" + "0000" + "03000000" + "0000" + "01" + "0000"
    assert encoded[10:].hex() == "00000001" + "00000002" + "00000012" + area + b"xy".hex()


def test_a_command_longer_than_any_chip_takes() -> None:
    with pytest.raises(AttesterError, match="longer"):
        encode_command(Command.LOAD, parameters=bytes(TPM_MESSAGE_MAX))


def test_good_responses() -> None:
    assert parse_response_untrusted(response(b"abc")).parameters == b"abc"
    with_handle = parse_response_untrusted(response(b"\x80\x00\x00\x07abc"), gives_handle=True)
    assert (with_handle.handle, with_handle.parameters) == (0x80000007, b"abc")
    behind = b"\x00\x00\x00\x03abc" + b"\x00\x00\x01\x00\x00"
    assert parse_response_untrusted(response(behind, tag=0x8002)).parameters == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        response()[:9],
        response(length=11),
        response(b"a", length=10),
        response(bytes(TPM_MESSAGE_MAX)),
        response(bytes(4), tag=0x8000),
        response(b"\x00\x00\x00\x04abc", tag=0x8002),
    ],
)
def test_bytes_that_are_no_response(data: bytes) -> None:
    with pytest.raises(AttesterError, match="malformed"):
        parse_response_untrusted(data)


@pytest.mark.parametrize(
    ("code", "plain", "words", "momentary"),
    [
        (0x100, Code.INITIALIZE, "0x100", True),
        (0x101, Code.FAILURE, "failure mode", True),
        (0x1DF, Code.INTEGRITY, "another chip", False),
        (0x9A2, Code.BAD_AUTH, "password", False),
        (0x98E, Code.AUTH_FAIL, "password", False),
        (0x18B, Code.HANDLE, "no such object", False),
        (0x902, Code.OBJECT_MEMORY, "memory is full", True),
        (0x922, Code.RETRY, "busy", True),
        (0x777, 0x777, "0x777", False),
    ],
)
def test_refusals_say_why_and_whether_they_pass(code: int, plain: int, words: str, momentary: bool) -> None:
    """A chip that is busy or full has not refused the credential: its host would be out for an hour."""
    with pytest.raises(AttesterError, match=words) as caught:
        parse_response_untrusted(response(code=code))
    assert (caught.value.code, caught.value.momentary) == (plain, momentary)


def test_a_certificate_is_cut_from_its_padding() -> None:
    assert trim_der(b"\x30\x03abc" + b"\xff" * 9) == b"\x30\x03abc"
    long = b"\x30\x82\x01\x00" + bytes(256)
    assert trim_der(long + bytes(100)) == long
    for broken in (b"", b"\x31\x00", b"\x30", b"\x30\x84\x00\x00\x00\x00", b"\x30\x05abc"):
        with pytest.raises(AttesterError):
            trim_der(broken)


class Scripted:
    """A chip that says what it was told to say."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.commands: list[int] = []

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        self.commands.append(int.from_bytes(command[6:10], "big"))
        return self.answers.pop(0)

    def close(self) -> None:
        pass


def nv_public(size: int) -> bytes:
    public = struct.pack(">IHI", 0x01C00002, 0xB, 0) + b"\x00\x00" + struct.pack(">H", size)
    return response(struct.pack(">H", len(public)) + public + b"\x00\x00")


def test_an_index_larger_than_any_certificate_is_not_read() -> None:
    with pytest.raises(AttesterError, match="larger"):
        Tpm(Scripted(nv_public(TPM_NV_MAX + 1))).nv_read(0x01C00002)


@pytest.mark.parametrize("piece", [b"", b"a", bytes(101)])
def test_an_index_that_reads_as_nothing_or_in_drops_ends(piece: bytes) -> None:
    """A chip that gives a byte each ten seconds would hold the start for a day."""
    given = response(struct.pack(">IH", 2 + len(piece), len(piece)) + piece, tag=0x8002)
    with pytest.raises(AttesterError, match="less or more"):
        Tpm(Scripted(nv_public(100), given)).nv_read(0x01C00002)


def test_registers_that_are_never_given_end() -> None:
    nothing = response(struct.pack(">IIHB", 1, 1, 0xB, 3) + bytes(3) + bytes(4))
    with pytest.raises(AttesterError, match="bank"):
        Tpm(Scripted(*[nothing] * 30)).pcr_read((0, 7))


def test_registers_that_nobody_asked_for() -> None:
    other = response(struct.pack(">IIHB", 1, 1, 0xB, 3) + b"\x02\x00\x00" + struct.pack(">IH", 1, 32) + bytes(32))
    with pytest.raises(AttesterError, match="nobody asked"):
        Tpm(Scripted(other)).pcr_read((0,))


def test_an_emulator_that_nobody_started_is_started_once() -> None:
    good = response(b"\x00" + struct.pack(">III", 6, 1, 0x105) + b"SW  ")
    chip = Scripted(response(code=0x100), response(), good)
    assert Tpm(chip).properties(0x105, 1) == {0x105: 0x53572020}
    assert chip.commands == [Command.GET_CAPABILITY, Command.STARTUP, Command.GET_CAPABILITY]


def test_a_key_is_flushed_when_what_was_done_with_it_fails() -> None:
    made = response(struct.pack(">II", 0x80000001, 4) + b"\x00\x02ab", tag=0x8002)
    chip = Scripted(made, response(code=0x101), response())
    tpm = Tpm(chip)
    with pytest.raises(AttesterError, match="failure mode"), tpm.primary(1, b"") as key:
        tpm.save_context(key.handle)
    assert chip.commands == [Command.CREATE_PRIMARY, Command.CONTEXT_SAVE, Command.FLUSH_CONTEXT]

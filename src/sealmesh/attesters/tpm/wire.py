"""How a TPM speaks: command bytes, and responses read with every bound checked.

Sections name the "Trusted Platform Module Library" [TPM1, TPM2, TPM3 for its parts].
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from sealmesh.errors import AttesterError
from sealmesh.limits import TPM_MESSAGE_MAX

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_HEADER: Final = struct.Struct(">HII")
#: Response codes of format one carry the number of the handle, session or parameter beside the error [TPM2, 6.6.2].
_FORMAT_ONE, _FORMAT_ONE_ERROR = 0x080, 0x0BF
_WARNING: Final = 0x900  # from here on: not now, for want of memory, time or rest [TPM2, 6.6.3]

NULL_HANDLE: Final = 0x40000007


class Command(enum.IntEnum):
    """Command codes [TPM2, 6.5.2]."""

    CREATE_PRIMARY = 0x131
    STARTUP = 0x144
    ACTIVATE_CREDENTIAL = 0x147
    NV_READ = 0x14E
    POLICY_SECRET = 0x151
    CREATE = 0x153
    LOAD = 0x157
    QUOTE = 0x158
    UNSEAL = 0x15E
    CONTEXT_LOAD = 0x161
    CONTEXT_SAVE = 0x162
    FLUSH_CONTEXT = 0x165
    NV_READ_PUBLIC = 0x169
    START_AUTH_SESSION = 0x176
    GET_CAPABILITY = 0x17A
    PCR_READ = 0x17E


class Code(enum.IntEnum):
    """Response codes that are told apart, without the number of the parameter [TPM2, 6.6.3]."""

    INITIALIZE = 0x100  # TPM2_Startup is due
    FAILURE = 0x101
    AUTH_UNAVAILABLE = 0x12F
    NV_RANGE = 0x146
    NV_LOCKED = 0x148
    NV_AUTHORIZATION = 0x149
    NV_UNINITIALIZED = 0x14A
    LOCKOUT = 0x921
    OBJECT_MEMORY = 0x902
    RETRY = 0x922
    ATTRIBUTES = 0x082
    AUTH_FAIL = 0x08E
    HANDLE = 0x08B
    INTEGRITY = 0x09F
    BAD_AUTH = 0x0A2
    SIZE = 0x095


_WORDS: Final = {
    Code.FAILURE: "it is in failure mode; restart the machine",
    Code.LOCKOUT: "it is locked against guessing; wait, or clear the lockout",
    Code.OBJECT_MEMORY: "its memory is full of other programs' keys",
    Code.RETRY: "it is busy",
    Code.AUTH_FAIL: "the hierarchy has a password; sealmesh needs it empty",
    Code.BAD_AUTH: "the hierarchy has a password; sealmesh needs it empty",
    Code.HANDLE: "it has no such object",
    Code.INTEGRITY: "the bytes were made by another chip, or before this one was cleared",
}


class Reader:
    """A big-endian cursor over what a chip sent. Every read is bounds-checked.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises:
            AttesterError: There are fewer.
        """
        end = self._position + length
        if end > len(self._data):
            raise malformed("it is cut")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def number(self, length: int) -> int:
        """Return the next unsigned integer of `length` bytes."""
        return int.from_bytes(self.take(length), "big")

    def sized(self) -> bytes:
        """Return the content of the next TPM2B: a 16-bit length and that many bytes."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data) - self._position)

    def end(self) -> None:
        """Refuse bytes after the end.

        Raises:
            AttesterError: There are some.
        """
        if self._position != len(self._data):
            raise malformed("bytes follow its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An authorisation of a command: a handle, and whether the session lives on.

    Attributes:
        handle: Of a session, or that of passwords.
        keeps: Whether it is there after the command.
    """

    handle: int
    keeps: bool = False

    def encode(self) -> bytes:
        """TPMS_AUTH_COMMAND with an empty nonce and an empty password or HMAC [TPM2, 10.13.2]."""
        return struct.pack(">IHBH", self.handle, 0, 1 if self.keeps else 0, 0)


#: The password session with an empty password.
EMPTY_PASSWORD: Final = Session(handle=0x40000009)


def sized(content: bytes) -> bytes:
    """A TPM2B.

    Raises:
        AttesterError: No TPM takes so much.
    """
    if len(content) > TPM_MESSAGE_MAX:
        raise too_long()
    return struct.pack(">H", len(content)) + content


def encode_command(
    command: Command, *, handles: tuple[int, ...] = (), sessions: tuple[Session, ...] = (), parameters: bytes = b""
) -> bytes:
    """The bytes of one command [TPM1, 18.9].

    Raises:
        AttesterError: It is longer than any TPM takes.
    """
    area = b"".join(session.encode() for session in sessions)
    body = b"".join(struct.pack(">I", handle) for handle in handles)
    if sessions:
        body += struct.pack(">I", len(area)) + area
    body += parameters
    length = _HEADER.size + len(body)
    if length > TPM_MESSAGE_MAX:
        raise too_long()
    return _HEADER.pack(_SESSIONS if sessions else _NO_SESSIONS, length, command) + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A good response.

    Attributes:
        handle: The one that it gave; 0 for a command that gives none.
        parameters: What follows.
    """

    handle: int
    parameters: bytes


def parse_response_untrusted(data: bytes, *, gives_handle: bool = False) -> Response:
    """Read a response; one that says no raises too, with what it said.

    A chip is not a stranger, but a failing one, an emulator or a bus sends anything.

    Args:
        data: As received.
        gives_handle: Whether this command's response begins with a handle.

    Raises:
        AttesterError: The chip refused, or the bytes are no response.
    """
    reader = Reader(data)
    tag, length, code = reader.number(2), reader.number(4), reader.number(4)
    if length != len(data) or length > TPM_MESSAGE_MAX:
        raise malformed("its length is not what it says")
    if code:
        raise refusal(code)
    if tag not in (_NO_SESSIONS, _SESSIONS):
        raise malformed("its tag is unknown")
    handle = reader.number(4) if gives_handle else 0
    if tag == _NO_SESSIONS:
        return Response(handle=handle, parameters=reader.rest())
    # Behind the parameters stand the sessions' acknowledgements; those of passwords and plain policies are empty.
    return Response(handle=handle, parameters=reader.take(reader.number(4)))


def refusal(code: int) -> AttesterError:
    """The error for a response code, which it carries without the number of the parameter."""
    plain = code & _FORMAT_ONE_ERROR if code & _FORMAT_ONE else code
    words = _WORDS.get(plain, "")  # type: ignore[call-overload] # an int of another value finds nothing
    momentary = plain >= _WARNING or plain in (Code.INITIALIZE, Code.FAILURE)
    said = f"the TPM refused (code 0x{code:03x})" + (f": {words}" if words else "")
    return AttesterError(said, code=plain, momentary=momentary)


def too_long() -> AttesterError:
    """The error for what is not even sent: the chip would say the same."""
    return AttesterError("what was to be given to the TPM is longer than one takes", code=Code.SIZE)


def malformed(what: str) -> AttesterError:
    """The error for bytes that no TPM should send."""
    return AttesterError(f"the TPM's answer is malformed: {what}")

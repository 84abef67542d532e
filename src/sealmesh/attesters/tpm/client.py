"""The commands of a TPM that sealmesh uses, one method each. Blocking; whatever is loaded is flushed on every way out.

What may hold handles is a context manager: a chip without a resource manager has three slots in all.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sealmesh.attesters.tpm.templates import ENDORSEMENT
from sealmesh.attesters.tpm.transport import Transport
from sealmesh.attesters.tpm.wire import (
    EMPTY_PASSWORD,
    NULL_HANDLE,
    Code,
    Command,
    Reader,
    Response,
    Session,
    encode_command,
    malformed,
    parse_response_untrusted,
    sized,
)
from sealmesh.errors import AttesterError
from sealmesh.limits import TPM_COMMAND_TIMEOUT_S, TPM_KEY_TIMEOUT_S, TPM_NV_MAX, TPM_SEALED_MAX

SHA256: Final = 0x000B
_NULL_ALGORITHM: Final = 0x0010
_DIGEST_BYTES: Final = 32
_NV_CHUNK: Final = 512  # what every chip gives at once
_PCR_SELECT_BYTES: Final = 3
_PCR_READS_MAX: Final = 24  # eight registers a read is usual; one at least, or the loop ends
_POLICY_SESSION: Final = 0x01
_STARTUP_CLEAR: Final = 0x0000
_HANDLES, _PROPERTIES = 0x00000001, 0x00000006  # TPM_CAP [TPM2, 6.12]
_PROPERTY_MAX: Final = 64
#: The first handle of objects that are loaded, of sessions of commands, and of saved sessions [TPM2, 7.2].
TRANSIENT, LOADED_SESSIONS, SAVED_SESSIONS = 0x80000000, 0x02000000, 0x03000000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedKey:
    """A key in one of the chip's slots.

    Attributes:
        handle: Its slot.
        public: TPMT_PUBLIC.
    """

    handle: int
    public: bytes


class Tpm:
    """One connection to a chip.

    Args:
        transport: The way to it. Not closed here.
        random: Makes the nonces of sessions.
    """

    def __init__(self, transport: Transport, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._transport = transport
        self._random = random

    # --- who it is ------------------------------------------------------------------------------------------------

    def properties(self, first: int, count: int) -> dict[int, int]:
        """Return fixed properties from `first` on: property to value [TPM2, 6.13].

        Raises:
            AttesterError: The chip refuses or is gone; so in every method here.
        """
        reader = self._capability(_PROPERTIES, first, count)
        number = reader.number(4)
        if number > _PROPERTY_MAX:
            raise malformed("more properties than there are")
        found = {reader.number(4): reader.number(4) for _ in range(number)}
        reader.end()
        return found

    def handles(self, first: int) -> tuple[int, ...]:
        """Return what is loaded or stored from this handle on: the slots in use, say."""
        reader = self._capability(_HANDLES, first, _PROPERTY_MAX)
        number = reader.number(4)
        if number > _PROPERTY_MAX:
            raise malformed("more handles than were asked for")
        found = tuple(reader.number(4) for _ in range(number))
        reader.end()
        return found

    def _capability(self, capability: int, first: int, count: int) -> Reader:
        response = self._do(Command.GET_CAPABILITY, parameters=struct.pack(">III", capability, first, count))
        reader = Reader(response.parameters)
        reader.take(1)  # whether there is more
        if reader.number(4) != capability:
            raise malformed("another capability than was asked for")
        return reader

    # --- memory and registers ---------------------------------------------------------------------------------------

    def nv_read(self, index: int) -> bytes | None:
        """Return what is stored at an NV index that everybody may read, or None where there is none.

        Raises:
            AttesterError: As everywhere; with `Code.SIZE` for an index that is larger than any certificate.
        """
        try:
            response = self._do(Command.NV_READ_PUBLIC, handles=(index,))
        except AttesterError as error:
            if error.code == Code.HANDLE:
                return None
            raise
        size = _nv_size(response.parameters)
        content = b""
        while len(content) < size:
            wanted = min(_NV_CHUNK, size - len(content))
            chunk = struct.pack(">HH", wanted, len(content))
            read = self._do(Command.NV_READ, handles=(index, index), sessions=(EMPTY_PASSWORD,), parameters=chunk)
            reader = Reader(read.parameters)
            piece = reader.sized()
            reader.end()
            if len(piece) != wanted:  # all of it or an error [TPM3, 31.13]; a byte at a time would take hours
                raise malformed("it read less or more than was asked for")
            content += piece
        return content

    def pcr_read(self, indices: tuple[int, ...]) -> dict[int, bytes]:
        """Return SHA-256 registers by index, 32 bytes each."""
        values: dict[int, bytes] = {}
        for _ in range(_PCR_READS_MAX):
            left = tuple(index for index in indices if index not in values)
            if not left:
                return values
            response = self._do(Command.PCR_READ, parameters=encode_selection(left))
            fresh = _parse_registers(response.parameters)
            if not fresh.keys() <= set(left):
                raise malformed("registers that nobody asked for")
            values.update(fresh)
        raise AttesterError("the TPM does not give its SHA-256 registers; is that bank switched on in the firmware?")

    # --- keys -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def primary(self, hierarchy: int, template: bytes) -> Iterator[LoadedKey]:
        """Make a primary key: the same one each time, until the hierarchy's seed goes."""
        sensitive = sized(sized(b"") + sized(b""))
        parameters = sensitive + sized(template) + sized(b"") + struct.pack(">I", 0)
        response = self._do(
            Command.CREATE_PRIMARY,
            handles=(hierarchy,),
            sessions=(EMPTY_PASSWORD,),
            parameters=parameters,
            gives_handle=True,
            timeout_s=TPM_KEY_TIMEOUT_S,
        )
        with self._flushing(response.handle):
            yield LoadedKey(handle=response.handle, public=Reader(response.parameters).sized())

    def save_context(self, handle: int) -> bytes:
        """Return a loaded key in a form that only this chip takes back, and only until the machine restarts."""
        return self._do(Command.CONTEXT_SAVE, handles=(handle,)).parameters

    @contextlib.contextmanager
    def restored(self, context: bytes) -> Iterator[int]:
        """Load a saved key, far faster than making it anew. Gives its handle."""
        response = self._do(Command.CONTEXT_LOAD, parameters=context, gives_handle=True)
        with self._flushing(response.handle):
            yield response.handle

    def quote(self, key: int, extra: bytes, indices: tuple[int, ...]) -> tuple[bytes, bytes]:
        """Have registers signed. Returns TPMS_ATTEST and TPMT_SIGNATURE.

        Args:
            key: A restricted signing key with a scheme of its own.
            extra: What goes into the quote, at most 64 bytes.
            indices: SHA-256 registers.
        """
        parameters = sized(extra) + struct.pack(">H", _NULL_ALGORITHM) + encode_selection(indices)
        response = self._do(Command.QUOTE, handles=(key,), sessions=(EMPTY_PASSWORD,), parameters=parameters)
        reader = Reader(response.parameters)
        return reader.sized(), reader.rest()

    def activate(self, key: int, endorsement: int, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """Hand out what was encrypted for these two keys together [TPM3, 12.5]."""
        with self._policy_session() as session:
            # What the vendors' template demands of whoever uses the endorsement key.
            parameters = sized(b"") * 3 + struct.pack(">i", 0)
            self._do(
                Command.POLICY_SECRET,
                handles=(ENDORSEMENT, session),
                sessions=(EMPTY_PASSWORD,),
                parameters=parameters,
            )
            response = self._do(
                Command.ACTIVATE_CREDENTIAL,
                handles=(key, endorsement),
                sessions=(EMPTY_PASSWORD, Session(handle=session, keeps=True)),
                parameters=sized(id_object) + sized(encrypted_secret),
            )
        return _only_sized(response.parameters)

    # --- what is kept on the disk -------------------------------------------------------------------------------------

    def create_sealed(self, parent: int, template: bytes, secret: bytes) -> tuple[bytes, bytes]:
        """Encrypt a secret to a storage key of this chip. Returns the private and the public part."""
        if not 0 < len(secret) <= TPM_SEALED_MAX:
            raise AttesterError(f"a TPM seals 1 to {TPM_SEALED_MAX} bytes")
        parameters = sized(sized(b"") + sized(secret)) + sized(template) + sized(b"") + struct.pack(">I", 0)
        response = self._do(
            Command.CREATE,
            handles=(parent,),
            sessions=(EMPTY_PASSWORD,),
            parameters=parameters,
            timeout_s=TPM_KEY_TIMEOUT_S,
        )
        reader = Reader(response.parameters)
        return reader.sized(), reader.sized()

    @contextlib.contextmanager
    def loaded(self, parent: int, private: bytes, public: bytes) -> Iterator[int]:
        """Load what `create_sealed` made. Gives its handle."""
        response = self._do(
            Command.LOAD,
            handles=(parent,),
            sessions=(EMPTY_PASSWORD,),
            parameters=sized(private) + sized(public),
            gives_handle=True,
        )
        with self._flushing(response.handle):
            yield response.handle

    def unseal(self, handle: int) -> bytes:
        """Return the secret of a loaded object."""
        response = self._do(Command.UNSEAL, handles=(handle,), sessions=(EMPTY_PASSWORD,))
        return _only_sized(response.parameters)

    # --- below --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _policy_session(self) -> Iterator[int]:
        parameters = (
            sized(self._random(_DIGEST_BYTES))
            + sized(b"")
            + struct.pack(">BHH", _POLICY_SESSION, _NULL_ALGORITHM, SHA256)
        )
        response = self._do(
            Command.START_AUTH_SESSION, handles=(NULL_HANDLE, NULL_HANDLE), parameters=parameters, gives_handle=True
        )
        with self._flushing(response.handle):
            yield response.handle

    @contextlib.contextmanager
    def _flushing(self, handle: int) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # The first failure is the one to tell; a chip that is gone has nothing loaded.
            with contextlib.suppress(AttesterError):
                self._flush_surely(handle)
            raise
        self._flush_surely(handle)

    def flush_leftovers(self) -> None:
        """Flush what an earlier connection left loaded, because it was cut. A resource manager shows none."""
        for first in (TRANSIENT, LOADED_SESSIONS):
            for handle in self.handles(first):
                try:
                    self._flush(handle)
                except AttesterError as error:
                    if error.momentary or not error.code:
                        raise  # it is busy, or gone
                    # Somebody else's, or gone by now: what is to be done may go well all the same.

    def _flush_surely(self, handle: int) -> None:
        try:
            self._flush(handle)
        except BaseException:
            with contextlib.suppress(AttesterError):
                self._flush(handle)  # what interrupted the first may not have come from the chip
            raise

    def _flush(self, handle: int) -> None:
        self._do(Command.FLUSH_CONTEXT, parameters=struct.pack(">I", handle))

    def _do(
        self,
        command: Command,
        *,
        handles: tuple[int, ...] = (),
        sessions: tuple[Session, ...] = (),
        parameters: bytes = b"",
        gives_handle: bool = False,
        timeout_s: float = TPM_COMMAND_TIMEOUT_S,
    ) -> Response:
        encoded = encode_command(command, handles=handles, sessions=sessions, parameters=parameters)
        try:
            return self._exchange(encoded, gives_handle, timeout_s)
        except AttesterError as error:
            if error.code != Code.INITIALIZE:
                raise
        # Firmware starts a chip; nobody starts an emulator.
        startup = encode_command(Command.STARTUP, parameters=struct.pack(">H", _STARTUP_CLEAR))
        self._exchange(startup, gives_handle=False, timeout_s=timeout_s)
        return self._exchange(encoded, gives_handle, timeout_s)

    def _exchange(self, encoded: bytes, gives_handle: bool, timeout_s: float) -> Response:
        received = self._transport.exchange(encoded, timeout_s=timeout_s)
        return parse_response_untrusted(received, gives_handle=gives_handle)


def encode_selection(indices: tuple[int, ...]) -> bytes:
    """TPML_PCR_SELECTION of SHA-256 registers."""
    bits = sum(1 << index for index in indices)
    return struct.pack(">IHB", 1, SHA256, _PCR_SELECT_BYTES) + bits.to_bytes(_PCR_SELECT_BYTES, "little")


def _only_sized(parameters: bytes) -> bytes:
    reader = Reader(parameters)
    content = reader.sized()
    reader.end()
    return content


def _nv_size(parameters: bytes) -> int:
    """The size in a TPM2B_NV_PUBLIC, whose last field it is [TPM2, 13.5]."""
    public = Reader(Reader(parameters).sized())
    public.take(4 + 2 + 4)  # index, name algorithm, attributes
    public.sized()  # policy
    size = public.number(2)
    public.end()
    if size > TPM_NV_MAX:
        raise AttesterError("the TPM has an NV index larger than any certificate", code=Code.SIZE)
    return size


def _parse_registers(parameters: bytes) -> dict[int, bytes]:
    """The selection that was read, and its digests in order [TPM3, 22.4]."""
    reader = Reader(parameters)
    reader.take(4)  # the counter of updates
    if reader.number(4) != 1 or reader.number(2) != SHA256:
        raise malformed("registers of another bank")
    bits = int.from_bytes(reader.take(reader.number(1)), "little")
    indices = [index for index in range(bits.bit_length()) if bits >> index & 1]
    if reader.number(4) != len(indices):
        raise malformed("registers that do not fit their selection")
    found = {index: reader.sized() for index in indices}
    reader.end()
    if any(len(value) != _DIGEST_BYTES for value in found.values()):
        raise malformed("a register of another length")
    return found

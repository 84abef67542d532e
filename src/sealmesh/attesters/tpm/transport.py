"""The way to a TPM: the kernel's resource manager, or the socket of an emulator. All of it blocks: run it in a thread.

A connection is opened for each operation and closed after it: the kernel then forgets whatever was left loaded, and an
emulator, which serves one connection at a time, is free for the next.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from sealmesh.errors import AttesterError
from sealmesh.limits import TPM_MESSAGE_MAX

#: The kernel's TPM with a resource manager: many programs use it at once, and none sees another's keys.
DEVICE: Final = Path("/dev/tpmrm0")
_HEADER_BYTES: Final = 10
_SIZE: Final = slice(2, 6)
_CONNECT_TIMEOUT_S: Final = 5


class Transport(Protocol):
    """One connection to a TPM: a command goes out, its response comes back."""

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        """Send one command and return its response, which nobody has looked at.

        Raises:
            AttesterError: The chip is gone, or silent for longer than the timeout. The connection is then of no use.
        """

    def close(self) -> None:
        """End the connection. A second call does nothing."""


#: Opens a connection. A test can wrap it: with a delay for each command, say.
Connect = Callable[[], Transport]


class DeviceTransport:
    """A TPM behind a character device.

    Args:
        path: `/dev/tpmrm0`, or another one.

    Raises:
        AttesterError: It cannot be opened; the message says what to do.
    """

    def __init__(self, path: Path = DEVICE) -> None:
        try:
            # Without O_NONBLOCK the kernel holds the writer until the chip is done, for minutes if need be.
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise AttesterError(
                f"this user may not use the TPM at {path}: add it to the group of that file (often tss)"
            ) from error
        except OSError as error:
            raise AttesterError(f"the TPM at {path} cannot be opened ({error.strerror})") from error

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        """See `Transport.exchange`."""
        if self._descriptor is None:
            raise AttesterError("the connection to the TPM is closed")
        try:
            os.write(self._descriptor, command)
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                self.close()  # its answer would be taken for the next command's
                raise AttesterError("the TPM did not answer in time")
            return os.read(self._descriptor, TPM_MESSAGE_MAX)
        except OSError as error:
            self.close()
            raise AttesterError(f"the TPM does not answer ({error.strerror})") from error

    def close(self) -> None:
        """See `Transport.close`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SocketTransport:
    """An emulated TPM behind a unix socket: `swtpm socket --tpm2 --server type=unixio,path=PATH`.

    Args:
        path: The socket.

    Raises:
        AttesterError: Nobody listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX)
        # The kernel's own bound: under Python's, a queue of other nodes is an error at once instead of a wait.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _CONNECT_TIMEOUT_S, 0))
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self.close()
            raise AttesterError(f"no TPM answers at the socket {path} ({error.strerror or error})") from error

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        """See `Transport.exchange`."""
        if self._socket is None:
            raise AttesterError("the connection to the TPM is closed")
        until = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(command)
            head = self._receive(self._socket, _HEADER_BYTES, until)
            length = int.from_bytes(head[_SIZE], "big")
            if not _HEADER_BYTES <= length <= TPM_MESSAGE_MAX:
                raise AttesterError("the TPM's answer has an impossible length")
            return head + self._receive(self._socket, length - _HEADER_BYTES, until)
        except (OSError, AttesterError) as error:
            self.close()  # what came late would be taken for the next answer
            if isinstance(error, AttesterError):
                raise
            late = isinstance(error, TimeoutError)
            words = "the TPM did not answer in time" if late else f"the TPM does not answer ({error.strerror})"
            raise AttesterError(words) from error

    @staticmethod
    def _receive(connection: socket.socket, length: int, until: float) -> bytes:
        received = b""
        while len(received) < length:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(length - len(received))
            if not piece:
                raise AttesterError("the TPM ended the connection")
            received += piece
        return received

    def close(self) -> None:
        """See `Transport.close`."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def connector(path: Path) -> Connect:
    """Return what opens connections to the TPM at a path: a unix socket or a character device."""

    def connect() -> Transport:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise AttesterError(f"there is no TPM at {path} ({error.strerror})") from error
        if stat.S_ISSOCK(mode):
            return SocketTransport(path)
        if not stat.S_ISCHR(mode):  # a command would be written over the beginning of whatever file it is
            raise AttesterError(f"{path} is neither a TPM's device nor an emulator's socket")
        return DeviceTransport(path)

    return connect

"""Admission on a new connection: each side shows its credentials on one `0x05` stream and is told what came of it.

The side that dialled shows its own first; the side that was dialled shows its own only to whom it has admitted, so
that a stranger who knocks learns nothing of the mesh (docs/spec/streams.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from sealmesh.errors import NotAdmittedError, RemoteProtocolError, TransportError, VerificationError
from sealmesh.identity.admission import Admitted
from sealmesh.limits import (
    ADMISSION_BYTES_MAX,
    ADMISSION_MAX,
    ADMISSION_WATCH_S,
    REFUSAL_LINGER_S,
    STREAM_OPEN_TIMEOUT_S,
)
from sealmesh.transport.base import Connection, Stream
from sealmesh.wire.framing import MessageReader, StreamKind, encode_message

#: The answer to credentials: this byte alone, or `_REFUSED` and the name of the factor that failed [TR-8].
ACCEPTED: Final = b"\x01"
_REFUSED: Final = b"\x00"
_FACTOR: Final = re.compile(rb"[a-z0-9_]{1,64}")
_UNNAMED: Final = "unnamed"


class CloseCode(enum.IntEnum):
    """Why a connection was closed, as its closer tells the peer [TR-12]."""

    LEAVING = 0
    NOT_ADMITTED = 1
    DUPLICATE = 2
    PROTOCOL = 3
    REMOVED = 4
    MISBEHAVED = 5


async def admit_each_other(
    connection: Connection,
    *,
    dialled: bool,
    credentials: bytes,
    admit: Callable[[bytes], Admitted],
) -> Admitted:
    """Pass admission both ways, or fail. Until this returns, no byte of any other stream was read [TR-7].

    The caller sets the time limit, and closes the connection when this raises.

    Args:
        connection: New; nothing was opened or accepted on it yet.
        dialled: Whether this side made the connection.
        credentials: This side's own, encoded, at most 1 KiB.
        admit: Judges the peer's encoded credentials; raises VerificationError.

    Returns:
        The peer, admitted.

    Raises:
        NotAdmittedError: One side refused the other.
        RemoteProtocolError: The peer sent something else than admission.
        TransportError: The connection failed.
    """
    if dialled:
        await _show(connection, credentials)
        return await _judge(connection, admit)
    admitted = await _judge(connection, admit)
    await _show(connection, credentials)
    return admitted


async def _show(connection: Connection, credentials: bytes) -> None:
    """Show this side's credentials and wait for the peer's answer [TR-6]."""
    async with await connection.open(timeout_s=STREAM_OPEN_TIMEOUT_S) as stream:
        await stream.write(bytes([StreamKind.ADMISSION]) + encode_message(credentials, maximum=ADMISSION_MAX))
        await stream.finish()
        refusal = parse_answer_untrusted(await _read_whole_untrusted(stream, maximum=65))
    if refusal is not None:
        raise NotAdmittedError(refusal, by_peer=True)


async def _judge(connection: Connection, admit: Callable[[bytes], Admitted]) -> Admitted:
    """Read the peer's credentials, judge them, and tell the peer [TR-6] [TR-8]."""
    async with await connection.accept() as stream:
        credentials = _parse_shown_untrusted(await _read_whole_untrusted(stream, maximum=1 + 4 + ADMISSION_MAX))
        try:
            admitted = admit(credentials)
        except VerificationError as error:
            await _refuse(connection, stream, error.factor)
            raise NotAdmittedError(error.factor, by_peer=False) from error
        await stream.write(ACCEPTED)
        await stream.finish()
        return admitted


async def _refuse(connection: Connection, stream: Stream, factor: str) -> None:
    """Tell why; wait a moment, so that the close that follows does not overtake the words."""
    with contextlib.suppress(TransportError, TimeoutError):
        await stream.write(encode_refusal(factor))
        await stream.finish()
        async with asyncio.timeout(REFUSAL_LINGER_S):
            await connection.closed()


def _parse_shown_untrusted(data: bytes) -> bytes:
    """Return the credentials on an admission stream, `0x05 | u32 n | credentials` [AD-22] [TR-6].

    Raises:
        RemoteProtocolError: It is another stream, or not exactly one message.
    """
    if data[:1] != bytes([StreamKind.ADMISSION]):
        raise RemoteProtocolError("a connection began with something else than admission")
    reader = MessageReader(maximum=ADMISSION_MAX)
    messages = reader.feed_untrusted(data[1:])
    reader.finish_untrusted()
    if len(messages) != 1:
        raise RemoteProtocolError("admission takes one message")
    return messages[0]


def encode_refusal(factor: str) -> bytes:
    """Return the answer that names the factor which failed."""
    name = str(factor).encode("ascii", "replace")
    return _REFUSED + (name if _FACTOR.fullmatch(name) else _UNNAMED.encode())


def parse_answer_untrusted(answer: bytes) -> str | None:
    """Return None if the peer accepted, else the factor that it names.

    Raises:
        RemoteProtocolError: It is no answer.
    """
    if answer == ACCEPTED:
        return None
    if answer[:1] == _REFUSED and _FACTOR.fullmatch(answer[1:]):
        return answer[1:].decode("ascii")
    raise RemoteProtocolError("a malformed answer to credentials")


async def _read_whole_untrusted(stream: Stream, *, maximum: int) -> bytes:
    """Read to the peer's end.

    Raises:
        RemoteProtocolError: There is more than `maximum` bytes.
    """
    data = b""
    while piece := await stream.read(maximum + 1 - len(data)):
        data += piece
        if len(data) > maximum:
            raise RemoteProtocolError("more bytes than admission takes")
    return data


@contextlib.asynccontextmanager
async def cut_floods(connection: Connection) -> AsyncIterator[None]:
    """Close a connection that takes in more than admission needs: nothing reads it, so it all stays in memory [TR-10].

    Only what is still there at the second look counts: a member that has just passed may send at once.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    seen_over = False

    def look() -> None:
        nonlocal seen_over, timer
        over = connection.received_bytes > ADMISSION_BYTES_MAX
        if over and seen_over:
            connection.close(CloseCode.PROTOCOL, "more bytes than admission takes")
            return
        seen_over = over
        timer = loop.call_later(ADMISSION_WATCH_S, look)

    timer = loop.call_later(ADMISSION_WATCH_S, look)
    try:
        yield
    finally:
        timer.cancel()

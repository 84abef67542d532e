"""What goes out to a host, whichever way leads there."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from sealmesh.client.answer import HostAnswer
from sealmesh.client.asker import AppRequest
from sealmesh.limits import CACHE_KEY_MAX
from sealmesh.sealed.messages import RequestHead
from sealmesh.transport.base import Stream

#: Opens a stream of one kind to a host, connecting first where needed; the kind byte goes out by itself.
#: Raises TransportError.
OpenStream = Callable[[bytes], Awaitable[Stream]]


def _nothing() -> None:
    pass


async def send_request(
    answer: HostAnswer, request: AppRequest, *, cache_key: bytes, meanwhile: Callable[[], None] = _nothing
) -> HostAnswer:
    """Send the whole request; return the answer once its head has come, and close it where none comes.

    Args:
        answer: To whom.
        request: The app's.
        cache_key: Of its conversation at that host.
        meanwhile: Called while the host works.

    Raises:
        HostRefusedError, BackendError, TransportError, RemoteProtocolError: As `HostAnswer.wait_for_head`.
    """
    try:
        await answer.send(
            RequestHead(operation=request.operation, headers=request.headers, padding=0, cache_key=cache_key),
            request.body,
        )
        meanwhile()
        await answer.wait_for_head()
    except BaseException:
        await answer.close()
        raise
    return answer


def cache_key(salt: bytes, endpoint_id: bytes, session: str) -> bytes:
    """Of a conversation at one host: two hosts cannot tell by it that they serve the same one.

    Args:
        salt: This node's own, so that no host can tell which session name an app used, nor another node make the key.
        endpoint_id: The host's.
        session: The conversation's; "" shares nothing.
    """
    if not session:
        return b""
    return hashlib.sha256(salt + endpoint_id + session.encode()).digest()[:CACHE_KEY_MAX]

"""The asker's side of the `0x03` stream: one request, one answer, in bounded time and memory."""

from __future__ import annotations

import asyncio
from typing import Protocol

from sealmesh.attestation.challenge import (
    ActivatedAnswer,
    Answer,
    Challenge,
    ChallengeRefusal,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    Request,
    encode_request,
    parse_answer_untrusted,
)
from sealmesh.errors import BusyError, RemoteProtocolError, TransportTimeoutError
from sealmesh.limits import CHALLENGE_MESSAGE_MAX, CHALLENGE_TIMEOUT_S, READ_CHUNK
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import MessageReader, StreamKind, encode_message


class HostLink(Protocol):
    """What is needed of a link to a host: `sealmesh.mesh.links.Link`."""

    @property
    def peer_id(self) -> bytes:
        """The host's endpoint id, as the connection proved it, 32 bytes."""

    async def open_stream(self, kind: StreamKind) -> Stream:
        """Open a stream of a kind.

        Raises:
            TransportError: The link is gone, or no stream became free.
        """


class NoEvidenceError(BusyError):
    """The host says that it can make no evidence now."""


async def ask_proof(link: HostLink, nonce: bytes) -> ProofAnswer:
    """Have a host answer for a nonce; the answer is not verified.

    Raises:
        TransportError: The host is not reached, cut the stream, or did not answer in time.
        BusyError: It does not answer challenges now.
        RemoteProtocolError: What came is no answer to a challenge.
    """
    match await ask_host(link, Challenge(nonce=nonce)):
        case ProofAnswer() as answer:
            return answer
        case RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE):
            raise NoEvidenceError("the host can make no evidence now")
        case RefusedAnswer():
            raise BusyError("the host does not answer challenges now")
        case KeysAnswer() | ActivatedAnswer():
            raise RemoteProtocolError("a challenge was answered with something else")


async def ask_keys(link: HostLink, endpoint_id: bytes) -> bytes:
    """Fetch a keys part, as its owner signed it; nothing of it is verified.

    Raises:
        TransportError: The host is not reached, cut the stream, or did not answer in time.
        BusyError: It gives no keys now.
        RemoteProtocolError: What came is no answer to a fetch of keys.
    """
    match await ask_host(link, GetKeys(endpoint_id=endpoint_id)):
        case KeysAnswer() as answer:
            return answer.keys
        case RefusedAnswer():
            raise BusyError("the host gives no keys now")
        case ProofAnswer() | ActivatedAnswer():
            raise RemoteProtocolError("a fetch of keys was answered with something else")


async def ask_host(link: HostLink, request: Request, *, timeout_s: float = CHALLENGE_TIMEOUT_S) -> Answer:
    """Send one request to a host and return its answer, unverified.

    Args:
        link: To the host.
        request: What to ask.
        timeout_s: For all of it, in seconds [CH-16].

    Raises:
        TransportError: The host is not reached, cut the stream, or did not answer in time.
        RemoteProtocolError: What came is no answer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            async with await link.open_stream(StreamKind.CHALLENGE) as stream:
                content = encode_request(request)
                await stream.write(encode_message(content, maximum=len(content)))
                await stream.finish()
                return parse_answer_untrusted(await _read_message(stream))
    except TimeoutError as error:
        raise TransportTimeoutError(f"the host did not answer within {timeout_s:g} s") from error


async def _read_message(stream: Stream) -> bytes:
    reader = MessageReader(maximum=CHALLENGE_MESSAGE_MAX)
    while True:
        data = await stream.read(READ_CHUNK)
        if not data:
            reader.finish_untrusted()
            raise RemoteProtocolError("the host ended the challenge stream without an answer")
        messages = reader.feed_untrusted(data)
        if messages:
            # One answer a stream: whatever follows it is not looked at [CH-1].
            return messages[0]

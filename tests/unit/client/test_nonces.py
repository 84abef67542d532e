"""Each challenge of the verifier has a nonce of its own (docs/spec/challenge.md, CH-11)."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from kit.attested import VERIFIER_ID, ProvenHost
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.challenge import Challenge, parse_request_untrusted
from sealmesh.attestation.policy import Policy
from sealmesh.client.verify import HostVerifier
from sealmesh.wire.framing import StreamKind


class DeafStream:
    """Takes a request and ends without an answer."""

    def __init__(self, asked: list[bytes]) -> None:
        self._asked = asked

    async def write(self, data: bytes) -> None:
        self._asked.append(data)

    async def finish(self) -> None:
        pass

    async def read(self, maximum: int) -> bytes:
        return b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class DeafLink:
    """A link to a host that never answers."""

    def __init__(self, peer_id: bytes, asked: list[bytes]) -> None:
        self.peer_id = peer_id
        self._asked = asked

    async def open_stream(self, kind: StreamKind) -> DeafStream:
        assert kind is StreamKind.CHALLENGE
        return DeafStream(self._asked)


async def test_every_challenge_has_a_fresh_nonce_of_32_bytes() -> None:
    time, host, asked, drawn = VirtualTime(), ProvenHost(), [], []

    async def connect(endpoint_id: bytes) -> DeafLink:
        return DeafLink(endpoint_id, asked)

    def random(length: int) -> bytes:
        drawn.append(len(drawn).to_bytes(length, "big"))
        return drawn[-1]

    verifier = HostVerifier(
        endpoint_id=VERIFIER_ID,
        policy=Policy(),
        connect=connect,  # type: ignore[arg-type]
        now=time.now,
        elapsed=time.elapsed,
        random=random,
        sleep=time.sleep,
    )
    verifier.note_host(host.endpoint_id)
    task = asyncio.create_task(verifier.run())
    await settle()
    await time.advance(600)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    requests = [parse_request_untrusted(data[4:]) for data in asked]
    nonces = [request.nonce for request in requests if isinstance(request, Challenge)]
    assert len(nonces) >= 3
    assert all(len(nonce) == 32 for nonce in nonces)
    assert len(set(nonces)) == len(nonces)
    assert set(nonces) <= set(drawn)

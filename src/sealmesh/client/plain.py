"""Dialing without a seal, to hosts without a key that the operator has permitted (docs/spec/plain.md).

Apart from sealed dialing on purpose: another type of candidate, another stream, another exchange. Nothing of the sealed
way calls this, whatever happens on it (DESIGN.md section 8; A10).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sealmesh.attestation.plain import PlainHost
from sealmesh.client.answer import HostAnswer
from sealmesh.client.asker import AnswerProof, AppRequest
from sealmesh.client.sending import OpenStream, cache_key, send_request
from sealmesh.client.watch import Timeouts
from sealmesh.routing.directory import Directory, PlainCandidate
from sealmesh.sealed.bare import PlainClientExchange
from sealmesh.transport.base import Stream

_log = logging.getLogger("sealmesh.client")


class PlainDialer:
    """Sends requests in the clear.

    Args:
        directory: Permits it, each time anew.
        open_stream: Opens a stream of the plain kind to an endpoint id.
        now: Unix seconds.
        random: Random bytes.
        timeouts: See `Timeouts`.
        cache_salt: Of this node's cache keys.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        open_stream: OpenStream,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        timeouts: Timeouts,
        cache_salt: bytes,
    ) -> None:
        self._directory = directory
        self._open_stream = open_stream
        self._now = now
        self._random = random
        self._timeouts = timeouts
        self._cache_salt = cache_salt

    async def ask(self, request: AppRequest, candidate: PlainCandidate) -> HostAnswer:
        """Ask one plain node; return once the answer's head has come.

        Raises:
            VerificationError: It may not be sent anything in the clear (any more).
            HostRefusedError: It said `0xE0`.
            BackendError, TransportError, RemoteProtocolError: As `HostAnswer.wait_for_head`.
        """
        endpoint_id = candidate.offer.endpoint_id
        stream = await self._open_stream(endpoint_id)
        try:
            # Connecting takes time; its record may name a key by now, or another's with that model [PL-6].
            answer = self._begin(stream, self._directory.plain_host(endpoint_id, request.model))
        except BaseException:
            await stream.reset()
            raise
        _log.warning("a request goes unsealed to %s, a host without a key", endpoint_id.hex()[:12])  # [PL-7]
        return await send_request(answer, request, cache_key=cache_key(self._cache_salt, endpoint_id, request.session))

    def _begin(self, stream: Stream, host: PlainHost) -> HostAnswer:
        exchange = PlainClientExchange(host, random=self._random, kind_sent=True)
        proof = AnswerProof(
            host=host.endpoint_id.hex(), sealed="no", tier="none", evidence="", exchange=exchange.exchange_id.hex()
        )
        return HostAnswer(
            stream=stream,
            exchange=exchange,
            endpoint_id=host.endpoint_id,
            proof=proof,
            timeouts=self._timeouts,
            directory=self._directory,
            now=self._now,
        )

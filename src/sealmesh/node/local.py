"""A node that serves a model answers its own apps directly (`local`): no seal is needed where no wire is crossed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from sealmesh.backend.base import Backend, BackendAnswer, BackendRequest
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing
from sealmesh.client.counters import Counters, OpenRequest
from sealmesh.errors import LocalProtocolError
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.limits import CACHE_KEY_MAX, KIB
from sealmesh.sealed.exchange import RequestHead

#: A larger body is parsed beside the event loop.
_INLINE_MAX: Final = 256 * KIB


class LocalAsker(Asker):
    """Answers from this node's own backend, by the same rebuilding of requests as for sealed ones.

    Args:
        endpoint_id: This node's id, 32 bytes.
        backend: The engine, started.
        random: Random bytes, for exchange ids.
        counters: Counts requests and tokens.
    """

    def __init__(
        self, *, endpoint_id: bytes, backend: Backend, random: Callable[[int], bytes], counters: Counters
    ) -> None:
        self._endpoint_id = endpoint_id
        self._backend = backend
        self._random = random
        self._counters = counters
        self._names = frozenset(model.name for model in backend.models())
        # The engine tells by the cache key whose state it may use again. A plain session name could be guessed by a
        # sealed request's asker, who would then see in cached tokens what this node's own app asked (A23).
        self._cache_salt = random(32)

    def serves(self, model: str) -> bool:
        """Whether this node's own backend has the model."""
        return model in self._names

    def models(self) -> tuple[ModelListing, ...]:
        """See `Asker.models`."""
        return tuple(
            ModelListing(name=model.name, context_length=model.context_length, hosts=1, usable=True, best_tier="local")
            for model in self._backend.models()
        )

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        counted = self._counters.asked(model=request.model, stream=request.stream)
        try:
            inner = await self._backend.ask(await self._rebuild(request))
        except BaseException as error:
            counted.failed(error)
            raise
        proof = AnswerProof(
            host=self._endpoint_id.hex(), sealed="local", tier="local", evidence="", exchange=self._random(16).hex()
        )
        counted.answered_by(proof)
        return _LocalAnswer(inner, proof, counted)

    async def _rebuild(self, request: AppRequest) -> BackendRequest:
        head = RequestHead(
            operation=request.operation,
            headers=request.headers,
            padding=0,
            cache_key=self._cache_key(request.session),
        )
        if len(request.body) <= _INLINE_MAX:
            return rebuild_request_untrusted(head, request.body, serves=self.serves)
        return await asyncio.to_thread(rebuild_request_untrusted, head, request.body, serves=self.serves)

    def _cache_key(self, session: str) -> bytes:
        if not session:
            return b""
        return hashlib.sha256(self._cache_salt + session.encode()).digest()[:CACHE_KEY_MAX]


class _LocalAnswer(Answer):
    """A backend's answer, as it is."""

    def __init__(self, inner: BackendAnswer, proof: AnswerProof, counted: OpenRequest) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self.proof = proof
        self._inner = inner
        self._counted = counted
        self._ended = False
        self._closed = False
        self._error: Exception | None = None

    async def read(self) -> bytes:
        """See `Answer.read`."""
        if self._error is not None:
            raise self._error
        if self._ended:
            return b""
        if self._closed:
            raise LocalProtocolError("an answer was read after it was closed")
        try:
            data = await self._inner.read()
        except Exception as error:  # a read that is cancelled may be tried again
            self._error = error
            self._counted.failed(error)
            raise
        if data:
            self._counted.began()
        else:
            self._ended = True
            usage = self._inner.usage
            self._counted.done(
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
            )
        return data

    async def close(self) -> None:
        """See `Answer.close`."""
        if self._closed:
            return
        self._closed = True
        self._counted.left()  # changes nothing where it has ended
        await self._inner.close()


class NodeAsker(Asker):
    """This node's own models first, then the mesh's.

    Args:
        local: The way to the own backend, if the node serves.
        mesh: The way to other hosts.
    """

    def __init__(self, *, local: LocalAsker | None, mesh: Asker) -> None:
        self._local = local
        self._mesh = mesh

    def models(self) -> tuple[ModelListing, ...]:
        """See `Asker.models`."""
        listings = {listing.name: listing for listing in self._mesh.models()}
        for own in self._local.models() if self._local else ():
            others = listings.get(own.name)
            hosts = 1 + (others.hosts if others else 0)
            listings[own.name] = ModelListing(
                name=own.name,
                context_length=own.context_length,
                hosts=hosts,
                usable=True,
                best_tier=own.best_tier,
                refused=others.refused if others else {},
            )
        return tuple(listings[name] for name in sorted(listings))

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        if self._local is not None and self._local.serves(request.model):
            return await self._local.ask(request)
        return await self._mesh.ask(request)

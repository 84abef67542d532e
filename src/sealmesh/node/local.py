"""A node that serves a model answers its own apps directly (`local`): no seal is needed where no wire is crossed."""

from __future__ import annotations

from collections.abc import Callable

from sealmesh.backend.base import Backend, BackendAnswer
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing
from sealmesh.client.counters import Counters
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.sealed.exchange import RequestHead


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
        self._counters.asked(request.model)
        try:
            head = RequestHead(
                operation=request.operation,
                headers=request.headers,
                padding=0,
                cache_key=request.session.encode()[:32],
            )
            rebuilt = rebuild_request_untrusted(head, request.body, serves=self.serves)
            inner = await self._backend.ask(rebuilt)
        except BaseException as error:
            self._counters.failed(error)
            raise
        proof = AnswerProof(
            host=self._endpoint_id.hex(), sealed="local", tier="local", evidence="", exchange=self._random(16).hex()
        )
        return _LocalAnswer(inner, proof, self._counters, request.model)


class _LocalAnswer(Answer):
    """A backend's answer, as it is."""

    def __init__(self, inner: BackendAnswer, proof: AnswerProof, counters: Counters, model: str) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self.proof = proof
        self._inner = inner
        self._counters = counters
        self._model = model
        self._ended = False

    async def read(self) -> bytes:
        """See `Answer.read`."""
        if self._ended:
            return b""
        try:
            data = await self._inner.read()
        except BaseException as error:
            self._ended = True
            self._counters.failed(error)
            raise
        if not data:
            self._ended = True
            usage = self._inner.usage
            self._counters.done(
                self._model,
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
            )
        return data

    async def close(self) -> None:
        """See `Answer.close`."""
        if not self._ended:
            self._ended = True
            self._counters.left()
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
                name=own.name, context_length=own.context_length, hosts=hosts, usable=True, best_tier=own.best_tier
            )
        return tuple(listings[name] for name in sorted(listings))

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        if self._local is not None and self._local.serves(request.model):
            return await self._local.ask(request)
        return await self._mesh.ask(request)

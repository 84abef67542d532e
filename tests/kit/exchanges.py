"""Askers and hosts in one network in memory: the real dialer, the real service, real seals, an engine that obeys."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.attested import NOW, ProvenHost, verified_host
from kit.marker import MARKER
from kit.sealed import HEAD, Randomness
from sealmesh.attestation.plain import PlainRule
from sealmesh.attestation.statement import statement_digest
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.backend.base import Backend, BackendAnswer, BackendRequest, ModelInfo, Usage
from sealmesh.backend.echo import EchoBackend
from sealmesh.client.asker import Answer, AppRequest
from sealmesh.client.counters import Counters
from sealmesh.client.dial import Dialer, Timeouts
from sealmesh.errors import TransportError
from sealmesh.host.openings import BodyBudget, OpeningRates
from sealmesh.host.sender import HostTimes
from sealmesh.host.serve import ExchangeService, HostCounters, PlainService, SealedService, ServiceParts
from sealmesh.routing.directory import Directory, HostOffer
from sealmesh.sealed.exchange import (
    BodyEvent,
    ClientExchange,
    EndEvent,
    ErrorEvent,
    HostEvent,
    HostExchange,
    RequestHead,
    SealedError,
)
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.suites import HostKey, Suite, best_suite
from sealmesh.transport.base import Connection, EndpointAddress, Stream
from sealmesh.transport.memory import Fault, FaultKind, MemoryConnection, MemoryEndpoint, MemoryNetwork, MemoryStream
from sealmesh.wire.framing import StreamKind
from sealmesh.wire.operations import Operation

LONG_S = 10.0  # only reached by a failing test
ASKER_ID = hashlib.sha256(b"asker").digest()
SECRET = f"the secret question {MARKER}"
USAGE = Usage(prompt_tokens=3, completion_tokens=5)

Step = bytes | BaseException | asyncio.Event
Handler = Callable[["HostNode", Stream], Awaitable[None]]


def chat(
    text: str = SECRET, *, stream: bool = False, model: str = "echo", session: str = "", **more: Any
) -> AppRequest:
    """A request as the API makes it."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    return AppRequest(
        operation=Operation.CHAT_COMPLETIONS,
        model=model,
        body=json.dumps(body).encode(),
        stream=stream,
        headers=(("content-type", "application/json"),),
        session=session,
    )


async def read_all(answer: Answer) -> bytes:
    """Read an answer to its end and close it."""
    data = b""
    async with asyncio.timeout(LONG_S), answer:
        while piece := await answer.read():
            data += piece
    return data


class ScriptedAnswer(BackendAnswer):
    """Says the steps: bytes are returned, errors raised, events awaited."""

    def __init__(
        self, steps: Sequence[Step], *, status: int, headers: tuple[tuple[str, str], ...], usage: Usage | None
    ) -> None:
        self.status = status
        self.headers = headers
        self._steps = iter(steps)
        self._usage = usage
        self.closed = False

    async def read(self) -> bytes:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            return step
        return b""

    @property
    def usage(self) -> Usage | None:
        return self._usage

    async def close(self) -> None:
        self.closed = True


class ScriptedBackend(Backend):
    """An engine that does as told and keeps what it was asked.

    Args:
        steps: What each answer says; an error first: `ask` itself raises it.
        status: Of each answer.
        parallel: How many it claims to answer at once.
        gate: Awaited before an answer begins, as in a long prefill.
    """

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
        usage: Usage | None = USAGE,
        parallel: int = 0,
        models: Sequence[str] = ("echo",),
        gate: asyncio.Event | None = None,
    ) -> None:
        self.place = "in-process"
        self.shared_prefix_cache = False
        self.parallel = parallel
        self.steps = steps
        self.status = status
        self.headers = headers
        self.asked: list[BackendRequest] = []
        self.answers: list[ScriptedAnswer] = []
        self._usage = usage
        self._models = tuple(ModelInfo(name=name, context_length=4096) for name in models)
        self._gate = gate

    async def start(self) -> None:
        """Nothing to load."""

    def models(self) -> tuple[ModelInfo, ...]:
        return self._models

    async def ask(self, request: BackendRequest) -> BackendAnswer:
        self.asked.append(request)
        if self._gate is not None:
            await self._gate.wait()
        if self.steps and isinstance(self.steps[0], BaseException):
            raise self.steps[0]
        answer = ScriptedAnswer(self.steps, status=self.status, headers=self.headers, usage=self._usage)
        self.answers.append(answer)
        return answer

    async def close(self) -> None:
        """Nothing to free."""


async def silent(host: HostNode, stream: Stream) -> None:
    """A handler that says nothing and does nothing until the asker is gone."""
    assert isinstance(stream, CountingStream)
    while not stream.gone:
        await asyncio.sleep(0.002)


class CountingStream(Stream):
    """A stream that remembers how many bytes each write brought."""

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self.writes: list[int] = []

    @property
    def gone(self) -> bool:
        """Whether the asker has reset its reading side, or the connection is lost."""
        assert isinstance(self._inner, MemoryStream)
        return self._inner._outgoing.failure is not None

    async def read(self, max_bytes: int) -> bytes:
        return await self._inner.read(max_bytes)

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)
        self.writes.append(len(data))

    async def finish(self) -> None:
        await self._inner.finish()

    async def delivered(self) -> None:
        await self._inner.delivered()

    async def reset(self, code: int = 1) -> None:
        await self._inner.reset(code)


@dataclass
class HostNode:
    """A host: keys of one epoch after the other, a service in front of an engine, or a handler in place of it."""

    world: World
    name: str
    suites: tuple[Suite, ...]
    backend: Backend
    service: ExchangeService = field(init=False)
    handler: Handler | None = None
    ring: KeyRing = field(default_factory=KeyRing)
    counters: HostCounters = field(default_factory=HostCounters)
    refreshed: VerifiedHost | None = None
    streams: list[CountingStream] = field(default_factory=list)
    number: int = 0
    plain: bool = False

    def __post_init__(self) -> None:
        self.proven = ProvenHost(self.name, tuple(int(suite) for suite in self.suites))
        self.verified = self.new_epoch()

    @property
    def id(self) -> bytes:
        return self.proven.endpoint_id

    def new_epoch(self, *, held: bool = True) -> VerifiedHost:
        """Make keys; return what the verifier makes of their statement. Not `held`: a host that lost them."""
        self.number += 1
        now = self.world.now
        keys = tuple(HostKey.generate(suite) for suite in self.suites)
        signed = self.proven.epoch(now, number=self.number, keys={int(key.suite): key.public for key in keys})
        if held:
            digest = statement_digest(signed.part)
            self.ring.add(EpochKeys(keys=keys, epoch_digest=digest, not_before=now, not_after=now + 300))
        return verified_host(self.proven, now=now, epoch=signed)

    def exchange(self) -> HostExchange:
        """The host's end of a new exchange, for handlers."""
        return HostExchange(self.ring, endpoint_id=self.id, random=Randomness(b"handler"), kind_read=True)

    async def receive(self, stream: Stream, exchange: HostExchange) -> bytes:
        """Read a request to its end, for handlers; return its body."""
        body = b""
        while data := await stream.read(65536):
            events: list[HostEvent] = exchange.receive_untrusted(data, self.world.now)
            body += b"".join(event.data for event in events if isinstance(event, BodyEvent))
            if any(isinstance(event, EndEvent) for event in events):
                return body
        raise AssertionError("the request ended without its end")

    async def serve(self, peer: bytes, stream: Stream) -> None:
        counting = CountingStream(stream)
        self.streams.append(counting)
        if self.handler is None:
            await self.service.serve(peer, counting)
        else:
            async with counting:
                await self.handler(self, counting)


_NUMBERS = itertools.count()


class BareAsker:
    """One bare exchange towards a host, for what no honest asker does."""

    def __init__(self, host: HostNode, stream: Stream) -> None:
        self.exchange = ClientExchange(
            host.verified,
            suite=Suite.X25519,
            now=host.world.now,
            random=Randomness(b"bare %d" % next(_NUMBERS)),
            kind_sent=True,
        )
        self.stream = stream

    @classmethod
    async def of(cls, host: HostNode, peer: bytes = ASKER_ID) -> BareAsker:
        return cls(host, await host.world.open_stream(host.id, peer=peer))

    async def send(self, data: bytes) -> None:
        await self.stream.write(data)

    async def ask(self, body: bytes = chat().body, head: RequestHead = HEAD) -> None:
        exchange = self.exchange
        await self.send(exchange.send_head(head) + exchange.send_body(body) + exchange.finish())
        await self.stream.finish()

    async def events(self, until: type | None = None) -> list[object]:
        """What the host says, to its end, or to an event of a kind."""
        events: list[object] = []
        async with asyncio.timeout(LONG_S):
            while data := await self.stream.read(65536):
                events += self.exchange.receive_untrusted(data)
                if until is not None and any(isinstance(event, until) for event in events):
                    return events
        return events

    async def error(self) -> SealedError:
        """The sealed error that the host ends with."""
        event = (await self.events())[-1]
        assert isinstance(event, ErrorEvent)
        await self.stream.reset()
        return event.error


class Keys:
    """What the verifier knows, as the test says."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[bytes] = []
        self.lost: set[bytes] = set()

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        host = self._world.hosts[endpoint_id].verified
        return None if endpoint_id in self.lost or now >= host.expires else host

    def suite_for(self, host: VerifiedHost) -> Suite:
        return best_suite(host.keys)

    async def refresh(self, endpoint_id: bytes) -> VerifiedHost | None:
        self.asked.append(endpoint_id)
        fresh = self._world.hosts[endpoint_id].refreshed
        if fresh is not None:
            self._world.hosts[endpoint_id].verified = fresh
        return fresh


class World:
    """One asker, some hosts. `running` makes one and holds it to having left nothing behind."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        timeouts: Timeouts | None,
        plain_rule: PlainRule | None = None,
        **network: Any,
    ) -> None:
        self.now = NOW
        self.network = MemoryNetwork(**network)
        self.hosts: dict[bytes, HostNode] = {}
        self.keys = Keys(self)
        self.counters = Counters()
        self.rtts: dict[bytes, float] = {}
        self.refusals: dict[bytes, tuple[str, ...]] = {}
        self.opened: list[bytes] = []
        self.opened_plain: list[bytes] = []
        self.keyed: set[bytes] = set()
        self.directory = Directory(
            verified=self.keys.verified,
            refusals=lambda endpoint_id: self.refusals.get(endpoint_id, ()),
            plain_rule=plain_rule or PlainRule(allowed=True, demanded="", had_key=self.keyed.__contains__),
        )
        self.dialer = Dialer(
            directory=self.directory,
            keys=self.keys,
            open_stream=self.open_stream,
            open_plain=self.open_plain,
            rtt_ms=self.rtts.get,
            now=lambda: self.now,
            random=Randomness(b"asker"),
            counters=self.counters,
            timeouts=timeouts,
        )
        self._endpoints: dict[bytes, MemoryEndpoint] = {}
        self._connections: dict[tuple[bytes, bytes], MemoryConnection] = {}
        self._group = group
        self._own_tasks: set[asyncio.Task[Any]] = set()
        self._inbound: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, *, timeouts: Timeouts | None = None, plain_rule: PlainRule | None = None, **network: Any
    ) -> AsyncIterator[World]:
        """Run a world; at its end every task, stream, count and byte must have been given back."""
        async with asyncio.timeout(4 * LONG_S), asyncio.TaskGroup() as group:
            world = cls(group, timeouts, plain_rule, **network)
            try:
                yield world
                await world.settle()
            finally:
                for task in tuple(world._own_tasks):
                    task.cancel()

    def add(
        self,
        name: str = "host",
        backend: Backend | None = None,
        *,
        suites: tuple[Suite, ...] = (Suite.X25519,),
        handler: Handler | None = None,
        context: int = 4096,
        rtt: float | None = None,
        times: HostTimes | None = None,
        rates: OpeningRates | None = None,
        bodies: BodyBudget | None = None,
        models: Sequence[str] = ("echo",),
        plain: bool = False,
        queue_wait_s: float = LONG_S,
    ) -> HostNode:
        """Start a host; those added earlier are nearer. `plain`: it has no key, and takes what is not sealed."""
        host = HostNode(self, name, suites, backend or EchoBackend(), handler=handler, plain=plain)
        parts: ServiceParts = {
            "backend": host.backend,
            "now": lambda: self.now,
            "monotonic": lambda: self.now,
            "counters": host.counters,
            "times": times,
            "rates": rates,
            "bodies": bodies,
            "queue_wait_s": queue_wait_s,
        }
        random = Randomness(name.encode())
        if plain:
            host.service = PlainService(random=random, **parts)
        else:
            host.service = SealedService(endpoint_id=host.id, keyring=host.ring, random=random, **parts)
        self.rtts[host.id] = float(len(self.hosts)) if rtt is None else rtt
        self.hosts[host.id] = host
        offer = HostOffer(endpoint_id=host.id, models=dict.fromkeys(models, context), plain=plain, takes_plain=plain)
        self.directory.put(offer)
        self._endpoints[host.id] = self.network.endpoint(host.id)
        self._spawn(self._accept(host))
        return host

    async def open_stream(self, endpoint_id: bytes, *, peer: bytes = ASKER_ID) -> Stream:
        """As the node does: connect where needed, open, write the kind."""
        self.opened.append(endpoint_id)
        connection = await self._connect(peer, endpoint_id)
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.SEALED]))
        return stream

    async def open_plain(self, endpoint_id: bytes, *, peer: bytes = ASKER_ID) -> Stream:
        """The same, for what is not sealed."""
        self.opened_plain.append(endpoint_id)
        connection = await self._connect(peer, endpoint_id)
        stream = await connection.open(timeout_s=LONG_S)
        await stream.write(bytes([StreamKind.PLAIN]))
        return stream

    def break_answer(self, host: HostNode, then: FaultKind, after: int) -> None:
        """Break what the host sends on the next exchange."""
        self.network.plan(Fault(sender=host.id, receiver=ASKER_ID, then=then, after=after, kind=StreamKind.SEALED))

    def break_request(self, host: HostNode, then: FaultKind, after: int) -> None:
        """Break what the asker sends on the next exchange."""
        self.network.plan(Fault(sender=ASKER_ID, receiver=host.id, then=then, after=after, kind=StreamKind.SEALED))

    async def settle(self) -> None:
        """Wait until nothing runs any more, and hold everybody to having left nothing behind."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LONG_S / 5
        while left := self.leftovers():
            assert loop.time() < end, left
            await asyncio.sleep(0.001)

    def leftovers(self) -> list[str]:
        """What is still open, in words; a test that hangs in `settle` shows it."""
        known = self._own_tasks | self._group._tasks | {asyncio.current_task()}
        left = [f"task {task.get_name()}" for task in asyncio.all_tasks() - known if not task.done()]
        left += [f"stream at {one.local_id.hex()[:6]}" for one in self._connections.values() for _ in one._opened]
        left += ["a request in the counters"] * self.counters.status().open
        for host in self.hosts.values():
            left += [f"exchange at {host.name}"] * (host.service.open_exchanges + host.counters.open)
            left += [f"bytes at {host.name}"] * (host.service._bodies.held > 0)
            left += [f"health of {host.name}"] * (self.directory.health(host.id).open_exchanges != 0)
        return left

    async def _connect(self, peer: bytes, endpoint_id: bytes) -> Connection:
        connection = self._connections.get((peer, endpoint_id))
        if connection is None or connection._lost:
            if peer not in self._endpoints:
                self._endpoints[peer] = self.network.endpoint(peer)
            address: EndpointAddress = self._endpoints[endpoint_id].address()
            made = await self._endpoints[peer].connect(address, timeout_s=LONG_S)
            assert isinstance(made, MemoryConnection)
            connection = self._connections[peer, endpoint_id] = made
        return connection

    async def _accept(self, host: HostNode) -> None:
        while True:
            connection = await self._endpoints[host.id].accept()
            connection.allow_streams(1024)
            self._spawn(self._serve(host, connection))

    async def _serve(self, host: HostNode, connection: Connection) -> None:
        with contextlib.suppress(Exception):
            while True:
                stream = await connection.accept()
                task = asyncio.create_task(self._dispatch(host, connection.remote_id, stream), name="inbound")
                self._inbound.add(task)
                task.add_done_callback(self._inbound.discard)

    async def _dispatch(self, host: HostNode, peer: bytes, stream: Stream) -> None:
        with contextlib.suppress(TransportError):
            async with stream:
                kind = StreamKind.PLAIN if host.plain else StreamKind.SEALED
                if await stream.read(1) == bytes([kind]):  # others are reset [TR-4]
                    await host.serve(peer, stream)

    def _spawn(self, work: Any) -> None:
        task = self._group.create_task(work)
        self._own_tasks.add(task)
        task.add_done_callback(self._own_tasks.discard)

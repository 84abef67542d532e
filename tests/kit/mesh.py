"""Running links on a network in memory: members with real credentials, and strangers with bare connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from kit.people import NOW, Member, People, Randomness
from sealmesh.gossip.core import GossipCore
from sealmesh.identity.admission import AdmissionPolicy
from sealmesh.mesh.driver import GossipDriver
from sealmesh.mesh.link import Link, StreamHandler
from sealmesh.mesh.links import Links
from sealmesh.transport.base import Connection, Endpoint, Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import StreamKind

LONG_S = 10.0  # only reached by a failing test


@dataclass
class Node:
    """One member's links, running, and what happened to them."""

    member: Member
    endpoint: Endpoint
    links: Links
    policy: AdmissionPolicy
    linked: list[Link] = field(default_factory=list)
    lost: list[tuple[Link, str]] = field(default_factory=list)
    core: GossipCore | None = None
    driver: GossipDriver | None = None

    @property
    def id(self) -> bytes:
        return self.member.id


class Mesh:
    """Nodes in one network. `running` makes one and ends it."""

    def __init__(self, people: People, network: MemoryNetwork, group: asyncio.TaskGroup) -> None:
        self.people = people
        self.network = network
        self.now = NOW
        self.nodes: list[Node] = []
        self._group = group

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, people: People, network: MemoryNetwork | None = None) -> AsyncIterator[Mesh]:
        """Run a mesh; on the way out every node is closed, and must have ended by itself."""
        async with asyncio.timeout(4 * LONG_S), asyncio.TaskGroup() as group:
            mesh = cls(people, network or MemoryNetwork(), group)
            try:
                yield mesh
            finally:
                for node in mesh.nodes:
                    await node.links.close()
                for task in list(group._tasks):
                    if task.get_name() == "driver":
                        task.cancel()

    async def add(
        self,
        member: Member | None = None,
        *,
        handlers: Mapping[StreamKind, StreamHandler] | None = None,
        endpoint: Endpoint | None = None,
        gossip: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        elapsed: Callable[[], float] = time.monotonic,
        admission_timeout_s: float = LONG_S,
        kind_timeout_s: float = LONG_S,
        run: bool = True,
    ) -> Node:
        """Start a node."""
        member = member or self.people.member()
        endpoint = endpoint or self.network.endpoint(member.id)
        policy = self.people.policy()
        node: Node
        links = Links(
            endpoint,
            credentials=member.shown,
            admit=policy.admit_untrusted,
            now=lambda: self.now,
            handlers=handlers,
            on_link=lambda link: node.linked.append(link),
            on_link_lost=lambda link, reason: node.lost.append((link, reason)),
            sleep=sleep,
            elapsed=elapsed,
            admission_timeout_s=admission_timeout_s,
            kind_timeout_s=kind_timeout_s,
        )
        node = Node(member, endpoint, links, policy)
        if gossip:
            node.core = GossipCore(member.id, random=Randomness(member.id.hex()), policy=policy)
            node.driver = GossipDriver(node.core, links, now=lambda: self.now, sleep=sleep)
            node.driver.publish(member.record(self.now), member.shown)
            self._group.create_task(node.driver.run(), name="driver")
        self.nodes.append(node)
        if run:
            self._group.create_task(links.run(), name="links")
            await asyncio.sleep(0)
        return node

    async def link(self, one: Node, other: Node) -> tuple[Link, Link]:
        """Link two nodes, `one` dialling; return each side's view."""
        near = await one.links.connect(other.endpoint.address())
        await until(lambda: other.links.get(one.id) is not None)
        far = other.links.get(one.id)
        assert far is not None
        return near, far

    async def knock(self, node: Node, stranger_id: bytes) -> Connection:
        """Connect to a node with nothing but the transport."""
        endpoint = self.network.endpoint(stranger_id)
        return await endpoint.connect(node.endpoint.address(), timeout_s=LONG_S)


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until `condition` holds."""
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0)


async def read_all(stream: Stream) -> bytes:
    """Read to the proper end."""
    data = b""
    async with asyncio.timeout(LONG_S):
        while piece := await stream.read(65536):
            data += piece
    return data


def shown(credentials: bytes) -> bytes:
    """What stands on an admission stream [AD-22]."""
    return bytes([StreamKind.ADMISSION]) + len(credentials).to_bytes(4, "big") + credentials


async def show(connection: Connection, credentials: bytes) -> bytes:
    """Show credentials on a bare connection, as a dialling peer does; return the answer."""
    async with await connection.open(timeout_s=LONG_S) as stream:
        await stream.write(shown(credentials))
        await stream.finish()
        return await read_all(stream)

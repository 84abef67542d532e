"""A scripted asker and raw sockets: what the API's tests put on either side of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from kit.marker import MARKER
from sealmesh.api.connection import HttpLimits
from sealmesh.api.server import ApiServer
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing

PROOF = AnswerProof(host="ab" * 32, sealed="xwing", tier="hardware-rooted", evidence="cd" * 32, exchange="ef" * 8)
LISTINGS = (
    ModelListing(name="echo", context_length=4096, hosts=2, usable=True, best_tier="pinned"),
    ModelListing(name="org/far", context_length=0, hosts=1, usable=False, best_tier="none", refused={"aa": "no key"}),
)
SSE_HEADERS = (("content-type", "text/event-stream"),)
JSON_HEADERS = (("content-type", "application/json"),)

Step = bytes | BaseException | asyncio.Event


class ScriptedAnswer(Answer):
    """Yields the steps: bytes are returned, errors raised, events awaited."""

    def __init__(
        self, steps: Sequence[Step], *, status: int = 200, headers: tuple[tuple[str, str], ...] = JSON_HEADERS
    ) -> None:
        self.status = status
        self.headers = headers
        self.proof = PROOF
        self._steps = iter(steps)
        self.ended = False
        self.closed = asyncio.Event()

    async def read(self) -> bytes:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            return step
        self.ended = True
        return b""

    async def close(self) -> None:
        self.closed.set()


@dataclass
class ScriptedAsker(Asker):
    """Answers each request by `script`; keeps what it was asked."""

    script: Callable[[AppRequest], Answer | BaseException] = lambda _: ScriptedAnswer([b'{"ok":true}'])
    asked: list[AppRequest] = field(default_factory=list)
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def models(self) -> tuple[ModelListing, ...]:
        return LISTINGS

    async def ask(self, request: AppRequest) -> Answer:
        self.asked.append(request)
        self.asking.set()
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        answer = self.script(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Response:
    """One parsed response from a raw socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]


async def read_response(reader: asyncio.StreamReader, *, head_only: bool = False) -> Response:
    """Read exactly one response; an invalid one fails the test."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *rest = head.split("\r\n")
    version, status = line.split(" ")[:2]
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest if each)}
    if status == "100":
        return Response(100, headers, b"")
    body = b""
    if head_only:
        pass
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Response(int(status), headers, body)


@dataclass
class World:
    """A running server and how to reach it."""

    asker: ScriptedAsker
    server: ApiServer
    base: str

    @property
    def netloc(self) -> str:
        return self.base.split("//")[1]

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        host, _, port = self.netloc.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def raw(self, *pieces: bytes, head_only: bool = False) -> Response:
        """Send bytes, read one response."""
        async with asyncio.timeout(10), self.connect() as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            return await read_response(reader, head_only=head_only)

    def head(self, line: str, *headers: str) -> bytes:
        return "\r\n".join([f"{line} HTTP/1.1", f"Host: {self.netloc}", *headers, "", ""]).encode("latin-1")

    def post(self, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> bytes:
        return self.head(f"POST {path}", f"Content-Length: {len(body)}", *headers) + body


@contextlib.asynccontextmanager
async def serving(
    script: Callable[[AppRequest], Answer | BaseException] | None = None,
    *,
    bounds: HttpLimits | None = None,
    asker: ScriptedAsker | None = None,
    **settings: object,
) -> AsyncIterator[World]:
    """A server on a free port of loopback."""
    asker = asker or (ScriptedAsker(script) if script else ScriptedAsker())
    server = ApiServer(asker, port=0, bounds=bounds, **settings)  # type: ignore[arg-type]
    base = await server.start()
    try:
        yield World(asker=asker, server=server, base=base)
    finally:
        await server.shutdown(0)


def chat(*, stream: bool = False, model: str = "echo", text: str = f"hi {MARKER}", **fields: object) -> bytes:
    """A chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **fields}
    return json.dumps(body).encode()

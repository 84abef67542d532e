"""An engine that says exactly the bytes that a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

MODELS = b'{"object":"list","data":[{"id":"m","max_model_len":2048}]}'


@dataclass
class Seen:
    """One request as it came over the wire."""

    head: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeEngine:
    """Answers each request by the next of its scripts: bytes to write, or a coroutine function.

    Bytes that end in `CLOSE` close the connection after them.
    """

    answers: list[bytes | Script] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    CLOSE = b"<close>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        self.connections += 1
        number = self.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen = Seen(head, b"", number)
                seen.body = await reader.readexactly(int(seen.headers.get("content-length", "0")))
                self.seen.append(seen)
                answer = self.answers.pop(0) if self.answers else whole(MODELS)
                if not isinstance(answer, bytes):
                    await answer(reader, writer)
                    continue
                close = answer.endswith(self.CLOSE)
                writer.write(answer.removesuffix(self.CLOSE))
                await writer.drain()
                if close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost.set()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def whole(body: bytes, *, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> bytes:
    """Return an answer with a length."""
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    fake = FakeEngine()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    yield fake
    server.close()
    await server.wait_closed()
    for task in fake.tasks:
        task.cancel()
    await asyncio.gather(*fake.tasks, return_exceptions=True)

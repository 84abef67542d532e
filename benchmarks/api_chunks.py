"""How many small chunks a second the API passes on, and how soon the first byte comes.

A synthetic asker yields small server-sent events without any cost of its own, so that what is measured is the server:
ours, and uvicorn's ASGI path with the bare loop that it would need (no framework), for comparison.

    python benchmarks/api_chunks.py [--chunks 200000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import socket
import statistics
import time

import uvloop

from sealmesh.api.server import ApiServer
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing

EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
PROOF = AnswerProof(host="ab" * 32, sealed="xwing", tier="none", evidence="", exchange="00")
BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'


class Tokens(Answer):
    """`count` events; every 16th comes after a turn of the event loop, as bytes of a network would."""

    def __init__(self, count: int) -> None:
        self.status = 200
        self.headers = (("content-type", "text/event-stream"),)
        self.proof = PROOF
        self._left = count

    async def read(self) -> bytes:
        if not self._left:
            return b""
        self._left -= 1
        if not self._left % 16:
            await asyncio.sleep(0)
        return EVENT

    async def close(self) -> None:
        return


class Source(Asker):
    """Always the same answer."""

    def __init__(self, count: int) -> None:
        self._count = count

    def models(self) -> tuple[ModelListing, ...]:
        return ()

    async def ask(self, request: AppRequest) -> Answer:
        return Tokens(self._count)


def serve_ours(port: int, count: int) -> None:
    async def run() -> None:
        await ApiServer(Source(count), port=port).start()
        await asyncio.Event().wait()

    uvloop.run(run())


def serve_uvicorn(port: int, count: int) -> None:
    import uvicorn

    async def app(scope: dict, receive: object, send: object) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):  # type: ignore[operator]
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]
        async with Tokens(count) as answer:
            while data := await answer.read():
                await send({"type": "http.response.body", "body": data, "more_body": True})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    uvicorn.run(app, port=port, log_level="error", http="httptools", loop="uvloop", access_log=False, lifespan="off")


def ask(port: int) -> tuple[float, float]:
    """Time to the first byte of the body and to the end, in seconds."""
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n\r\n" % (
        port,
        len(BODY),
    )
    with socket.create_connection(("127.0.0.1", port)) as sock:
        start = time.perf_counter()
        sock.sendall(request + BODY)
        seen = sock.recv(1 << 20)
        while b"data: " not in seen:
            seen += sock.recv(1 << 20)
        first = time.perf_counter() - start
        tail = seen[-5:]
        while tail[-5:] != b"0\r\n\r\n":
            tail = (tail + sock.recv(1 << 20))[-5:]
        return first, time.perf_counter() - start


def measure(name: str, serve: object, count: int, repeat: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for chunks, what in ((count, "chunks"), (1, "first byte")):
        process = multiprocessing.Process(target=serve, args=(port, chunks), daemon=True)  # type: ignore[arg-type]
        process.start()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        ask(port)
        if what == "chunks":
            rates = [chunks / ask(port)[1] for _ in range(repeat)]
            print(f"{name:8} {statistics.median(rates):>10,.0f} chunks/s (best {max(rates):,.0f})")
        else:
            firsts = [ask(port)[0] * 1e6 for _ in range(200)]
            print(f"{name:8} {statistics.median(firsts):>10,.0f} µs to the first byte (median of 200)")
        process.terminate()
        process.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {options.chunks:,} chunks of {len(EVENT)} bytes")
    servers = [("ours", serve_ours)]
    if importlib.util.find_spec("uvicorn"):  # for comparison, where it is installed
        servers.append(("uvicorn", serve_uvicorn))
    for each, serve in servers:
        measure(each, serve, options.chunks, options.repeat)

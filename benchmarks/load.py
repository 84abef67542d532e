"""Load on an OpenAI-compatible API, and what an app feels: first token, gaps, tokens per second, bulk rate.

Raw asyncio, so that the load generator is not what is measured.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

EVENT = b"data: {"


@dataclass
class Stream:
    """When each piece of one streamed answer came, in seconds since the request was sent."""

    sent_at: float
    first_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list)
    tokens: int = 0
    ended_at: float = 0.0
    complete: bool = False


def request(host: str, body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n" % (host.encode(), len(body))
    ) + body


async def one_stream(url: str, body: bytes, *, gaps: bool) -> Stream:
    """Ask once, read to the end.

    Raises:
        RuntimeError: The answer was not a complete stream.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
    seen = Stream(sent_at=time.perf_counter())
    last = 0.0
    tail = b""
    begun = b""  # the head, or a refusal, which is no stream
    try:
        writer.write(request(parts.netloc, body))
        while data := await reader.read(1 << 18):
            now = time.perf_counter()
            begun = begun or data[:800]
            found = (tail + data).count(EVENT)
            if found:
                if not seen.tokens:
                    seen.first_s = now - seen.sent_at
                elif gaps:
                    seen.gaps_s.append(now - last)
                seen.tokens += found
                last = now
            # A split marker is counted when its end comes; what was counted is cut off.
            joined = tail + data
            at = joined.rfind(b"data: ")
            tail = joined[-6:] if at < 0 else joined[max(at + 6, len(joined) - 6) :]
            if b"[DONE]" in joined[-64:]:
                seen.complete = True
                break
    finally:
        writer.close()
    seen.ended_at = time.perf_counter()
    if not seen.complete or not seen.tokens:
        took = seen.ended_at - seen.sent_at
        raise RuntimeError(f"no whole stream: {seen.tokens} tokens in {took:.3f} s; it began with {begun!r}")
    return seen


def body_of(tokens: int, *, rate: float = 0, model: str = "synthetic") -> bytes:
    message = {"role": "user", "content": "x" * 1800}  # a request of about 2 kB
    return json.dumps(
        {"model": model, "messages": [message], "stream": True, "max_tokens": tokens, "rate": rate}
    ).encode()


async def first_token(url: str, *, rounds: int) -> list[float]:
    """Time to first token, one request at a time, in milliseconds."""
    body = body_of(1)
    return [(await one_stream(url, body, gaps=False)).first_s * 1000 for _ in range(rounds)]


async def throughput(url: str, *, streams: int, tokens: int) -> float:
    """Tokens per second over all streams together."""
    body = body_of(tokens)
    began = time.perf_counter()
    seen = await asyncio.gather(*(one_stream(url, body, gaps=False) for _ in range(streams)))
    return sum(stream.tokens for stream in seen) / (max(stream.ended_at for stream in seen) - began)


async def gaps(url: str, *, streams: int, rate: float, tokens: int) -> list[float]:
    """Gaps between tokens at a set rate, over all streams, in milliseconds."""
    body = body_of(tokens, rate=rate)
    seen = await asyncio.gather(*(one_stream(url, body, gaps=True) for _ in range(streams)))
    return [gap * 1000 for stream in seen for gap in stream.gaps_s]


async def bulk(url: str, *, size: int) -> float:
    """Rate at which a large request body gets to the engine, in MB/s."""
    parts = urlsplit(url)
    body = b'{"model":"synthetic","messages":[{"role":"user","content":"' + b"x" * size + b'"}]}'
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    began = time.perf_counter()
    try:
        writer.write(request(parts.netloc, body))
        answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
    took = time.perf_counter() - began
    if b" 200 " not in answer[:32]:
        raise RuntimeError(f"the bulk request was refused: {answer[:200]!r}")
    return len(body) / took / 1e6


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

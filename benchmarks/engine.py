"""A synthetic engine: an OpenAI-compatible server that streams tokens at a rate or as fast as its socket takes them.

Run it as `python -m benchmarks.engine`; it prints its URL. The model's name says what it does:
`synthetic` with `max_tokens` tokens; `rate` in the body is tokens per second (0: as fast as possible); a request that
does not stream is answered with the number of bytes that its body had.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

HEAD_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
HEAD_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"synthetic",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
END = b"data: [DONE]\n\n"
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "synthetic", "object": "model", "max_model_len": 131072}]}
).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, _path, _version = head.split(b"\r\n", 1)[0].split(b" ")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = await reader.readexactly(length) if length else b""
            if method == b"GET":
                writer.write(HEAD_WHOLE % len(MODELS))
                writer.write(MODELS)
                continue
            small = json.loads(body) if len(body) < 1 << 16 else {}
            if small.get("stream"):
                await stream(writer, int(small.get("max_tokens", 100)), float(small.get("rate", 0)))
            else:
                text = json.dumps({"object": "chat.completion", "choices": [], "bytes": len(body)}).encode()
                writer.write(HEAD_WHOLE % len(text))
                writer.write(text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, tokens: int, rate: float) -> None:
    writer.write(HEAD_STREAM)
    one = chunk(TOKEN)
    if rate:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(tokens):
            writer.write(one)
            await writer.drain()
            await asyncio.sleep(max(0.0, began + (number + 1) / rate - loop.time()))
    else:
        for _ in range(tokens):
            # Each token is a write and a turn of the loop of its own, as engines make them one by one.
            writer.write(one)
            await asyncio.sleep(0)
            await writer.drain()
    writer.write(chunk(END) + b"0\r\n\r\n")
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 26)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "api_url": f"http://127.0.0.1:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())

"""A24, the backend's part: a sealed request reaches another endpoint of the backend, or smuggles headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sealmesh.backend.base import BackendRequest
from sealmesh.backend.links import refuse_links_untrusted
from sealmesh.backend.llama_request import build_request
from sealmesh.backend.openai import EngineOptions, OpenAIBackend
from sealmesh.errors import BackendError, RequestError
from sealmesh.host.rebuild import rebuild_request_untrusted
from sealmesh.sealed.exchange import RequestHead
from sealmesh.wire.operations import Operation

SMUGGLED = "x\r\nHost: evil\r\nContent-Length: 0\r\n\r\nPOST /admin/shutdown HTTP/1.1\r\nHost: engine\r\n\r\n"


@dataclass
class Recorder:
    """An engine that answers each request and keeps every byte that it was sent."""

    port: int = 0
    received: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = False
        while data := await reader.read(1 << 16):
            self.received += data
            head, found, rest = bytes(self.received).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            if found and not answered and len(rest) >= length:
                answered = True
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                await writer.drain()
        writer.close()
        self.ended.set()


@pytest.fixture
async def engine() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    yield recorder
    await recorder.ended.wait()
    server.close()
    await server.wait_closed()


async def head_and_body(engine: Recorder, request: BackendRequest) -> tuple[bytes, bytes]:
    backend = OpenAIBackend(f"http://127.0.0.1:{engine.port}", EngineOptions(api_key="sk-operator"))
    async with await backend.ask(request) as answer:
        while await answer.read():
            pass
    await backend.close()
    head, _, body = bytes(engine.received).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("operation", [Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.EMBEDDINGS])
async def test_nothing_of_the_asker_stands_in_the_head(engine: Recorder, operation: Operation) -> None:
    request = BackendRequest(
        operation=operation,
        model=SMUGGLED,
        body=json.dumps({"model": SMUGGLED, "user": SMUGGLED}).encode(),
        stream=False,
        cache_key=SMUGGLED.encode(),
        headers=(
            ("content-type", SMUGGLED),
            ("accept", SMUGGLED),
            ("authorization", "Bearer sk-asker"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "1.2.3.4"),
            ("idempotency-key", "k"),
        ),
    )
    head, body = await head_and_body(engine, request)
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {operation.path} HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            f"host: 127.0.0.1:{engine.port}",
            "accept: application/json",
            "accept-encoding: identity",
            "user-agent: sealmesh",
            "content-type: application/json",
            f"content-length: {len(request.body)}",
            "authorization: Bearer sk-operator",
        ]
    )
    assert body == request.body


async def test_a_body_that_looks_like_a_second_request_stays_a_body(engine: Recorder) -> None:
    body = b"0\r\n\r\nPOST /admin/shutdown HTTP/1.1\r\nhost: engine\r\ncontent-length: 0\r\n\r\n"
    request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="m", body=body, stream=False)
    head, received = await head_and_body(engine, request)
    assert f"content-length: {len(body)}".encode() in head
    assert received == body


def test_an_operation_is_one_of_a_table_and_cannot_be_a_path() -> None:
    with pytest.raises(ValueError, match="is not a valid Operation"):
        Operation(("POST", "/v1/chat/completions/../../admin"))


@pytest.mark.parametrize(
    "extra",
    [
        {"id_slot": 3, "cache_prompt": True},
        {"return_progress": False, "stream": False},
        {"lora": [{"id": 0, "scale": 9.0}]},
        {"grammar": "root ::= SECRET ("},
        {"n_predict": -1, "n_keep": 9, "n_cache_reuse": 9, "n_probs": 9},
        {"response_fields": ["prompt"], "return_tokens": True, "verbose": True},
        {"model": "/etc/passwd"},
    ],
)
def test_only_known_fields_reach_the_model_in_process(extra: dict[str, Any]) -> None:
    body = json.dumps({"messages": [], "temperature": 0, **extra}).encode()
    request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="m", body=body, stream=True)
    (made,) = build_request(request, slot=1, reuse=False, context=100).bodies
    assert json.loads(made) == {
        "model": "m", "messages": [], "temperature": 0,
        "id_slot": 1, "cache_prompt": False, "n_cache_reuse": 0, "stream": True, "return_progress": True,
    }  # fmt: skip


LINKED: list[tuple[Operation, Any]] = [
    (Operation.CHAT_COMPLETIONS, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "LINK"}}]}]}),
    (Operation.CHAT_COMPLETIONS, {"messages": [{"content": [{"type": "image_url", "image_url": "LINK"}]}]}),
    (Operation.CHAT_COMPLETIONS, {"messages": [{"content": [{"type": "video_url", "video_url": {"url": "LINK"}}]}]}),
    (Operation.RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "LINK"}]}]}),
    (Operation.RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "LINK"}]}]}),
]
#: As engines in Go read them: letters of any case, members with one name joined.
LIKE_LINKED: list[bytes] = [
    b'{"messages":[{"content":[{"type":"image_url","Image_URL":{"url":"http://10.0.0.1/"}}]}]}',
    b'{"messages":[{"content":[{"type":"image_url","image_url":{"Url":"http://10.0.0.1/"}}]}]}',
    b'{"messages":[{"content":[{"image_url":{"url":"data:,"},"IMAGE_url":"file:///etc/passwd"}]}]}',
    b'{"messages":[],"tools":[{"type":"mcp","server_url":"http://10.0.0.1/mcp"}]}',
    b'{"input":"x","tools":[{"type":"mcp","\xc5\xbferver_URL":"http://10.0.0.1/mcp"}]}',
]


@pytest.mark.parametrize("link", ["http://169.254.169.254/latest/", "https://x/y", "file:///etc/passwd", " data:,", ""])
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize(("operation", "body"), LINKED)
async def test_an_engine_fetches_nothing_for_an_asker(
    link: str, escaped: bool, operation: Operation, body: Any
) -> None:
    data = json.dumps({"model": "m", **body}).replace("LINK", link).encode()
    if escaped:
        data = data.replace(b'_url": ', rb'\u005furl": ')
        assert b'_url": ' not in data
    request = BackendRequest(operation=operation, model="m", body=data, stream=False)
    # Nothing listens there: a request that is passed on would fail otherwise.
    backend = OpenAIBackend("http://127.0.0.1:9", EngineOptions(responses=True))
    async with await backend.ask(request) as answer:
        assert answer.status == 400
        assert json.loads(await answer.read())["error"]["code"] == "unsupported_content"


@pytest.mark.parametrize(("operation", "body"), LINKED)
async def test_what_is_inside_a_request_is_passed_on(engine: Recorder, operation: Operation, body: Any) -> None:
    data = json.dumps({"model": "m", **body}).replace("LINK", "data:image/png;base64,AA==").encode()
    schema = {"type": "object", "properties": {"image_url": {"type": "string"}, "url": {"type": "string"}}}
    data = data[:-1] + b', "tools": ' + json.dumps([{"image_url": "http://not.followed", "s": schema}]).encode() + b"}"
    backend = OpenAIBackend(f"http://127.0.0.1:{engine.port}", EngineOptions(responses=True))
    async with await backend.ask(BackendRequest(operation=operation, model="m", body=data, stream=False)) as answer:
        while await answer.read():
            pass
    await backend.close()
    assert json.loads(bytes(engine.received).partition(b"\r\n\r\n")[2]) == json.loads(data)


@pytest.mark.parametrize("body", LIKE_LINKED)
def test_what_some_engine_takes_for_a_link_is_one(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        refuse_links_untrusted(body)
    assert refused.value.code == "unsupported_content"


def test_a_link_behind_a_member_of_the_same_name_reaches_no_engine() -> None:
    """Only the last one is looked at; an engine that joins both would still have the first one's link."""
    body = b'{"messages":[{"image_url":{"url":"http://10.0.0.1/"},"image_url":{"detail":"low"}}],"seed":10000000000000000000}'
    passed = refuse_links_untrusted(body)
    assert b"10.0.0.1" not in passed
    assert json.loads(passed) == json.loads(body)


@pytest.mark.parametrize("name", ["Model", "MODEL", "Stream", "\u017ftream", "toolS", "X", "To\u212aen"])
def test_a_name_in_other_letters_reaches_no_engine_that_takes_it_for_the_same(name: str) -> None:
    """An engine written in Go would answer for the other model, which its operator did not offer."""
    body = {"model": "echo", "x": 1, "token": 1, "messages": []}
    head = RequestHead(operation=Operation.CHAT_COMPLETIONS, headers=(), cache_key=b"")
    more = json.dumps({**body, "chatTemplate": 1, "mode\u2113": 1}).encode()  # names of their own
    assert rebuild_request_untrusted(head, more, serves={"echo"}.__contains__).model == "echo"
    with pytest.raises(BackendError) as refused:
        rebuild_request_untrusted(head, json.dumps({**body, name: "other"}).encode(), serves={"echo"}.__contains__)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")

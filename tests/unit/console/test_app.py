"""The console over real sockets, with a status that the test changes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from sealmesh.console.app import PAGE_POLICY, ConsoleServer
from sealmesh.console.members import RevocationWish
from sealmesh.errors import ConfigError
from sealmesh.status import (
    ExchangeStatus,
    MembershipStatus,
    MeshStatus,
    ModelStatus,
    NodeStatus,
    PeerStatus,
    PinStatus,
    RevocationStatus,
    RevokedStatus,
    TokenStatus,
)

STATUS = NodeStatus(
    version="0.1.0",
    endpoint_id="ab" * 32,
    mesh=MeshStatus(id="cd" * 32, name="home"),
    roles=("host", "client"),
    models=(ModelStatus(name="echo", context_length=4096, hosts=1, usable=True, best_tier="local"),),
    peers=(
        PeerStatus(
            endpoint_id="ef" * 32,
            name="<script>alert(1)</script>",
            role="host",
            version="0.1.0",
            models=("echo",),
            tier="pinned",
            code_measured=False,
            operator_blind="no",
            posture={"core_dumps": "off"},
            path="direct",
            rtt_ms=1.5,
            sealed_suites=("xwing",),
            evidence_age_s=3.0,
            connected=True,
            refused=(),
        ),
    ),
    exchanges=ExchangeStatus(open=1, done=2, failed_by_reason={"host_lost": 3}),
    tokens=TokenStatus(prompt=1),
    policy_minimum="none",
    uptime_s=1.0,
)


class Source:
    """A status and a queue of its changes."""

    def __init__(self) -> None:
        self.now = STATUS
        self.changes: asyncio.Queue[NodeStatus | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    def snapshot(self) -> NodeStatus:
        return self.now

    async def subscribe(self) -> AsyncIterator[NodeStatus]:
        try:
            while (changed := await self.changes.get()) is not None:
                yield changed
        finally:
            self.closed.set()


@contextlib.asynccontextmanager
async def serving(source: Source | None = None, **settings: object) -> AsyncIterator[tuple[httpx.AsyncClient, Source]]:
    source = source or Source()
    server = ConsoleServer(source, port=0, token="local-token", **settings)  # type: ignore[arg-type]
    base = await server.start()
    try:
        async with httpx.AsyncClient(base_url=base, timeout=10) as client:
            yield client, source
    finally:
        await server.shutdown(5)


async def test_the_status_is_the_whole_node_as_json() -> None:
    async with serving() as (client, _):
        answer = await client.get("/api/status")
    assert answer.json() == json.loads(json.dumps(dataclasses.asdict(STATUS)))
    assert answer.headers["content-type"] == "application/json"


async def test_events_are_the_status_first_and_then_each_change_once() -> None:
    async with serving() as (client, source), client.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = (line async for line in answer.aiter_lines() if line)
        assert json.loads((await anext(lines)).removeprefix("data: "))["uptime_s"] == 1.0
        source.changes.put_nowait(STATUS)  # no change: not said again
        source.changes.put_nowait(dataclasses.replace(STATUS, uptime_s=2.0))
        assert json.loads((await anext(lines)).removeprefix("data: "))["uptime_s"] == 2.0
        source.changes.put_nowait(None)
        assert [line async for line in lines] == []


async def test_a_quiet_event_stream_is_kept_alive() -> None:
    async with serving(keepalive_s=0.001) as (client, _), client.stream("GET", "/api/events") as answer:
        async for line in answer.aiter_lines():
            if line == ": keepalive":
                break


async def test_a_reader_that_leaves_ends_its_subscription() -> None:
    async with asyncio.timeout(10), serving() as (client, source):
        async with client.stream("GET", "/api/events") as answer:
            await anext(answer.aiter_bytes())
        await source.closed.wait()


async def test_shutdown_ends_event_streams_without_waiting_for_the_grace() -> None:
    source = Source()
    server = ConsoleServer(source, port=0, token="t")
    base = await server.start()
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=base) as client:
        async with client.stream("GET", "/api/events") as answer:
            stopping = asyncio.create_task(server.shutdown(3600))
            assert len([line async for line in answer.aiter_lines() if line]) == 1
        await stopping
    assert source.closed.is_set()


async def test_stopping_the_node_needs_the_local_token() -> None:
    stopped: list[bool] = []
    async with serving(stop=lambda: stopped.append(True)) as (client, _):
        for headers in ({}, {"x-sealmesh-token": "wrong"}, {"x-sealmesh-token": ""}):
            refused = await client.post("/api/stop", headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "token_required")
        assert stopped == []
        answer = await client.post("/api/stop", headers={"x-sealmesh-token": "local-token"})
        assert answer.status_code == 202
    assert stopped == [True]


async def test_an_empty_token_opens_nothing() -> None:
    server = ConsoleServer(Source(), port=0, token="", stop=lambda: None)
    base = await server.start()
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await client.post("/api/stop", headers={"x-sealmesh-token": ""})).status_code == 403
    await server.shutdown(0)


async def test_the_page_takes_nothing_from_elsewhere() -> None:
    async with serving() as (client, _):
        page = await client.get("/")
        assert page.headers["content-security-policy"] == PAGE_POLICY
        assert "'unsafe" not in PAGE_POLICY
        assert page.headers["x-frame-options"] == "DENY"
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert linked == ["/console.css", "/console.js", "/api/status"]
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", page.text)
        script = (await client.get("/console.js")).text
        assert "innerHTML" not in script
        assert (await client.get("/console.css")).headers["content-type"] == "text/css; charset=utf-8"


async def test_paths_and_methods_that_are_not_there() -> None:
    async with serving() as (client, _):
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/../app.py")).status_code == 404
        assert (await client.get("/api/stop")).status_code == 405
        assert (await client.head("/api/events")).status_code == 200
        assert (await client.options("/api/stop")).headers["allow"] == "POST, OPTIONS"
        token = {"x-sealmesh-token": "local-token"}
        assert (await client.post("/api/stop", headers=token)).status_code == 501


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_the_console_is_never_offered_to_a_network(bind: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        ConsoleServer(Source(), port=0, token="t", bind=bind)


# --- pins -------------------------------------------------------------------------------------------------------------

TOKEN = {"x-sealmesh-token": "local-token"}
PIN = {"endpoint_id": "ef" * 32, "fingerprint": "01" * 32}


class Desk:
    """Pins in memory."""

    def __init__(self) -> None:
        self.held: dict[bytes, PinStatus] = {}

    def pins(self) -> tuple[PinStatus, ...]:
        return tuple(self.held.values())

    async def add(self, endpoint_id: bytes, fingerprint: bytes | None) -> PinStatus:
        shown = fingerprint or b"\x02" * 32
        pin = PinStatus(endpoint_id=endpoint_id.hex(), fingerprint=shown.hex(), by="hand", at=1.0)
        self.held[endpoint_id] = pin
        return pin

    async def remove(self, endpoint_id: bytes) -> bool:
        return self.held.pop(endpoint_id, None) is not None


async def test_pins_are_read_by_all_and_changed_with_the_token() -> None:
    desk = Desk()
    async with serving(Source(), pins=desk) as (client, _):
        assert (await client.get("/api/pins")).json() == {"pins": []}
        assert (await client.post("/api/pins", json=PIN)).json()["error"]["code"] == "token_required"
        assert (await client.delete(f"/api/pins/{PIN['endpoint_id']}")).status_code == 403
        assert desk.held == {}
        made = await client.post("/api/pins", json=PIN, headers=TOKEN)
        assert made.json() == {**PIN, "by": "hand", "at": 1.0}
        shown = await client.post("/api/pins", json={"endpoint_id": "aa" * 32}, headers=TOKEN)
        assert shown.json()["fingerprint"] == "02" * 32
        assert len((await client.get("/api/pins")).json()["pins"]) == 2
        path = f"/api/pins/{PIN['endpoint_id']}"
        assert (await client.delete(path, headers=TOKEN)).json() == {"removed": True}
        assert (await client.delete(path, headers=TOKEN)).status_code == 404
        assert (await client.put("/api/pins", json=PIN, headers=TOKEN)).status_code == 405
        assert (await client.options("/api/pins")).headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"endpoint_id": 1}', b'{"endpoint_id": "zz"}', b'{"endpoint_id": "' + b"a" * 63 + b'"}'],
)
async def test_what_is_no_pin(body: bytes) -> None:
    desk = Desk()
    async with serving(Source(), pins=desk) as (client, _):
        answer = await client.post("/api/pins", content=body, headers=TOKEN)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert (await client.delete("/api/pins/zz", headers=TOKEN)).status_code == 400
    assert desk.held == {}


async def test_a_node_without_pins_says_so() -> None:
    async with serving(Source()) as (client, _):
        assert (await client.get("/api/pins")).status_code == 501


# --- members ----------------------------------------------------------------------------------------------------------


class Members:
    """Notes who shall be out."""

    def __init__(self) -> None:
        self.wishes: list[RevocationWish] = []

    def members(self) -> MembershipStatus:
        return MembershipStatus(mesh=STATUS.mesh, issuer=True, revocations=RevocationStatus(sequence=len(self.wishes)))

    async def revoke(self, wish: RevocationWish) -> RevokedStatus:
        self.wishes.append(wish)
        return RevokedStatus(endpoint_ids=(), serials=(), members_out=(), sequence=len(self.wishes))


async def test_members_are_read_by_all_and_revoked_with_the_token() -> None:
    desk = Members()
    async with serving(Source(), members=desk) as (client, _):
        assert (await client.get("/api/members")).json()["revocations"]["sequence"] == 0
        refused = await client.post("/api/members/revoke", json={"serial": "ab" * 16})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "token_required")
        assert desk.wishes == []
        done = await client.post("/api/members/revoke", json={"serial": "ab" * 16}, headers=TOKEN)
        assert (done.status_code, done.json()["sequence"]) == (200, 1)
        wanted = {"endpoint_id": "cd" * 32, "serial": None, "keep_ticket": True}
        await client.post("/api/members/revoke", json=wanted, headers=TOKEN)
        assert desk.wishes == [
            RevocationWish(serial=b"\xab" * 16),
            RevocationWish(endpoint_id=b"\xcd" * 32, keep_ticket=True),
        ]
        assert (await client.get("/api/members/revoke")).status_code == 405
        assert (await client.post("/api/members", headers=TOKEN)).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"serial": 1}',
        b'{"serial": "zz"}',
        b'{"serial": "' + b"ab" * 32 + b'"}',
        b'{"endpoint_id": "' + b"ab" * 16 + b'"}',
        b'{"endpoint_id": "' + b"ab" * 32 + b'", "serial": "' + b"ab" * 16 + b'"}',
        b'{"serial": "' + b"ab" * 16 + b'", "keep": true}',
    ],
)
async def test_what_is_no_revocation(body: bytes) -> None:
    desk = Members()
    async with serving(Source(), members=desk) as (client, _):
        answer = await client.post("/api/members/revoke", content=body, headers=TOKEN)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert desk.wishes == []


async def test_a_node_without_members_says_so() -> None:
    async with serving(Source()) as (client, _):
        assert (await client.get("/api/members")).status_code == 501

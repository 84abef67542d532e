"""A19: a web page in the user's browser calls the local API or the console (DNS rebinding, CORS, CSRF)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from tests.unit.api.world import ScriptedAsker, chat

from sealmesh.api.server import ApiServer
from sealmesh.console.app import ConsoleServer
from sealmesh.status import ExchangeStatus, MeshStatus, NodeStatus, TokenStatus

STATUS = NodeStatus(
    version="0",
    endpoint_id="00" * 32,
    mesh=MeshStatus(id="", name=""),
    roles=(),
    models=(),
    peers=(),
    exchanges=ExchangeStatus(),
    tokens=TokenStatus(),
    policy_minimum="none",
    uptime_s=0.0,
)


class Still:
    """A status that never changes."""

    def snapshot(self) -> NodeStatus:
        return STATUS

    async def subscribe(self) -> AsyncIterator[NodeStatus]:
        return
        yield STATUS


@dataclass
class Doors:
    """The API and the console of one node."""

    api: httpx.AsyncClient
    console: httpx.AsyncClient
    asker: ScriptedAsker
    stopped: list[bool]

    async def call(self, door: str, **headers: str) -> httpx.Response:
        """Do the thing that matters at a door, with the headers that a browser would add."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if door == "api":
            return await self.api.post("/v1/chat/completions", content=chat(), headers=named)
        if door == "models":
            return await self.api.get("/v1/models", headers=named)
        if door == "status":
            return await self.console.get("/api/status", headers=named)
        return await self.console.post("/api/stop", headers={"x-sealmesh-token": "t", **named})

    def origin(self, door: str) -> str:
        client = self.api if door in ("api", "models") else self.console
        return str(client.base_url).rstrip("/")


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    asker, stopped = ScriptedAsker(), []
    api = ApiServer(asker, port=0)
    console = ConsoleServer(Still(), port=0, token="t", stop=lambda: stopped.append(True))
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for server in (api, console):
            clients.append(await stack.enter_async_context(httpx.AsyncClient(base_url=await server.start())))
            stack.push_async_callback(server.shutdown, 0)
        yield Doors(api=clients[0], console=clients[1], asker=asker, stopped=stopped)


ALL = pytest.mark.parametrize("door", ["api", "models", "status", "stop"])
READING = pytest.mark.parametrize("door", ["models", "status"])
CHANGING = pytest.mark.parametrize("door", ["api", "stop"])


def _refused(doors: Doors, answer: httpx.Response, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    assert not any(name.startswith("access-control-") for name in answer.headers)
    assert doors.asker.asked == []
    assert doors.stopped == []


@ALL
async def test_the_rightful_caller_is_answered(doors: Doors, door: str) -> None:
    assert (await doors.call(door)).is_success
    assert (await doors.call(door, origin=doors.origin(door), sec_fetch_site="same-origin")).is_success
    port = doors.origin(door).rsplit(":", 1)[1]
    assert (await doors.call(door, host=f"localhost:{port}")).is_success


@ALL
@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1", "[::2]"]
)
async def test_a_rebound_name_is_refused(doors: Doors, door: str, name: str) -> None:
    port = doors.origin(door).rsplit(":", 1)[1]
    _refused(doors, await doors.call(door, host=f"{name}:{port}"), "host_not_allowed")


@ALL
async def test_another_port_of_this_machine_is_refused(doors: Doors, door: str) -> None:
    for host in ("127.0.0.1", "127.0.0.1:1", "localhost"):
        _refused(doors, await doors.call(door, host=host), "host_not_allowed")


@ALL
async def test_a_request_from_another_page_is_refused(doors: Doors, door: str) -> None:
    port = doors.origin(door).rsplit(":", 1)[1]
    for origin in (
        "https://evil.example",
        "null",
        f"http://evil.example:{port}",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://localhost",
        "",
    ):
        _refused(doors, await doors.call(door, origin=origin), "origin_not_allowed")


async def test_the_console_is_another_page_to_the_api(doors: Doors) -> None:
    _refused(doors, await doors.call("api", origin=doors.origin("status")), "origin_not_allowed")


@ALL
async def test_a_browser_that_says_cross_site_is_believed(doors: Doors, door: str) -> None:
    for site in ("cross-site", "same-site", "odd"):
        _refused(doors, await doors.call(door, sec_fetch_site=site), "origin_not_allowed")


@READING
@pytest.mark.parametrize(("mode", "dest"), [("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe")])
async def test_what_another_page_embeds_holds_no_connection(doors: Doors, door: str, mode: str, dest: str) -> None:
    """Images of `/api/events` would take the console's few connections, and nobody could look at the node."""
    embedded = {"sec_fetch_site": "cross-site", "sec_fetch_mode": mode, "sec_fetch_dest": dest}
    _refused(doors, await doors.call(door, **embedded), "origin_not_allowed")


@ALL
async def test_a_link_on_another_page_may_be_followed_to_look_only(doors: Doors, door: str) -> None:
    followed = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    answer = await doors.call(door, **followed)
    if door in ("api", "stop"):
        _refused(doors, answer, "origin_not_allowed")
    else:
        assert answer.is_success


async def test_a_form_of_another_page_is_refused(doors: Doors) -> None:
    answer = await doors.api.post(
        "/v1/chat/completions",
        content=chat(),
        headers={"content-type": "text/plain", "origin": "https://evil.example"},
    )
    _refused(doors, answer, "origin_not_allowed")


@ALL
async def test_no_answer_ever_gives_another_page_leave(doors: Doors, door: str) -> None:
    answer = await doors.call(door)
    assert not any(name.startswith("access-control-") for name in answer.headers)
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_preflight_is_refused(doors: Doors) -> None:
    for client, path in ((doors.api, "/v1/chat/completions"), (doors.console, "/api/stop")):
        answer = await client.options(
            path, headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
        )
        _refused(doors, answer, "origin_not_allowed")


async def test_a_target_that_names_another_host_is_refused(doors: Doors) -> None:
    request = doors.api.build_request("GET", "/v1/models")
    request.extensions["target"] = b"http://evil.example/v1/models"
    _refused(doors, await doors.api.send(request), "host_not_allowed")


async def test_a_page_cannot_stop_the_node_by_the_right_host_and_a_guessed_token(doors: Doors) -> None:
    answer = await doors.console.post("/api/stop", headers={"x-sealmesh-token": "guess"})
    _refused(doors, answer, "token_required")

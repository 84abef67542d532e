"""A09: a host (or its proxy) passes the opened prompt onward.

A sealed request ends at the host that it was sealed to: what serves it can reach that host's own backend, and
nothing with which another node could be reached. What a dishonest host does with its own engine is no test's to show.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

import sealmesh
from kit.exchanges import BareAsker, ScriptedBackend, World, chat, read_all
from sealmesh.backend.base import Backend
from sealmesh.client.asker import Asker
from sealmesh.errors import BackendError
from sealmesh.host.serve import ExchangeService, PlainService, SealedService, ServiceParts
from sealmesh.sealed.exchange import ErrorEvent
from sealmesh.transport.base import Connection, Endpoint

ROOT = Path(sealmesh.__file__).parent
#: Rooms with which a request could find its way to another node.
OUTWARD = ("client", "mesh", "routing", "gossip", "api", "node", "console", "cli")
OUTWARD_MODULES = {"sealmesh.transport.iroh", "sealmesh.transport.memory", "sealmesh.transport.record"}


def imported_by(module: str) -> set[str]:
    """The modules of ours that a module's file imports, anywhere in it."""
    path = ROOT.parent / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"a relative import in {file}"
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] == "sealmesh"}


def reachable_from(module: str) -> set[str]:
    reached, waiting = set(), {module}
    while waiting:
        one = waiting.pop()
        reached.add(one)
        waiting |= imported_by(one) - reached
    return reached


def test_a09_what_serves_a_request_reaches_no_way_to_another_node() -> None:
    reached = reachable_from("sealmesh.host.serve")
    assert {"sealmesh.host.rebuild", "sealmesh.backend.base", "sealmesh.sealed.exchange"} <= reached
    assert not {one for one in reached if one.split(".")[1:2] and one.split(".")[1] in OUTWARD}
    assert not reached & OUTWARD_MODULES
    outward = {"sealmesh.transport.base.Connection", "sealmesh.transport.base.Endpoint"}
    assert not reached & outward, "a connection could open a stream to somebody else"


def test_a09_the_services_are_given_nothing_to_call_others_with() -> None:
    shared = {"backend", "now", "monotonic", "counters", "times", "rates", "bodies", "queue_wait_s"}
    assert (
        set(inspect.signature(ExchangeService.__init__).parameters) - {"self"}
        == shared
        == set(get_type_hints(ServiceParts))
    )
    own = {SealedService: {"endpoint_id", "keyring", "random"}, PlainService: {"random"}}
    for service, parts in own.items():
        assert set(inspect.signature(service.__init__).parameters) - {"self", "more"} == parts
    for outward in (Asker, Connection, Endpoint):
        assert not issubclass(outward, Backend)


async def test_a09_a_model_of_another_host_is_refused_and_not_fetched_from_there() -> None:
    async with World.running() as world:
        asked = world.add("asked", backend=(own := ScriptedBackend(b"{}", models=("echo",))))
        world.add("other", backend=(others := ScriptedBackend(b"{}", models=("far",))), models=("far",))
        asker = await BareAsker.of(asked)
        await asker.ask(chat(model="far").body)
        event = (await asker.events())[-1]
        await asker.stream.reset()
        assert isinstance(event, ErrorEvent)
        assert (event.error.status, event.error.code) == (404, "model_not_found")
        assert own.asked == others.asked == []
        assert world.opened == [asked.id]
        assert world.network.connections() == 1


async def test_a09_a_host_whose_engine_fails_says_so_and_asks_nobody_else() -> None:
    async with World.running() as world:
        asked = world.add("asked", backend=ScriptedBackend(BackendError(502, "engine_lost", "gone")))
        world.add("other", backend=(others := ScriptedBackend(b"{}")))
        asker = await BareAsker.of(asked)
        await asker.ask()
        assert (await asker.error()).code == "engine_lost"
        assert others.asked == []
        assert world.network.connections() == 1


async def test_a09_each_request_is_asked_of_the_engine_once() -> None:
    async with World.running() as world:
        world.add(backend=(own := ScriptedBackend(b"{}")))
        for _ in range(3):
            await read_all(await world.dialer.ask(chat()))
        assert len(own.asked) == 3
        with pytest.raises(AttributeError):
            own.asked[0].host  # noqa: B018 - a request names no node at all

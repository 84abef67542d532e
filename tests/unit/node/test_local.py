"""A node's own models: answered without a wire, and by the same rebuilding as sealed requests."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from kit.exchanges import ScriptedBackend, World, chat, read_all
from kit.sealed import Randomness
from sealmesh.backend.base import Usage
from sealmesh.client.asker import Answer, AppRequest, Asker, ModelListing
from sealmesh.client.counters import Counters
from sealmesh.errors import BackendError, LocalProtocolError
from sealmesh.node.local import LocalAsker, NodeAsker

OWN_ID = bytes(range(32))


def local(backend: ScriptedBackend) -> tuple[LocalAsker, Counters]:
    counters = Counters()
    return LocalAsker(endpoint_id=OWN_ID, backend=backend, random=Randomness(), counters=counters), counters


async def test_an_answer_says_that_it_is_local_and_is_counted() -> None:
    asker, counters = local(ScriptedBackend(b"some", b"thing"))
    answer = await asker.ask(chat(stream=True))
    assert (answer.status, answer.proof.sealed, answer.proof.tier) == (200, "local", "local")
    assert answer.proof.host == OWN_ID.hex()
    assert answer.proof.evidence == ""
    assert await read_all(answer) == b"something"
    assert await answer.read() == b""
    status = counters.status()
    assert (status.open, status.done) == (0, 1)
    assert (counters.prompt_tokens, counters.completion_tokens) == (3, 5)


async def test_requests_are_rebuilt_and_refused_as_sealed_ones_are() -> None:
    asker, counters = local(backend := ScriptedBackend(b"{}"))
    await read_all(await asker.ask(chat("x" * 300_000)))
    assert json.loads(backend.asked[0].body)["model"] == "echo"
    for body, code in ((b"{", "invalid_json"), (b'{"model":"other"}', "model_not_found")):
        with pytest.raises(BackendError, match=code):
            await asker.ask(dataclasses.replace(chat(), body=body))
    assert len(backend.asked) == 1
    assert counters.status().failed_by_reason == {"invalid_json": 1, "model_not_found": 1}
    assert counters.status().open == 0


async def test_a_session_s_name_never_is_the_engine_s_cache_key() -> None:
    """A sealed request may carry any cache key, also `b"alice"`: it must not find what an app here left (A23)."""
    asker, _ = local(backend := ScriptedBackend(b"{}"))
    other, _ = local(others := ScriptedBackend(b"{}"))
    other._cache_salt = b"another process"
    for session in ("alice", "alice", "bob", ""):
        await read_all(await asker.ask(chat(session=session)))
    await read_all(await other.ask(chat(session="alice")))
    keys = [request.cache_key for request in backend.asked]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == b""
    assert b"alice" not in keys[0]
    assert len(keys[0]) == 32
    assert others.asked[0].cache_key != keys[0]


@pytest.mark.parametrize("failure", [BackendError(502, "engine_cut", "cut"), ValueError("bug")])
async def test_a_failure_stays_one_and_never_looks_like_an_end(failure: Exception) -> None:
    asker, counters = local(ScriptedBackend(b"some", failure))
    answer = await asker.ask(chat())
    assert await answer.read() == b"some"
    for _ in range(2):
        with pytest.raises(type(failure)):
            await answer.read()
    await answer.close()
    assert counters.status().open == 0
    assert sum(counters.status().failed_by_reason.values()) == 1


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    go = asyncio.Event()
    asker, counters = local(ScriptedBackend(go, b"late"))
    answer = await asker.ask(chat())
    reading = asyncio.create_task(answer.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert counters.status().open == 1
    answer2 = await asker.ask(chat())
    await answer2.close()
    await answer.close()
    assert counters.status().failed_by_reason == {"app_left": 2}


async def test_leaving_closes_the_engine_s_answer_once() -> None:
    asker, counters = local(backend := ScriptedBackend(b"some", asyncio.Event()))
    answer = await asker.ask(chat())
    await answer.read()
    await answer.close()
    await answer.close()
    assert backend.answers[0].closed
    assert counters.status().failed_by_reason == {"app_left": 1}
    with pytest.raises(LocalProtocolError):
        await answer.read()


async def test_an_app_that_leaves_a_long_prefill_is_counted_so() -> None:
    asker, counters = local(ScriptedBackend(gate=asyncio.Event()))
    asking = asyncio.create_task(asker.ask(chat()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert counters.status().failed_by_reason == {"app_left": 1}


async def test_an_engine_that_counts_nothing_counts_as_nothing() -> None:
    asker, counters = local(ScriptedBackend(b"{}", usage=None))
    await read_all(await asker.ask(chat()))
    assert (counters.status().done, counters.prompt_tokens) == (1, 0)
    assert Usage().prompt_tokens == 0


# --- own models first, then the mesh's --------------------------------------------------------------------------------


class Elsewhere(Asker):
    """The mesh, which notes what it is asked."""

    def __init__(self, *listings: ModelListing) -> None:
        self.asked: list[str] = []
        self._listings = listings

    def models(self) -> tuple[ModelListing, ...]:
        return self._listings

    async def ask(self, request: AppRequest) -> Answer:
        self.asked.append(request.model)
        raise BackendError(500, "elsewhere", "the mesh was asked")


def listing(name: str, *, hosts: int = 1, refused: dict[str, str] | None = None) -> ModelListing:
    return ModelListing(name=name, context_length=7, hosts=hosts, usable=False, best_tier="none", refused=refused or {})


async def test_own_models_are_answered_here_and_others_by_the_mesh() -> None:
    own, _ = local(backend := ScriptedBackend(b"{}"))
    mesh = Elsewhere()
    asker = NodeAsker(local=own, mesh=mesh)
    await read_all(await asker.ask(chat()))
    with pytest.raises(BackendError, match="elsewhere"):
        await asker.ask(chat(model="far"))
    assert mesh.asked == ["far"]
    assert len(backend.asked) == 1


async def test_a_client_asks_the_mesh_for_everything() -> None:
    asker = NodeAsker(local=None, mesh=Elsewhere(listing("echo")))
    with pytest.raises(BackendError, match="elsewhere"):
        await asker.ask(chat())
    assert [one.name for one in asker.models()] == ["echo"]


async def test_listings_are_joined() -> None:
    own, _ = local(ScriptedBackend(models=("echo", "alone")))
    mesh = Elsewhere(listing("zoo"), listing("echo", hosts=2, refused={"aa": "too weak"}))
    alone, echo, zoo = NodeAsker(local=own, mesh=mesh).models()
    assert (alone.name, alone.hosts, alone.usable, alone.best_tier) == ("alone", 1, True, "local")
    assert (echo.hosts, echo.usable, echo.best_tier, echo.context_length) == (3, True, "local", 4096)
    assert echo.refused == {"aa": "too weak"}
    assert (zoo.name, zoo.usable) == ("zoo", False)


async def test_the_mesh_s_way_and_the_own_way_count_in_one_place() -> None:
    async with World.running() as world:
        world.add("far", models=("far",), backend=ScriptedBackend(b"{}", models=("far",)))
        own = LocalAsker(
            endpoint_id=OWN_ID, backend=ScriptedBackend(b"{}"), random=Randomness(), counters=world.counters
        )
        asker = NodeAsker(local=own, mesh=world.dialer)
        for model in ("echo", "far"):
            await read_all(await asker.ask(chat(model=model)))
        assert world.counters.status().done == 2

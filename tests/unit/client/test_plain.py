"""Requests in the clear, where they are permitted: whole, rebuilt by the host, within the same bounds and clocks."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kit.exchanges import SECRET, ScriptedBackend, World, chat, read_all, silent
from sealmesh.client.dial import Timeouts
from sealmesh.errors import BackendError, BusyError, HostLostError, LocalProtocolError
from sealmesh.host.openings import OpeningRates


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_comes_whole_and_is_counted_on_both_sides(stream: bool) -> None:
    async with World.running() as world:
        host = world.add(plain=True)
        answer = await world.dialer.ask(chat(stream=stream))
        assert answer.status == 200
        assert len(bytes.fromhex(answer.proof.exchange)) == 16
        assert "secret" in (await read_all(answer)).decode()
        assert world.counters.completion_tokens == host.counters.completion_tokens > 0


@pytest.mark.parametrize("size", [100, 70_000, 700_000])
async def test_bodies_of_every_size_arrive_whole(size: int) -> None:
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")), plain=True)
        await read_all(await world.dialer.ask(chat("x" * size)))
        assert json.loads(backend.asked[0].body)["messages"][0]["content"] == "x" * size


async def test_a24_the_host_builds_the_request_anew() -> None:
    """What stands twice, or does not belong there, reaches no engine; nor does a header that is not on the list."""
    body = b'{"model":"other","model":"echo","messages":[],"stream":false}'
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")), plain=True)
        await read_all(await world.dialer.ask(dataclasses.replace(chat(), body=body)))
        assert backend.asked[0].body == b'{"model":"echo","messages":[],"stream":false}'
        assert backend.asked[0].headers == (("content-type", "application/json"),)
        for bad in (b"[]", b'{"model":"echo"} {}', b"\xff", b'{"model":"another"}'):
            with pytest.raises(BackendError):
                await world.dialer.ask(dataclasses.replace(chat(), body=bad))
        with pytest.raises(LocalProtocolError):
            await world.dialer.ask(dataclasses.replace(chat(), headers=(("authorization", "Bearer x"),)))
        assert len(backend.asked) == 1


async def test_the_next_plain_host_is_asked_where_one_is_lost_or_busy() -> None:
    async with World.running(timeouts=Timeouts(silence=0.05)) as world:
        lost = world.add("lost", handler=silent, plain=True)
        full = world.add("full", plain=True, rates=OpeningRates(per_second=0, burst=0))
        good = world.add("good", plain=True)
        answer = await world.dialer.ask(chat())
        assert answer.proof.host == good.id.hex()
        assert SECRET in (await read_all(answer)).decode()
        assert world.directory.health(lost.id).failures == 1
        assert (world.directory.health(full.id).failures, world.opened) == (0, [])
        world.directory.remove(good.id)
        world.directory.remove(lost.id)
        with pytest.raises(BusyError):
            await world.dialer.ask(chat())
        world.directory.remove(full.id)
        world.add("silent", handler=silent, plain=True)
        with pytest.raises(HostLostError):
            await world.dialer.ask(chat())


async def test_a_conversation_has_its_own_cache_key_at_each_plain_host() -> None:
    async with World.running() as world:
        world.add(backend=(backend := ScriptedBackend(b"{}")), plain=True)
        for session in ("a", "a", "b", ""):
            await read_all(await world.dialer.ask(chat(session=session)))
        keys = [request.cache_key for request in backend.asked]
        assert keys[0] == keys[1] != keys[2]
        assert (len(keys[0]), keys[3]) == (32, b"")

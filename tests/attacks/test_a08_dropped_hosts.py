"""A08: evidence that no longer holds is used all the same: a host is dropped while a request is on its way to it."""

from __future__ import annotations

import pytest

from kit.exchanges import ScriptedBackend, World, chat, read_all
from sealmesh.errors import HostLostError
from sealmesh.transport.base import Stream


@pytest.mark.parametrize("others", [0, 1])
async def test_a_host_that_is_dropped_while_it_is_connected_to_gets_nothing(others: int) -> None:
    """A wrong answer, a revocation or a set clock may come while the stream opens: none of them waits for an end."""
    async with World.running() as world:
        host = world.add("first", backend=(backend := ScriptedBackend(b"{}")))
        second = world.add("second") if others else None
        opening = world.open_stream

        async def slow(endpoint_id: bytes) -> Stream:
            stream = await opening(endpoint_id)
            if endpoint_id == host.id:
                world.keys.lost.add(host.id)  # its verdict and its epoch would have held for minutes
            return stream

        world.dialer._open_stream = slow
        if second is None:
            with pytest.raises(HostLostError):
                await world.dialer.ask(chat())
        else:
            answer = await world.dialer.ask(chat())
            assert answer.proof.host == second.id.hex()
            await read_all(answer)
        assert backend.asked == []
        assert host.counters.done == 0
        assert world.directory.health(host.id).failures == 0

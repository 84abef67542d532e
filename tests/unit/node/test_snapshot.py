"""Who is told of a change, and of which."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest

from sealmesh.node.snapshot import StatusBoard, same
from sealmesh.status import CutOffStatus, ExchangeStatus, MeshStatus, ModelStatus, NodeStatus, PeerStatus, TokenStatus

PEER = PeerStatus(
    endpoint_id="aa",
    name="attic",
    role="host",
    version="1",
    models=("m",),
    tier="pinned",
    code_measured=False,
    operator_blind="no",
    posture={"core_dumps": "off"},
    path="direct",
    rtt_ms=1.0,
    sealed_suites=("xwing",),
    evidence_age_s=2.0,
    connected=True,
    refused=(),
)
CUT_OFF = CutOffStatus(endpoint_id="dd", reason="lies", times=1, left_s=60.0)
STATUS = NodeStatus(
    version="1",
    endpoint_id="bb",
    mesh=MeshStatus(id="cc", name="home"),
    roles=("client",),
    models=(),
    peers=(PEER,),
    exchanges=ExchangeStatus(),
    tokens=TokenStatus(),
    policy_minimum="none",
    uptime_s=1.0,
    cut_off=(CUT_OFF,),
)


@pytest.mark.parametrize(
    "change",
    [
        {"uptime_s": 9.0},
        {"peers": (replace(PEER, rtt_ms=7.0),)},
        {"peers": (replace(PEER, evidence_age_s=9.0),)},
        {"cut_off": (replace(CUT_OFF, left_s=9.0),)},
    ],
)
def test_what_moves_by_itself_is_no_change(change: dict[str, Any]) -> None:
    assert same(STATUS, replace(STATUS, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"peers": ()},
        *(
            {"peers": (replace(PEER, **part),)}
            for part in (
                {"tier": "none"},
                {"refused": ("too weak",)},
                {"posture": {"core_dumps": "on"}},
                {"code_measured": True},
                {"operator_blind": "software"},
                {"version": "2"},
                {"path": "relayed"},
                {"connected": False},
                {"sealed_suites": ()},
                {"models": ()},
                {"name": "cellar"},
            )
        ),
        {"models": (ModelStatus(name="m", context_length=1, hosts=1, usable=True, best_tier="none"),)},
        {"exchanges": ExchangeStatus(open=1)},
        {"exchanges": ExchangeStatus(failed_by_reason={"busy": 1})},
        {"tokens": TokenStatus(prompt=1)},
        {"policy_minimum": "pinned"},
        {"roles": ("client", "host")},
        {"cut_off": ()},
        {"cut_off": (replace(CUT_OFF, times=2),)},
        {"mesh": MeshStatus(id="cc", name="work")},
    ],
)
def test_what_people_look_for_is_a_change(change: dict[str, Any]) -> None:
    assert not same(STATUS, replace(STATUS, **change))


class Board:
    def __init__(self) -> None:
        self.status = STATUS
        self.board = StatusBoard(lambda: self.status)


async def test_who_subscribes_gets_the_status_now_and_after_each_change() -> None:
    one = Board()
    async with asyncio.timeout(10), contextlib.aclosing(one.board.subscribe()) as changes:
        assert await anext(changes) is STATUS
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)
        one.status = replace(STATUS, tokens=TokenStatus(prompt=1))
        one.board.note_change()
        assert (await waiting).tokens.prompt == 1


async def test_a_sign_without_a_change_yields_nothing() -> None:
    one = Board()
    async with contextlib.aclosing(one.board.subscribe()) as changes:
        await anext(changes)
        waiting = asyncio.create_task(anext(changes))
        for number in range(3):
            one.status = replace(STATUS, uptime_s=float(number))
            one.board.note_change()
            await asyncio.sleep(0.01)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_changes_in_a_row_become_one_and_the_last_is_never_lost() -> None:
    one = Board()
    async with asyncio.timeout(10), contextlib.aclosing(one.board.subscribe()) as changes:
        await anext(changes)
        for number in range(1, 50):
            one.status = replace(STATUS, tokens=TokenStatus(prompt=number))
            one.board.note_change()
        assert (await anext(changes)).tokens.prompt == 49
        assert one.board.snapshot().tokens.prompt == 49


async def test_who_leaves_is_not_told_any_more() -> None:
    one = Board()
    for ended in (False, True):
        changes = one.board.subscribe()
        await anext(changes)
        if ended:
            waiting = asyncio.create_task(anext(changes))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        await changes.aclose()
    assert one.board._waiting == set()

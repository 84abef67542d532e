"""Pins of a running node: on the disk, in force at once, and only for keys that were shown or named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealmesh.errors import RequestError
from sealmesh.node.pins import PinKeeper
from sealmesh.node.stores import PinStore

NOW = 1_764_000_000.0
A, B = b"\x0a" * 32, b"\x0b" * 32
SHOWN, OTHER = b"\x01" * 32, b"\x02" * 32


class Desk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.reconsidered: list[tuple[bytes, str]] = []
        self.keeper = PinKeeper(
            PinStore(path),
            shown={A: SHOWN}.get,
            reconsider=lambda endpoint_id, reason: self.reconsidered.append((endpoint_id, reason)),
            now=lambda: NOW,
        )


async def test_a_pin_is_on_the_disk_and_its_host_is_judged_anew(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "pins.json")
    made = await desk.keeper.add(A, OTHER)
    assert (made.endpoint_id, made.fingerprint, made.by, made.at) == (A.hex(), OTHER.hex(), "hand", NOW)
    assert desk.reconsidered == [(A, "its pin was changed; it must answer again")]
    assert desk.keeper.pins() == (made,)
    again = PinStore(desk.path).find_pin(A)
    assert again is not None
    assert (again.fingerprint, again.by_hand) == (OTHER, True)


async def test_without_a_fingerprint_what_the_host_shows_is_pinned(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "pins.json")
    assert (await desk.keeper.add(A, None)).fingerprint == SHOWN.hex()
    with pytest.raises(RequestError, match="shows no hardware key"):
        await desk.keeper.add(B, None)
    assert len(desk.keeper.pins()) == 1


async def test_a_pin_is_taken_away_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "pins.json")
    await desk.keeper.add(A, SHOWN)
    assert await desk.keeper.remove(A)
    assert not await desk.keeper.remove(A)
    assert len(desk.reconsidered) == 2
    assert PinStore(desk.path).find_pin(A) is None


@pytest.mark.parametrize("change", ["add", "remove"])
async def test_who_hangs_up_while_the_disk_is_waited_for_leaves_no_pin_that_nothing_heeds(
    tmp_path: Path, change: str
) -> None:
    """The thread cannot be stopped: what it writes must count, or the verdict would stand under a pin it breaks."""
    heeded = asyncio.Event()
    store = PinStore(tmp_path / "pins.json")
    keeper = PinKeeper(store, shown={A: SHOWN}.get, reconsider=lambda *_: heeded.set(), now=lambda: NOW)
    if change == "remove":
        await keeper.add(A, SHOWN)
        heeded.clear()
    asking = asyncio.create_task(keeper.add(A, OTHER) if change == "add" else keeper.remove(A))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(20):
        await heeded.wait()
    assert (store.find_pin(A) is None) is (change == "remove")

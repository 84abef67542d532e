"""What the issuer said outlives this process, and a disk that is full for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.mesh import Mesh, until
from kit.people import DAY, NOW, People
from kit.virtual_time import VirtualTime
from sealmesh.identity.admission import make_revocations, make_successor
from sealmesh.identity.keys import IssuerKey
from sealmesh.node.home import Home
from sealmesh.node.notices import NoticeKeeper

FILES = ("successors.json", "revocations")


def filled(path: Path) -> None:
    """Let nothing be written into a folder, whoever asks: each file's place is taken by a folder."""
    for name in FILES:
        (path / name).mkdir(parents=True)


def emptied(path: Path) -> None:
    for name in FILES:
        (path / name).rmdir()


def test_what_was_said_is_read_back(tmp_path: Path) -> None:
    people, home = People(), Home(tmp_path)
    policy = people.policy()
    follower = IssuerKey.generate(people.random)
    statement = make_successor(people.issuer, follower, now=NOW, predecessor_until=NOW + DAY).encode()
    revocations = make_revocations(people.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)]).encode()
    assert policy.offer_successor_untrusted(statement)
    assert policy.offer_revocations_untrusted(revocations, NOW)
    with home.lock():
        NoticeKeeper(home, policy).keep()
    assert Home(tmp_path).successors() == (statement,)
    assert Home(tmp_path).revocations() == revocations


async def test_a_disk_that_is_full_stops_no_revocation_and_no_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people, home, time = People(), Home(tmp_path), VirtualTime()
    async with Mesh.running(people) as mesh:
        a, b, c = [await mesh.add(gossip=True, sleep=time.sleep) for _ in range(3)]
        for one, other in ((a, b), (b, c)):
            await mesh.link(one, other)
        keeper = NoticeKeeper(home, a.policy)
        assert a.driver is not None
        assert b.driver is not None
        assert a.core is not None
        await until(lambda: a.core.table.get(c.id) is not None)  # type: ignore[union-attr]
        a.driver._on_policy_changed = keeper.keep
        filled(tmp_path)
        revocations = make_revocations(people.issuer, previous=None, now=mesh.now, endpoint_ids=[c.id]).encode()
        b.policy.offer_revocations_untrusted(revocations, mesh.now)
        b.driver.policy_changed()
        await until(lambda: a.core.table.get(c.id) is None)  # type: ignore[union-attr]
        for _ in range(3):
            keeper.advance()
        assert a.links.count == 1
        assert sum("cannot be kept" in record.message for record in caplog.records) == 1
        emptied(tmp_path)
        keeper.advance()
        assert home.revocations() == revocations

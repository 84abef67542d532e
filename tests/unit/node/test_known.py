"""Members remembered over restarts: who is kept, who is not, and a file that cannot be believed."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pytest

from kit.people import NOW, Member, People
from sealmesh.errors import ConfigError
from sealmesh.gossip.table import RecordTable
from sealmesh.identity.admission import AdmissionPolicy, make_revocations
from sealmesh.limits import KNOWN_PEERS_MAX, KNOWN_PER_TICKET_MAX
from sealmesh.node.known import KEEP_INTERVAL_S, KnownPeers
from sealmesh.transport.base import EndpointAddress

OWN = bytes([1]) * 32
INVITER = EndpointAddress(endpoint_id=bytes([7]) * 32, addresses=("10.0.0.7:4444",))


class World:
    """One node's table and file."""

    def __init__(self, path: Path, people: People | None = None) -> None:
        self.path = path
        self.people = people or People()
        self.policy: AdmissionPolicy = self.people.policy()
        self.table = RecordTable()
        self.linked: set[bytes] = set()
        self.known = KnownPeers(
            path.parent,
            own_id=OWN,
            inviters=(INVITER,),
            members=self.policy,
            entries=self.table.entries,
            connected=self.linked.__contains__,
        )

    def meet(self, member: Member, *, linked: bool = False, **changes: object) -> Member:
        admitted = self.policy.admit_untrusted(member.shown, member.id, NOW)
        self.table.add_untrusted(member.record(**changes), member.shown, admitted, NOW)
        if linked:
            self.linked.add(member.id)
        return member

    def tried(self) -> list[bytes]:
        return [address.endpoint_id for address in self.known.to_try()]


def test_who_was_known_is_called_after_a_restart(tmp_path: Path) -> None:
    first = World(tmp_path / "peers.json")
    member = first.meet(first.people.member(), addresses=("192.0.2.9:9",))
    first.known.advance(NOW)
    again = World(tmp_path / "peers.json", first.people)
    assert again.known.to_try() == [
        INVITER,
        EndpointAddress(endpoint_id=member.id, addresses=("192.0.2.9:9",)),
    ]
    again.meet(member, addresses=("192.0.2.10:10",), linked=True)
    assert again.known.to_try()[1].addresses == ("192.0.2.10:10",), "a record is newer than a file"
    again.known.keep()
    assert World(tmp_path / "peers.json", first.people).known.to_try()[1].addresses == ("192.0.2.10:10",)


def test_a_member_whose_record_ended_stays_known(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    member = world.meet(world.people.member())
    world.known.keep()
    world.table.expire(NOW + 10**6)
    world.known.keep()
    assert World(tmp_path / "peers.json", world.people).tried() == [INVITER.endpoint_id, member.id]


def test_the_revoked_are_neither_called_nor_kept(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    by_id, by_ticket = (world.meet(world.people.member()) for _ in range(2))
    world.known.keep()
    entry = world.table.get(by_ticket.id)
    assert entry is not None
    revocations = make_revocations(
        world.people.issuer,
        previous=None,
        now=NOW,
        endpoint_ids=[by_id.id, INVITER.endpoint_id],
        serials=[entry.admitted.serial],
    )
    again = World(tmp_path / "peers.json", world.people)
    assert len(again.tried()) == 3
    assert again.policy.offer_revocations_untrusted(revocations.encode(), NOW)
    assert again.tried() == []
    again.known.keep()
    assert json.loads((tmp_path / "peers.json").read_text()) == {}


def test_holders_of_one_ticket_leave_room_for_others(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    shared = world.people.ticket()
    for _ in range(KNOWN_PER_TICKET_MAX + 4):
        world.meet(world.people.member(ticket=shared))
    other = world.meet(world.people.member())
    world.known.keep()
    kept = World(tmp_path / "peers.json", world.people).tried()
    assert other.id in kept
    assert len(kept) == 1 + KNOWN_PER_TICKET_MAX + 1


def test_who_is_linked_comes_before_who_was_known(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    before = [world.meet(world.people.member()) for _ in range(KNOWN_PEERS_MAX)]
    world.known.keep()
    world.meet(world.people.member())
    world.known.keep()
    assert set(world.known._kept) == {member.id for member in before}, "a newcomer displaces nobody"
    linked = world.meet(world.people.member(), linked=True)
    world.known.keep()
    assert linked.id in world.known._kept
    assert len(world.known._kept) == KNOWN_PEERS_MAX


GOOD = {"addresses": ["192.0.2.1:1"], "relay_url": None, "serial": "ab" * 16}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"zz": GOOD}).encode(),
        json.dumps({"ab" * 31: GOOD}).encode(),
        json.dumps({"ab" * 32: 1}).encode(),
        json.dumps({"ab" * 32: {**GOOD, "serial": "ab"}}).encode(),
        json.dumps({"ab" * 32: {**GOOD, "addresses": ["example.org:1"]}}).encode(),
        json.dumps({"ab" * 32: {**GOOD, "addresses": [1]}}).encode(),
        json.dumps({"ab" * 32: {**GOOD, "addresses": ["192.0.2.1:1"] * 9}}).encode(),
        json.dumps({"ab" * 32: {**GOOD, "relay_url": 1}}).encode(),
    ],
)
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "peers.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    world = World(path)
    assert world.tried() == [INVITER.endpoint_id]
    assert not path.exists()
    assert (tmp_path / "peers.json.damaged").read_bytes() == content
    assert "was set aside" in caplog.text


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"ab" * 32: GOOD}))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        World(path)


def test_a_full_disk_stops_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    world = World(tmp_path / "peers.json")
    world.path.mkdir()
    world.meet(world.people.member())
    for second in range(3):
        world.known.advance(NOW + second * KEEP_INTERVAL_S)
    assert caplog.text.count("cannot be kept") == 1
    world.path.rmdir()
    world.known.advance(NOW + 3 * KEEP_INTERVAL_S)
    assert world.path.exists()


def test_this_node_does_not_call_itself(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    member = world.meet(world.people.member())
    own = KnownPeers(
        world.path.parent,
        own_id=member.id,
        inviters=(dataclasses.replace(INVITER, endpoint_id=member.id),),
        members=world.policy,
        entries=world.table.entries,
        connected=lambda _: False,
    )
    assert own.to_try() == []
    own.keep()
    assert not world.path.exists()


def test_who_is_leaving_is_no_neighbour_but_stays_known(tmp_path: Path) -> None:
    world = World(tmp_path / "peers.json")
    stays = world.meet(world.people.member())
    leaves = world.meet(world.people.member(), leaving=True)
    assert [address.endpoint_id for address in world.known.present()] == [stays.id]
    world.known.keep()
    assert set(world.known._kept) == {stays.id, leaves.id}

"""Revocation on a running node: who is named, who goes with them, who may do it, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.people import NOW, Member, People
from sealmesh.console.members import RevocationWish
from sealmesh.errors import ConfigError, RequestError, VerificationError
from sealmesh.gossip.table import RecordTable
from sealmesh.identity.admission import Role
from sealmesh.identity.keys import IssuerKey
from sealmesh.node.home import Home
from sealmesh.node.keyfiles import KeyFiles
from sealmesh.node.members import MemberKeeper, mesh_status, put_out


@dataclass
class Desk:
    """A keeper of a mesh of four: this node, two that share a ticket, and one with its own."""

    people: People
    own: Member
    twins: tuple[Member, Member]
    other: Member
    keeper: MemberKeeper
    told: list[int]


def desk(home: Home, *, issuer: bool = True) -> Desk:
    people = People()
    with home.lock():
        if issuer:
            key = KeyFiles(home.path, None).make(IssuerKey, "issuer", people.random)
            people.issuer = key
    policy = people.policy()
    shared = people.ticket()
    own, other = people.member(), people.member(Role.CLIENT)
    twins = (people.member(ticket=shared), people.member(ticket=shared))
    table = RecordTable()
    for member in (own, *twins, other):
        admitted = policy.admit_untrusted(member.shown, member.id, NOW)
        table.add_untrusted(member.record(), member.shown, admitted, NOW)
    told: list[int] = []
    keeper = MemberKeeper(
        home,
        policy,
        own_id=own.id,
        mesh_name="home",
        entries=table.entries,
        connected=lambda one: one == other.id,
        tell=lambda: told.append(policy.revocations.sequence if policy.revocations else 0),
        now=lambda: NOW + 5,
    )
    return Desk(people, own, twins, other, keeper, told)


def is_in(desk: Desk, member: Member) -> bool:
    try:
        desk.keeper._policy.admit_untrusted(member.shown, member.id, NOW + 5)
    except VerificationError:
        return False
    return True


def test_members_are_shown_with_their_tickets_and_ages(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    shown = made.keeper.members()
    assert (shown.issuer, shown.mesh.name, shown.mesh.revoked, shown.mesh.revocations_issued) == (True, "home", 0, 0)
    by_id = {member.endpoint_id: member for member in shown.members}
    assert [member.endpoint_id for member in shown.members if member.own] == [made.own.id.hex()]
    assert [member.endpoint_id for member in shown.members if member.connected] == [made.other.id.hex()]
    assert by_id[made.other.id.hex()].roles == ("client",)
    assert {member.record_age_s for member in shown.members} == {5.0}
    assert by_id[made.twins[0].id.hex()].serial == by_id[made.twins[1].id.hex()].serial


async def test_with_an_endpoint_goes_its_ticket_and_who_joined_with_it(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    one, two = made.twins
    done = await made.keeper.revoke(RevocationWish(endpoint_id=one.id))
    assert done.endpoint_ids == (one.id.hex(),)
    assert len(done.serials) == 1
    assert set(done.members_out) == {one.id.hex(), two.id.hex()}
    assert [is_in(made, member) for member in (one, two, made.other, made.own)] == [False, False, True, True]
    assert made.told == [1]
    shown = made.keeper.members()
    assert (shown.mesh.revoked, shown.mesh.revocations_issued) == (2, int(NOW + 5))
    assert (shown.revocations.endpoint_ids, shown.revocations.serials) == (done.endpoint_ids, done.serials)


async def test_the_ticket_stays_when_that_is_asked_for(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    one, two = made.twins
    done = await made.keeper.revoke(RevocationWish(endpoint_id=one.id, keep_ticket=True))
    assert (done.serials, done.members_out) == ((), (one.id.hex(),))
    assert [is_in(made, member) for member in (one, two)] == [False, True]


async def test_a_ticket_is_revoked_by_its_serial_and_lists_grow(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    by_id = {member.endpoint_id: member for member in made.keeper.members().members}
    await made.keeper.revoke(RevocationWish(endpoint_id=made.twins[0].id))
    serial = bytes.fromhex(by_id[made.other.id.hex()].serial)
    done = await made.keeper.revoke(RevocationWish(serial=serial))
    assert (done.members_out, done.sequence) == ((made.other.id.hex(),), 2)
    assert [is_in(made, member) for member in (*made.twins, made.other)] == [False, False, False]
    assert made.told == [1, 2]


async def test_this_node_does_not_put_itself_out(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    by_id = {member.endpoint_id: member for member in made.keeper.members().members}
    serial = bytes.fromhex(by_id[made.own.id.hex()].serial)
    for wish in (RevocationWish(endpoint_id=made.own.id, keep_ticket=True), RevocationWish(serial=serial)):
        with pytest.raises(RequestError, match="put out this node itself"):
            await made.keeper.revoke(wish)
    assert (is_in(made, made.own), made.told) == (True, [])


async def test_a_ticket_that_is_not_known_is_not_left_in_force_unsaid(tmp_path: Path) -> None:
    made = desk(Home(tmp_path))
    unseen = made.people.member()
    with pytest.raises(RequestError, match="is not known"):
        await made.keeper.revoke(RevocationWish(endpoint_id=unseen.id))
    assert made.told == []
    await made.keeper.revoke(RevocationWish(endpoint_id=unseen.id, keep_ticket=True))
    assert not is_in(made, unseen)


async def test_only_the_home_with_the_issuer_key_revokes(tmp_path: Path) -> None:
    made = desk(Home(tmp_path), issuer=False)
    assert not made.keeper.members().issuer
    with pytest.raises(RequestError, match="does not hold the mesh's issuer key"):
        await made.keeper.revoke(RevocationWish(endpoint_id=made.other.id))
    assert (is_in(made, made.other), made.told) == (True, [])


def test_the_key_of_another_mesh_revokes_nobody() -> None:
    people = People()
    policy = people.policy()
    with pytest.raises(ConfigError, match="cannot revoke"):
        put_out(policy, People("another").issuer, now=NOW, endpoint_ids=[people.member().id])
    assert policy.revocations is None
    assert mesh_status(policy, "").revoked == 0

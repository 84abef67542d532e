"""Meshes of gossip cores on a virtual clock: they agree, soon, at little cost, whatever happens to the links."""

import itertools
import random

import pytest

from kit.gossip import Net
from kit.people import DAY, NOW
from sealmesh.identity.admission import Role, make_revocations, make_successor
from sealmesh.identity.keys import IssuerKey


def _ring(net: Net, count: int) -> list[bytes]:
    nodes = [net.add() for _ in range(count)]
    for left, right in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        net.link(left, right)
    return nodes


@pytest.mark.parametrize("count", [3, 8, 30])
def test_a_ring_agrees(count):
    net = Net()
    nodes = _ring(net, count)
    net.run(60)
    assert net.converged()
    assert all(len(net.cores[node].table) == count for node in nodes)
    assert net.misbehaved == []


def test_a_full_mesh_agrees_within_a_second():
    net = Net()
    nodes = [net.add() for _ in range(12)]
    for index, left in enumerate(nodes):
        for right in nodes[index + 1 :]:
            net.link(left, right)
    net.run(1)
    assert net.converged()
    assert len(net.cores[nodes[0]].table) == 12


def test_a_change_reaches_everybody_at_once():
    net = Net()
    nodes = _ring(net, 10)
    net.run(60)
    net.publish(nodes[0], name="changed")
    net.run(0.5)
    assert [net.sees(node, nodes[0]) for node in nodes] == ["changed"] * 10


def test_a_newcomer_pulls_the_table_in_one_round_trip():
    net = Net(delay_s=0.1)
    nodes = [net.add() for _ in range(70)]
    for node in nodes[1:]:
        net.link(nodes[0], node)
    net.run(12)
    assert net.converged()
    newcomer = net.add()
    net.link(nodes[50], newcomer)
    net.run(0.21)
    assert len(net.cores[newcomer].table) == 71
    net.run(12)
    assert all(net.sees(node, newcomer) == "node" for node in nodes)


def test_equal_tables_cost_one_digest():
    net = Net()
    nodes = _ring(net, 10)
    net.run(60)
    net.messages = net.bytes = 0
    net.run(100)
    assert net.converged()
    # Ten rounds of ten nodes with both neighbours; a few more where a tick falls on the edge.
    assert net.messages <= 11 * 2 * len(nodes)
    assert net.bytes <= net.messages * 80


def test_a_mesh_that_was_split_heals():
    net = Net()
    nodes = _ring(net, 10)
    net.run(60)
    net.cut(nodes[0], nodes[9])
    net.cut(nodes[4], nodes[5])
    net.publish(nodes[2], name="left")
    net.publish(nodes[7], name="right")
    net.run(30)
    assert net.sees(nodes[7], nodes[2]) == "node"
    assert net.sees(nodes[2], nodes[7]) == "node"
    net.link(nodes[0], nodes[9])
    net.run(60)
    assert net.converged()
    assert net.sees(nodes[7], nodes[2]) == "left"
    assert net.sees(nodes[2], nodes[7]) == "right"


def test_lost_messages_only_delay():
    net = Net()
    dice = random.Random(7)

    def lossy(_sender: bytes, _receiver: bytes, message: bytes) -> list[bytes]:
        return [message] if dice.random() < 0.6 else []

    nodes = [net.add() for _ in range(8)]
    for node in nodes:
        net.meddlers[node] = lossy
    for left, right in itertools.pairwise(nodes):
        net.link(left, right)
    net.run(600)
    assert net.converged()
    assert len(net.cores[nodes[0]].table) == 8


def test_a_goodbye_reaches_everybody_and_the_record_before_it_never_comes_back():
    net = Net()
    nodes = _ring(net, 6)
    net.run(30)
    old = net.cores[nodes[1]].table.get(nodes[0])
    net.publish(nodes[0], leaving=True, expires=int(net.now) + 60)
    net.run(1)
    assert all(net.cores[node].table.get(nodes[0]).summary.leaving for node in nodes[1:])
    net.cut(nodes[0], nodes[1])
    net.cut(nodes[0], nodes[5])
    net.run(300)  # the goodbye itself has expired, the earlier record has not
    assert old.summary.expires > net.now
    for node in nodes[1:]:
        table = net.cores[node].table
        assert table.get(nodes[0]) is None
        assert table.add_untrusted(old.data, old.credentials, old.admitted, net.now).value == "older"


def test_what_is_not_renewed_ends():
    net = Net()
    nodes = _ring(net, 4)
    net.run(30)
    for node in nodes[1:]:
        net.publish(node, expires=int(net.now) + 3600)
    net.changed.clear()
    net.run(3590)
    assert all(net.sees(node, nodes[0]) is None for node in nodes)
    assert {who for who, owner in net.changed if owner == nodes[0]} == set(nodes)
    assert net.sees(nodes[1], nodes[2]) == "node"


def test_a_revocation_reaches_everybody_and_takes_the_record_along():
    net = Net()
    nodes = _ring(net, 8)
    net.run(30)
    assert net.sees(nodes[4], nodes[7]) == "node"
    signed = make_revocations(net.people.issuer, previous=None, now=net.now, endpoint_ids=[nodes[7]])
    net.cores[nodes[0]].policy.offer_revocations_untrusted(signed.encode(), net.now)
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.run(2)
    for node in nodes[:7]:
        assert net.cores[node].policy.revocations_data == signed.encode()
        assert net.sees(node, nodes[7]) is None
    net.run(60)  # the revoked one goes on offering itself
    assert all(net.sees(node, nodes[7]) is None for node in nodes[:7])
    assert set(net.policy_changes) == set(nodes)


def test_who_comes_later_hears_of_the_revocation_too():
    net = Net()
    nodes = _ring(net, 3)
    outcast = net.people.member()
    signed = make_revocations(net.people.issuer, previous=None, now=net.now, endpoint_ids=[outcast.id])
    net.cores[nodes[0]].policy.offer_revocations_untrusted(signed.encode(), net.now)
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.run(30)
    late = net.add()
    net.link(late, nodes[2])
    net.run(1)
    assert net.cores[late].policy.revocations_data == signed.encode()


def test_a_revocation_that_is_taken_back_lets_the_record_in_again():
    net = Net()
    nodes = _ring(net, 4)
    net.run(30)
    first = make_revocations(net.people.issuer, previous=None, now=net.now, endpoint_ids=[nodes[2]])
    policy = net.cores[nodes[0]].policy
    policy.offer_revocations_untrusted(first.encode(), net.now)
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.run(30)
    assert net.sees(nodes[0], nodes[2]) is None
    emptied = type(policy.revocations)(mesh_id=policy.mesh_id, sequence=1, issued=0)
    second = make_revocations(net.people.issuer, previous=emptied, now=net.now)
    policy.offer_revocations_untrusted(second.encode(), net.now)
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.run(1)
    net.publish(nodes[2], name="back")
    net.run(60)
    assert [net.sees(node, nodes[2]) for node in nodes] == ["back"] * 4


def test_a_new_issuer_is_made_known_and_its_members_let_in():
    net = Net()
    nodes = _ring(net, 5)
    net.run(30)
    follower = IssuerKey.generate(net.people.random)
    statement = make_successor(net.people.issuer, follower, now=net.now, predecessor_until=NOW + DAY)
    net.people.issuer = follower
    member = net.people.member()
    policy = net.cores[nodes[0]].policy
    policy.offer_successor_untrusted(statement.encode())
    net.do(nodes[0], net.cores[nodes[0]].policy_changed(net.now))
    net.add(member, policy=policy)
    net.link(member.id, nodes[0])
    net.run(30)
    assert all(net.sees(node, member.id) == "node" for node in nodes)
    assert net.misbehaved == []


def test_an_owner_that_signs_two_records_with_one_sequence_is_shown_everywhere():
    net = Net()
    nodes = _ring(net, 6)
    net.run(30)
    two_faced = net.members[nodes[0]]
    sequence = two_faced.sequence + 1
    for neighbour, name in ((nodes[1], "one face"), (nodes[5], "other face")):
        record = two_faced.record(net.now, sequence=sequence, name=name)
        table = net.cores[neighbour].table
        table.add_untrusted(record, two_faced.shown, table.get(nodes[0]).admitted, net.now)
    net.run(120)
    honest = nodes[1:]
    assert len({net.sees(node, nodes[0]) for node in honest}) == 1
    # Where both came together it shows; who holds the winner from the start hears of no second.
    assert any(net.cores[node].table.equivocating(nodes[0]) for node in honest)
    assert net.converged()


def test_a_node_that_lost_its_sequence_learns_it_from_the_others():
    net = Net()
    nodes = _ring(net, 4)
    net.run(30)
    before = net.members[nodes[0]]
    for neighbour in (nodes[1], nodes[3]):
        net.cut(nodes[0], neighbour)
    highest = net.cores[nodes[1]].table.highest_sequence(nodes[0])
    before.sequence = 0
    net.add(before, publish=False)  # the same endpoint, its state lost, its clock an hour behind
    net.do(before.id, net.cores[before.id].publish(before.record(net.now - 3500), before.shown, net.now))
    net.link(nodes[0], nodes[1])
    net.run(1)
    assert net.overtaken == [(nodes[0], highest)]
    before.sequence = highest
    net.publish(nodes[0], name="back")
    net.run(30)
    assert all(net.sees(node, nodes[0]) == "back" for node in nodes)


def test_a_clients_record_may_live_a_day():
    net = Net()
    client = net.add(net.people.member(Role.CLIENT), publish=False)
    net.publish(client, expires=int(net.now) + DAY)
    other = net.add()
    net.link(client, other)
    net.run(4000)
    assert net.sees(other, client) == "node"

"""How lists of blessed builds spread: the newest wins everywhere, and nobody passes on what it cannot verify."""

from __future__ import annotations

from itertools import pairwise

from kit.builds import DAY, build, draft, signed, trust
from kit.gossip import Net
from kit.people import NOW
from sealmesh.attestation.blessed import BlessedKeeper
from sealmesh.errors import RemoteProtocolError
from sealmesh.gossip.messages import Notices, Root, decode_untrusted, encode
from sealmesh.limits import BLESSED_LIST_MAX, GOSSIP_INTERVAL_S


def line(*trusted: bool) -> tuple[Net, list[bytes], list[BlessedKeeper | None]]:
    """Nodes in a row; those that are not trusting keep no list."""
    net = Net()
    keepers = [BlessedKeeper(trust()) if one else None for one in trusted]
    nodes = [net.add(blessed=keeper) for keeper in keepers]
    for left, right in pairwise(nodes):
        net.link(left, right)
    net.run(1)
    return net, nodes, keepers


def give(net: Net, node: bytes, keeper: BlessedKeeper | None, data: bytes) -> None:
    """What a node does with a list that its operator gave it."""
    assert keeper is not None
    assert keeper.offer_untrusted(data, net.now)
    net.do(node, net.cores[node].blessed_changed(net.now))


def held(keepers: list[BlessedKeeper | None]) -> list[int]:
    return [0 if one is None or one.newest is None else one.newest.version for one in keepers]


def test_a_list_reaches_every_node_that_trusts_it() -> None:
    net, nodes, keepers = line(True, True, True, True)
    give(net, nodes[0], keepers[0], signed(now=NOW))
    net.run(0.5)
    assert held(keepers) == [1, 1, 1, 1]
    give(net, nodes[3], keepers[3], signed(now=NOW, version=2))
    net.run(0.5)
    assert held(keepers) == [2, 2, 2, 2]
    assert sorted(net.blessed_changes) == sorted(nodes * 2)
    assert net.misbehaved == []


def test_a_node_that_trusts_nobody_passes_nothing_on() -> None:
    net, nodes, keepers = line(True, False, True)
    give(net, nodes[0], keepers[0], signed(now=NOW))
    net.run(120)
    assert held(keepers) == [1, 0, 0]
    assert net.misbehaved == []


def test_a_list_that_does_not_hold_is_not_passed_on() -> None:
    net, nodes, keepers = line(True, True, True)
    give(net, nodes[1], keepers[1], signed(now=NOW, version=5))
    net.run(1)
    for bad in (
        draft(now=NOW, version=6),
        signed(now=NOW, version=6, by=["ada"]),
        signed(now=NOW, version=6, by=["eve", "mallory"]),
        signed(now=NOW - 40 * DAY, version=6),
        signed(now=NOW, version=6, name="other"),
        signed(build("bad"), now=NOW, version=4),
        b"none",
    ):
        before = net.messages
        net.do(nodes[1], net.cores[nodes[1]].receive_untrusted(nodes[0], encode(Notices(blessed=bad)), net.now))
        net.run(0.5)
        assert net.messages == before
    assert held(keepers) == [5, 5, 5]
    assert net.misbehaved == []


def test_who_was_away_gets_the_newest_when_it_comes_back() -> None:
    net, nodes, keepers = line(True, True)
    net.cut(*nodes)
    give(net, nodes[0], keepers[0], signed(now=NOW))
    net.link(*nodes)
    net.run(0.5)
    assert held(keepers) == [1, 1]


def test_a_list_that_was_lost_on_the_way_comes_with_a_round() -> None:
    net, nodes, keepers = line(True, True)
    net.meddlers[nodes[0]] = lambda sender, receiver, message: []
    give(net, nodes[0], keepers[0], signed(now=NOW))
    net.run(30)
    assert held(keepers) == [1, 0]
    net.meddlers.clear()
    net.run(80)
    assert held(keepers) == [1, 1]


def test_a_list_that_a_peers_share_did_not_allow_comes_with_the_next_round() -> None:
    """A revocation takes no minute more because the peer had just been sent a whole table."""
    net, nodes, keepers = line(True, True)
    net.meddlers[nodes[0]] = lambda sender, receiver, message: []
    core = net.cores[nodes[0]]
    differs = encode(Root(digest=bytes(32), notices_digest=bytes(32)))
    while core.receive_untrusted(nodes[1], differs, net.now):
        pass  # until nothing of this size is sent to it now
    net.meddlers.clear()
    give(net, nodes[0], keepers[0], signed(*(build(f"b{number}") for number in range(100)), now=NOW))
    assert held(keepers) == [1, 0]
    net.run(2 * GOSSIP_INTERVAL_S)
    assert held(keepers) == [1, 1]


def test_the_same_list_is_not_sent_over_and_over() -> None:
    net, nodes, keepers = line(True, True)
    give(net, nodes[0], keepers[0], signed(now=NOW))
    net.run(1)
    lists = 0

    def count(sender: bytes, receiver: bytes, message: bytes) -> list[bytes]:
        nonlocal lists
        parsed = decode_untrusted(message)
        lists += isinstance(parsed, Notices) and bool(parsed.blessed)
        return [message]

    for node in nodes:
        net.meddlers[node] = count
    net.run(300)
    assert lists == 0
    # One who says again and again that it has nothing gets it once a minute.
    poor = encode(Root(digest=bytes(32), notices_digest=bytes(32), blessed=BlessedKeeper(trust()).held))
    for _ in range(100):
        net.do(nodes[0], net.cores[nodes[0]].receive_untrusted(nodes[1], poor, net.now))
    assert lists == 1


def test_a_trust_of_others_is_no_reason_to_send() -> None:
    net = Net()
    ours, theirs = BlessedKeeper(trust()), BlessedKeeper(trust(threshold=3))
    left, right = net.add(blessed=ours), net.add(blessed=theirs)
    net.link(left, right)
    give(net, left, ours, signed(now=NOW))
    net.run(100)
    assert theirs.newest is None
    assert net.misbehaved == []


def test_bounds() -> None:
    assert decode_untrusted(encode(Notices(blessed=b"x" * BLESSED_LIST_MAX))) == Notices(
        blessed=b"x" * BLESSED_LIST_MAX
    )
    for message in (
        Notices(blessed=b"x" * (BLESSED_LIST_MAX + 1)),
        Root(digest=bytes(32), notices_digest=bytes(32), blessed=b"x" * 39),
    ):
        try:
            decode_untrusted(encode(message))
        except RemoteProtocolError:
            continue
        raise AssertionError(message)

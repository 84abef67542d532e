"""The scenarios of `sealmesh simulate`, each a seeded run that gives figures (docs/reference/simulate.md)."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from sealmesh.errors import ConfigError
from sealmesh.gossip.messages import Buckets, Listing, Record, Records, Root, Want, decode_untrusted, encode
from sealmesh.limits import GOSSIP_INTERVAL_S, PEERS_MAX, SUMMARY_LIFETIME_S
from sealmesh.simulation.mesh import Mesh

NODES_MIN: Final = 8
HOSTS_MAX: Final = 100
_WATCHED_ROUNDS: Final = 30  # a run ends by then, whoever still lacks something
_REST_ROUNDS: Final = 6
_RENEWALS: Final = 4
_LIARS_SHARE: Final = 0.3
_CHURN_PER_MINUTE: Final = 0.2
_REQUESTS_PER_S: Final = 50
_GOODBYE_S: Final = 0.5  # from a node's goodbye to the end of its process


class Scenario(enum.Enum):
    """What happens to the mesh."""

    SPREAD = "spread"
    JOIN = "join"
    CHURN = "churn"
    PARTITION = "partition"
    LIARS = "liars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came out. A round is 10 s; "learned" means that a node had all that it was to learn.

    Attributes:
        scenario: Its name.
        nodes: Nodes at the start.
        hosts: Those of them that have a record.
        seed: Of the run.
        links_mean: Links of a node, on average.
        links_max: Links of the node with the most.
        rounds_p50: Rounds until half of those that had something to learn had learned it.
        rounds_p99: The same for 99 of 100.
        rounds_max: The same for the last one.
        unlearned: Nodes that had not learned it when the run ended.
        seconds_p99: As `rounds_p99`, in seconds.
        bytes_at_rest: Bytes sent by a node in a round in which nothing happens.
        bytes_per_node_round: Bytes sent by a node in a round, with hosts that renew their records each hour; in churn
            and liars while that lasts.
        requests: Picks of a host.
        stale_picks: The share of them that picked a host that was gone.
        violations: Honest records that a node held otherwise than their owners signed them, or that went back.
        misbehaved: How often a node cut a peer off.
        extra_rounds: How many rounds later the last honest node had learned than without liars.
        learned: The share of those that had something to learn that had learned it after 0, 1, 2 … rounds.
    """

    scenario: str
    nodes: int
    hosts: int
    seed: int
    links_mean: float
    links_max: int
    rounds_p50: int
    rounds_p99: int
    rounds_max: int
    unlearned: int
    seconds_p99: float
    bytes_at_rest: float
    bytes_per_node_round: float
    requests: int
    stale_picks: float
    violations: int
    misbehaved: int
    extra_rounds: int
    learned: tuple[float, ...]


def simulate(scenario: Scenario, *, nodes: int, seed: int) -> Figures:
    """Run one scenario; the same arguments give the same figures.

    Args:
        scenario: What happens.
        nodes: How many at the start; 8 to 10,000.
        seed: Any number.

    Raises:
        ConfigError: There are too few nodes for a mesh, or more than one may have.
    """
    if not NODES_MIN <= nodes <= PEERS_MAX:
        raise ConfigError(f"a simulated mesh has {NODES_MIN} to {PEERS_MAX:,} nodes, not {nodes:,}")
    mesh = _settled(nodes, seed)
    links = [len(peers) for peers in mesh.peers.values()]
    at_rest = _bytes_per_node_round(mesh, 3)
    requests = stale = violations = extra = 0
    match scenario:
        case Scenario.SPREAD:
            busy = _renewing(mesh, at_rest)
            owner = min(mesh.hosts)
            mesh.publish(owner)
            mesh.ask([owner])
            _watch(mesh)
        case Scenario.JOIN:
            busy = _join(mesh, max(1, nodes // 10))
        case Scenario.CHURN:
            requests, stale, busy = _churn(mesh)
        case Scenario.PARTITION:
            busy = _partition(mesh)
        case Scenario.LIARS:
            violations, busy = _lie(mesh)
            honest = _settled(nodes, seed)
            _change_and_leave(honest)
            extra = max(0, _rounds(max(mesh.learned.values(), default=0.0)) - _last(honest))
        case _:
            assert_never(scenario)
    times = sorted(mesh.learned.values())
    return Figures(
        scenario=scenario.value,
        nodes=nodes,
        hosts=_hosts(nodes),
        seed=seed,
        links_mean=sum(links) / len(links),
        links_max=max(links),
        rounds_p50=_rounds(_share(times, 0.5)),
        rounds_p99=_rounds(_share(times, 0.99)),
        rounds_max=_rounds(_share(times, 1.0)),
        unlearned=len(mesh.missing),
        seconds_p99=round(_share(times, 0.99), 3),
        bytes_at_rest=round(at_rest, 1),
        bytes_per_node_round=round(busy, 1),
        requests=requests,
        stale_picks=stale / requests if requests else 0.0,
        violations=violations,
        misbehaved=mesh.misbehaved,
        extra_rounds=extra,
        learned=_curve(times, len(mesh.missing)),
    )


# --- what happens ----------------------------------------------------------------------------------------------------


def _hosts(nodes: int) -> int:
    return min(HOSTS_MAX, max(2, nodes // 20))


def _settled(nodes: int, seed: int) -> Mesh:
    mesh = Mesh(seed)
    for index in range(nodes):
        mesh.add(host=index < _hosts(nodes))
    mesh.settle()
    return mesh


def _bytes_per_node_round(mesh: Mesh, rounds: int) -> float:
    before, nodes = mesh.bytes, len(mesh.cores)
    mesh.run(rounds * GOSSIP_INTERVAL_S)
    return (mesh.bytes - before) / nodes / rounds


def _renewing(mesh: Mesh, at_rest: float) -> float:
    """Bytes per node and round where each host renews its record once an hour: measured at once a round, scaled."""
    before, renewed = mesh.bytes, sorted(mesh.hosts)[:_RENEWALS]
    for owner in renewed:
        mesh.publish(owner)
        mesh.run(GOSSIP_INTERVAL_S)
    each = (mesh.bytes - before) / len(mesh.cores) / len(renewed) - at_rest
    return at_rest + each * len(mesh.hosts) * GOSSIP_INTERVAL_S / SUMMARY_LIFETIME_S


def _watch(mesh: Mesh) -> None:
    for _ in range(_WATCHED_ROUNDS):
        if not mesh.missing:
            return
        mesh.run(GOSSIP_INTERVAL_S)


def _join(mesh: Mesh, count: int) -> float:
    """Let `count` nodes, a tenth of them hosts, start within one round; each knows one inviter."""
    inviters = sorted(mesh.cores)
    before, began = mesh.bytes, mesh.now
    fresh = [mesh.add(host=index % 10 == 0) for index in range(count)]
    for who in fresh:
        mesh.link(who, inviters[mesh.random.below(len(inviters))])
    mesh.ask(sorted(mesh.hosts))
    _watch(mesh)
    mesh.run(GOSSIP_INTERVAL_S)
    return (mesh.bytes - before) / len(mesh.cores) / ((mesh.now - began) / GOSSIP_INTERVAL_S)


def _partition(mesh: Mesh) -> float:
    """Split the mesh for a minute in which hosts of both halves change, and note how soon all agree once it heals."""
    before, began = mesh.bytes, mesh.now
    mesh.split()
    owners = sorted(mesh.hosts)[:10]
    for owner in owners:
        mesh.publish(owner)
    mesh.run(6 * GOSSIP_INTERVAL_S)
    mesh.side.clear()
    mesh.ask(owners)
    _watch(mesh)
    return (mesh.bytes - before) / len(mesh.cores) / ((mesh.now - began) / GOSSIP_INTERVAL_S)


def _churn(mesh: Mesh) -> tuple[int, int, float]:
    """A minute in which a fifth of the nodes leave with a goodbye, as many start, and requests pick hosts.

    Returns:
        Requests, how many of them picked a host that was gone, and bytes per node and round.
    """
    before, nodes = mesh.bytes, len(mesh.cores)
    leaving = max(1, int(nodes * _CHURN_PER_MINUTE))
    seconds = 60.0
    events: list[tuple[float, int]] = [(index * seconds / leaving, 0) for index in range(leaving)]
    events += [(index / _REQUESTS_PER_S, 1) for index in range(int(seconds * _REQUESTS_PER_S))]
    began, requests, stale = mesh.now, 0, 0
    ending: list[tuple[float, bytes]] = []
    for at, kind in sorted(events):
        while ending and ending[0][0] <= began + at:
            when, who = ending.pop(0)
            mesh.run(max(0.0, when - mesh.now))
            mesh.gone(who)
        mesh.run(max(0.0, began + at - mesh.now))
        going = {who for _, who in ending}
        here = sorted(who for who in mesh.cores if who not in going)
        who = here[mesh.random.below(len(here))]
        if kind:
            entries = mesh.cores[who].table.entries()
            offers = sorted(entry.summary.endpoint_id for entry in entries if not entry.summary.leaving)
            if offers:
                requests += 1
                stale += offers[mesh.random.below(len(offers))] not in mesh.cores
            continue
        if who in mesh.hosts:
            mesh.publish(who, leaving=True)
        ending.append((mesh.now + _GOODBYE_S, who))
        fresh = mesh.add(host=who in mesh.hosts)
        mesh.link(fresh, here[mesh.random.below(len(here))])
    return requests, stale, (mesh.bytes - before) / nodes / (seconds / GOSSIP_INTERVAL_S)


def _change_and_leave(mesh: Mesh, liars: Collection[bytes] = ()) -> None:
    """One host changes its record, another says goodbye; note when each honest node knows both."""
    changing, leaving = sorted(mesh.hosts)[:2]
    mesh.publish(leaving, leaving=True)
    mesh.publish(changing)
    mesh.ask([changing, leaving])
    for liar in liars:  # what they know is their own affair
        mesh.missing.pop(liar, None)
    _watch(mesh)


def _lie(mesh: Mesh) -> tuple[int, float]:
    """Three of ten nodes lie while honest hosts change and leave; count what their lies changed."""
    before, began = mesh.bytes, mesh.now
    members = sorted(mesh.cores)
    liars: set[bytes] = set()
    while len(liars) < int(len(members) * _LIARS_SHARE):
        who = members[mesh.random.below(len(members))]
        if who not in mesh.hosts:
            liars.add(who)
    old = {owner: (host.record, host.credentials) for owner, host in mesh.hosts.items()}
    for index, who in enumerate(sorted(liars)):
        liar = _Liar(index % 4, old)
        mesh.meddlers[who] = liar
    _change_and_leave(mesh, liars)
    for _ in range(_REST_ROUNDS):
        mesh.run(GOSSIP_INTERVAL_S)
    busy = (mesh.bytes - before) / len(mesh.cores) / ((mesh.now - began) / GOSSIP_INTERVAL_S)
    return sum(_wrong(mesh, who) for who in members if who not in liars), busy


def _wrong(mesh: Mesh, who: bytes) -> int:
    """How many records this node holds otherwise than they stand: altered, rolled back, stripped, resurrected, lost."""
    table, wrong = mesh.cores[who].table, 0
    for owner, host in mesh.hosts.items():
        entry = table.get(owner)
        wrong += (
            entry is None
            or host.signed.get(entry.digest) != host.sequence
            or entry.credentials != host.credentials
            or entry.summary.leaving != host.left
        )
    return wrong


class _Liar:
    """What a member that lies makes of each message of its own.

    Kind 0 passes nothing on and never shows that it lacks anything; 1 alters records; 2 sends those of before; 3 puts
    another owner's credentials beside them.
    """

    def __init__(self, kind: int, old: dict[bytes, tuple[bytes, bytes]]) -> None:
        self._kind = kind
        self._old = [Record(summary=record, credentials=shown) for record, shown in old.values()]

    def __call__(self, sender: bytes, receiver: bytes, message: bytes) -> Iterable[bytes]:
        """See `Net.meddlers`."""
        del sender, receiver  # everybody is lied to alike
        parsed = decode_untrusted(message)
        if self._kind == 0:
            return [message] if isinstance(parsed, Root) else []
        if not isinstance(parsed, Records):
            # It asks like everybody, and offers what it has of before whenever it talks.
            stale = encode(Records(records=tuple(self._old[:8]), push=True))
            return [message, stale] if isinstance(parsed, Buckets | Listing | Want) and self._kind == 2 else [message]
        match self._kind:
            case 1:
                records = [
                    dataclasses.replace(record, summary=record.summary[:-1] + bytes([record.summary[-1] ^ 1]))
                    for record in parsed.records
                ]
            case 2:
                records = self._old[:8]
            case _:
                other = self._old[-1].credentials
                records = [Record(summary=record.summary, credentials=other) for record in parsed.records]
        return [encode(Records(records=tuple(records), push=True))]


# --- figures --------------------------------------------------------------------------------------------------------


def _rounds(seconds: float) -> int:
    return math.ceil(seconds / GOSSIP_INTERVAL_S)


def _last(mesh: Mesh) -> int:
    return _rounds(max(mesh.learned.values(), default=0.0))


def _share(ordered: Sequence[float], share: float) -> float:
    """The least of these times by which that share of them had come; 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _curve(times: Sequence[float], missing: int) -> tuple[float, ...]:
    count = len(times) + missing
    if not count:
        return ()
    last = _rounds(max(times, default=0.0))
    return tuple(
        round(sum(time <= number * GOSSIP_INTERVAL_S for time in times) / count, 4) for number in range(last + 1)
    )

"""Verdicts ahead of need: a verifier and simulated hosts on a virtual clock and a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from kit.attested import VERIFIER_ID, ProvenHost, judge, make_random
from kit.builds import PLATFORM, build, measurement, signed, trust
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.blessed import read_list_untrusted
from sealmesh.attestation.challenge import (
    Answer,
    Challenge,
    ChallengeRefusal,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    encode_answer,
    parse_request_untrusted,
)
from sealmesh.attestation.factors import FactorId, Status, Tier
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import FirstUse, Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import EpochStatement, HostStatement
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.client.challenge import HostLink
from sealmesh.client.remembered import ForgetfulSuites
from sealmesh.client.verify import HostVerifier
from sealmesh.errors import ConfigError, TransportTimeoutError, VerificationError
from sealmesh.identity.signed import Signed
from sealmesh.node.stores import PinEntry, PinStore, SeenSuites
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Connection, Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import MessageReader, StreamKind, encode_message

Mangle = Callable[[Answer], Answer]


@dataclass
class SimulatedHost:
    """A host on the network: honest, unless told otherwise. Epochs of 300 s, the next announced 180 s ahead."""

    host: ProvenHost
    time: VirtualTime
    asked: list[tuple[float, str]] = field(default_factory=list)
    silent: bool = False
    busy: bool = False
    mangle: Mangle | None = None
    epoch_base: int = 0
    _keys: tuple[int, bytes] | None = None

    @property
    def id(self) -> bytes:
        return self.host.endpoint_id

    def epochs(self) -> tuple[Signed, ...]:
        """What an honest host announces at this time."""
        start = self.time.wall - self.time.counted
        number, into = divmod(self.time.counted, 300)
        current = self.host.epoch(start + number * 300, number=self.epoch_base + int(number))
        if into < 120:
            return (current,)
        return (current, self.host.epoch(start + (number + 1) * 300, number=self.epoch_base + int(number) + 1))

    def keys(self) -> bytes:
        """The keys part; a new sequence only when what it says is new."""
        epochs = self.epochs()
        state = hash((epochs[0].part, len(epochs), self.host.statement_key.public))
        if self._keys is None or self._keys[0] != state:
            self._keys = (state, self.host.keys_part(self.time.now(), *epochs))
        return self._keys[1]

    def answer(self, request: object) -> Answer:
        if self.busy:
            return RefusedAnswer(code=ChallengeRefusal.BUSY)
        if isinstance(request, Challenge):
            answer: Answer = self.host.answer(now=self.time.now(), nonce=request.nonce, keys=self.keys(), others=2)
        else:
            answer = KeysAnswer(keys=self.keys())
        return self.mangle(answer) if self.mangle else answer

    async def serve(self, connection: Connection) -> None:
        while True:
            async with await connection.accept() as stream:
                assert await stream.read(1) == bytes([StreamKind.CHALLENGE])
                reader = MessageReader(maximum=64)
                messages: list[bytes] = []
                while data := await stream.read(100):
                    messages += reader.feed_untrusted(data)
                request = parse_request_untrusted(messages[0])
                self.asked.append((self.time.elapsed(), "challenge" if isinstance(request, Challenge) else "keys"))
                await stream.write(encode_message(encode_answer(self.answer(request)), maximum=1 << 20))
                await stream.finish()

    def count(self, what: str) -> int:
        return sum(kind == what for _, kind in self.asked)


class MemoryLink:
    """A link over the network in memory."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def peer_id(self) -> bytes:
        return self._connection.remote_id

    async def open_stream(self, kind: StreamKind) -> Stream:
        stream = await self._connection.open(timeout_s=1)
        await stream.write(bytes([kind]))
        return stream


class Pins:
    def __init__(self) -> None:
        self.pins: dict[bytes, Pin] = {}

    def find_pin(self, endpoint_id: bytes) -> Pin | None:
        return self.pins.get(endpoint_id)

    def pin_first_use(self, endpoint_id: bytes, fingerprint: bytes) -> None:
        self.pins[endpoint_id] = Pin(fingerprint=fingerprint, by_hand=False)


@dataclass
class World:
    policy: Policy = field(default_factory=Policy)
    time: VirtualTime = field(default_factory=VirtualTime)
    suites: ForgetfulSuites = field(default_factory=ForgetfulSuites)
    changes: list[bytes] = field(default_factory=list)
    hosts: dict[bytes, SimulatedHost] = field(default_factory=dict)
    connected: int = 0
    judged: int = 0
    verifier: HostVerifier = field(init=False)

    def __post_init__(self) -> None:
        self.network = MemoryNetwork()
        self._here = self.network.endpoint(VERIFIER_ID)
        self._links: dict[bytes, MemoryLink] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.floors: dict[bytes, int] = {}

        async def run_judgement(judge_now: Callable[[], HostVerdict]) -> HostVerdict:
            self.judged += 1
            return judge_now()

        self.verifier = HostVerifier(
            endpoint_id=VERIFIER_ID,
            policy=self.policy,
            connect=self._connect,
            now=self.time.now,
            elapsed=self.time.elapsed,
            random=make_random(b"nonces"),
            sleep=self.time.sleep,
            keys_floor=lambda endpoint_id: self.floors.get(endpoint_id, 0),
            suites=self.suites,
            on_change=self.changes.append,
            run_judgement=run_judgement,
        )

    def add(self, name: str = "host", **fields: object) -> SimulatedHost:
        host = SimulatedHost(host=ProvenHost(name), time=self.time)
        for key, value in fields.items():
            setattr(host, key, value)
        self.hosts[host.id] = host
        return host

    async def _connect(self, endpoint_id: bytes) -> HostLink:
        self.connected += 1
        host = self.hosts.get(endpoint_id)
        if host is None or host.silent:
            raise TransportTimeoutError("nobody with that id answered in time")
        if endpoint_id not in self._links:
            there = self.network.endpoint(endpoint_id)
            connection = await self._here.connect(there.address(), timeout_s=1)
            self._links[endpoint_id] = MemoryLink(connection)
            self._tasks.append(asyncio.create_task(host.serve(await there.accept())))
        return self._links[endpoint_id]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.verifier.run())
        try:
            await settle()
            yield
        finally:
            for one in (task, *self._tasks):
                one.cancel()
            await asyncio.gather(task, *self._tasks, return_exceptions=True)

    def verified(self, host: SimulatedHost) -> bool:
        return self.verifier.verified(host.id, self.time.now()) is not None


async def test_a_host_is_challenged_on_first_sight() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    assert not world.verified(host)
    assert world.verifier.refusals(host.id) == ()
    async with world.running():
        verified = world.verifier.verified(host.id, world.time.now())
        assert verified is not None
        assert (verified.endpoint_id, verified.tier) == (host.id, Tier.SELF_ASSERTED)
        assert world.verifier.suite_for(verified) is Suite.XWING
        assert world.verifier.refusals(host.id) == ()
        assert world.changes == [host.id]
        assert world.judged == 1
        later = world.add("later")
        world.verifier.note_host(later.id)
        await settle()
        assert world.verified(later)


async def test_a_current_epoch_is_ready_at_every_moment() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        for _ in range(360):
            await world.time.advance(5)
            verified = world.verifier.verified(host.id, world.time.now())
            assert verified is not None, world.time.elapsed()
            assert verified.not_before <= world.time.now() < verified.not_after
    seconds = world.time.elapsed()
    assert host.count("challenge") <= seconds / 400 + 1
    assert host.count("keys") <= seconds / 100


async def test_verdicts_are_renewed_before_they_end() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        await world.time.advance(2000)
    moments = [at for at, kind in host.asked if kind == "challenge"]
    gaps = [b - a for a, b in pairwise(moments)]
    assert gaps
    assert all(300 <= gap <= 480 for gap in gaps)


async def test_a_policy_that_wants_fresh_evidence_gets_it() -> None:
    world = World(policy=Policy(max_age=60))
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        for _ in range(60):
            await world.time.advance(5)
            assert world.verified(host)
    assert host.count("challenge") >= 5


async def test_a_host_that_falls_silent_is_dropped_after_three_tries() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        await world.time.advance(400)
        assert world.verified(host)
        before = world.connected
        host.silent = True
        await world.time.advance(64)  # tries at 420, 435 and 465 s
        assert world.connected - before == 2
        assert world.verifier.verdict(host.id) is not None
        await world.time.advance(1)
        assert world.connected - before == 3
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ("it did not answer 3 times",)
        host.silent = False
        await world.time.advance(11)
        assert world.verified(host)


async def test_a_host_that_was_never_reached_is_asked_less_and_less() -> None:
    world = World()
    host = world.add(silent=True)
    world.verifier.note_host(host.id)
    async with world.running():
        await world.time.advance(3600)
    assert 10 < world.connected < 60


async def test_a_wrong_answer_drops_a_host_at_once() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        await world.time.advance(400)
        host.mangle = lambda answer: (
            ProofAnswer(
                host_statement=answer.host_statement,
                envelope=host.host.envelope(b"another statement"),
                path=answer.path,
                keys=answer.keys,
            )
            if isinstance(answer, ProofAnswer)
            else answer
        )
        await world.time.advance(21)
        assert not world.verified(host)
        assert world.verifier.verdict(host.id) is None
        (reason,) = world.verifier.refusals(host.id)
        assert reason.startswith("it was refused: ")
        assert world.verifier.export(host.id) is None


@pytest.mark.parametrize(
    "mangle",
    [
        lambda answer: KeysAnswer(keys=answer.keys),
        lambda answer: ProofAnswer(host_statement=b"h", envelope=b"e", path=b"", keys=b"k"),
    ],
)
async def test_an_answer_of_the_wrong_kind_is_a_wrong_answer(mangle: Mangle) -> None:
    world = World()
    host = world.add(mangle=mangle)
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verifier.refusals(host.id) != ()
        assert not world.verified(host)


async def test_a_busy_host_keeps_its_verdict_until_it_ends() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        await world.time.advance(270)
        host.busy = True
        await world.time.advance(320)
        assert world.verified(host)
        await world.time.advance(20)
        assert not world.verified(host)
        assert "610 s old" in world.verifier.refusals(host.id)[0]
        host.busy = False
        await world.time.advance(40)
        assert world.verified(host)


async def test_a_host_that_is_busy_from_the_start_says_so() -> None:
    world = World()
    host = world.add(busy=True)
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verifier.refusals(host.id) == ()
        await world.time.advance(10)
        assert world.verifier.refusals(host.id) == ("it answers no challenges now",)
        assert world.verifier.verdict(host.id) is None


async def test_the_policy_decides_and_says_why() -> None:
    world = World(policy=Policy(minimum=Tier.HARDWARE_ROOTED))
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == (
            "its tier is self-asserted, the policy demands hardware-rooted",
            "vendor_chain: no hardware vendor speaks for this host",
        )
        (factor,) = world.verifier.failed_factors(host.id)
        assert (factor.number, factor.id, factor.status) == (10, "vendor_chain", Status.ABSENT)
        assert not world.verifier.waiting(host.id)
        assert world.verifier.verdict(host.id) is not None


async def test_a_policy_without_the_hosts_suites_refuses_it() -> None:
    world = World(policy=Policy(suites=frozenset({2})))
    host = world.add()
    host.host.suites = (1,)
    world.verifier.note_host(host.id)
    async with world.running():
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ("the policy does not allow the host's best suite, x25519",)


async def test_no_policy_chooses_a_weaker_suite_than_the_hosts_best() -> None:
    world = World(policy=Policy(suites=frozenset({1})))
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ("the policy does not allow the host's best suite, xwing",)


async def test_never_a_weaker_suite_once_a_better_one_was_seen() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verified(host)
        assert world.suites.best_suite(host.id) == 2
        host.host.suites = (1,)
        host._keys = None
        await world.time.advance(430)
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ("the host used a stronger suite before",)


async def test_what_was_seen_of_suites_outlives_the_process() -> None:
    world = World()
    world.suites.note_suite(ProvenHost().endpoint_id, 2)
    host = world.add()
    host.host.suites = (1,)
    world.verifier.note_host(host.id)
    async with world.running():
        assert not world.verified(host)


async def test_an_unknown_suite_is_passed_over() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        verified = world.verifier.verified(host.id, world.time.now())
        assert verified is not None
        signed = host.host.epoch(keys={1: b"k" * 32, 9: b"from the future"})
        newer = judge(host.host).host_for(signed, world.time.now())
        world.suites = ForgetfulSuites()
        with pytest.raises(VerificationError, match="stronger suite"):
            world.verifier.suite_for(newer)


async def test_a_refresh_brings_newer_keys() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        before = world.verifier.verified(host.id, world.time.now())
        assert before is not None
        host.epoch_base = 100  # the host rotated at once
        after = await world.verifier.refresh(host.id)
        assert after is not None
        assert after.epoch_digest != before.epoch_digest


async def test_keys_older_than_the_hosts_own_summary_says_are_refused() -> None:
    """RE-15: keys of an earlier time, still within their own, passed off by whoever answers."""
    world = World()
    host = world.add()
    world.floors[host.id] = 1 << 60
    world.verifier.note_host(host.id)
    async with world.running():
        assert not world.verified(host)
        assert "older" in world.verifier.refusals(host.id)[0]


async def test_a_refresh_without_newer_keys_gives_nothing() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert await world.verifier.refresh(host.id) is None
        assert host.count("keys") == 1


async def test_a_refresh_is_forced_once_in_ten_seconds() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        results = await asyncio.gather(*(world.verifier.refresh(host.id) for _ in range(20)))
        assert host.count("keys") == 1
        # Those that came while it ran get what is held now; the dialer compares the epoch.
        current = world.verifier.verified(host.id, world.time.now())
        assert results == [None] + [current] * 19
        await world.time.advance(10)
        await world.verifier.refresh(host.id)
        assert host.count("keys") == 2


async def test_a_refresh_finds_a_restarted_host() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        before = world.verifier.verified(host.id, world.time.now())
        assert before is not None
        host.host.restart("second")
        await world.time.advance(1)
        after = await world.verifier.refresh(host.id)
        assert after is not None
        assert after.epoch_digest != before.epoch_digest
        assert host.count("challenge") == 2


async def test_an_unknown_host_is_not_refreshed() -> None:
    assert await World().verifier.refresh(b"u" * 32) is None


async def test_older_keys_never_replace_newer_ones() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        old = host.keys()
        host.epoch_base = 100
        assert await world.verifier.refresh(host.id) is not None
        known = world.verifier.verified(host.id, world.time.now())
        world.verifier.offer_keys_untrusted(host.id, old)
        assert world.verifier.verified(host.id, world.time.now()) == known
        assert known is not None
        assert known.epoch == 100


async def test_pushed_keys_are_taken() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        host.epoch_base = 100
        world.verifier.offer_keys_untrusted(host.id, host.keys())
        verified = world.verifier.verified(host.id, world.time.now())
        assert verified is not None
        assert verified.epoch == 100


async def test_keys_of_another_endpoint_are_refused() -> None:
    world = World()
    host, other = world.add(), world.add("other")
    world.verifier.note_host(host.id)
    async with world.running():
        with pytest.raises(VerificationError, match="another endpoint's"):
            world.verifier.offer_keys_untrusted(host.id, other.keys())
        assert world.verified(host)


async def test_a_clock_that_is_set_drops_every_verdict() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verified(host)
        host.busy = True
        world.time.set_wall(world.time.wall + 6)
        await world.time.advance(1)
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ("a clock was set; hosts must answer again",)
        host.busy = False
        host._keys = None
        await world.time.advance(3)
        assert world.verified(host)


async def test_a_forgotten_host_is_asked_nothing_more() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        world.verifier.forget(host.id)
        world.verifier.forget(host.id)
        asked = len(host.asked)
        await world.time.advance(1000)
        assert len(host.asked) == asked
        assert not world.verified(host)
        assert world.verifier.refusals(host.id) == ()
        assert world.verifier.verdict(host.id) is None


async def test_the_evidence_is_exported_for_strangers() -> None:
    world = World()
    host = world.add()
    world.verifier.note_host(host.id)
    assert world.verifier.export(host.id) is None
    async with world.running():
        await world.time.advance(310)
        data = world.verifier.export(host.id)
        assert data is not None
        proof = SavedProof.parse_untrusted(data)
        verified = world.verifier.verified(host.id, world.time.now())
        assert verified is not None
    answer = ProofAnswer(host_statement=proof.host_statement, envelope=proof.envelope, path=proof.path, keys=b"-")
    verdict = judge(
        host.host,
        answer,
        epochs=(proof.epoch,),
        now=proof.saved_at,
        nonce=proof.nonce,
        verifier_id=proof.verifier_id,
        endpoint_id=proof.endpoint_id,
    )
    assert verdict.evidence_digest == verified.evidence_digest
    epoch = EpochStatement.parse_untrusted(proof.epoch.part)
    assert epoch.epoch == verified.epoch


async def test_a_software_key_is_not_pinned_on_first_use() -> None:
    pins = Pins()
    world = World(policy=Policy(on_first_use=FirstUse.PIN))
    world.verifier = HostVerifier(
        endpoint_id=VERIFIER_ID,
        policy=world.policy,
        connect=world._connect,
        now=world.time.now,
        elapsed=world.time.elapsed,
        random=make_random(b"nonces"),
        sleep=world.time.sleep,
        pins=pins,
    )
    host = world.add()
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verified(host)
        assert pins.pins == {}
        verdict = world.verifier.verdict(host.id)
        assert verdict is not None
        assert any(one.factor is FactorId.PIN for one in verdict.verdict.factors)


async def test_hosts_that_never_answer_keep_no_other_host_from_being_renewed() -> None:
    """A25: who holds a ticket makes endpoint ids at will; each that does not answer takes a place for 25 s."""
    world = World()
    host = world.add()
    reach = world.verifier._connect

    async def slow(endpoint_id: bytes) -> HostLink:
        if endpoint_id != host.id:
            await world.time.sleep(25)
            raise TransportTimeoutError("nobody with that id answered in time")
        return await reach(endpoint_id)

    world.verifier._connect = slow
    async with world.running():
        world.verifier.note_host(host.id)
        await world.time.advance(1)
        for number in range(64 * 14):
            world.verifier.note_host(number.to_bytes(32, "big"))
        for _ in range(80):
            await world.time.advance(10)
            assert world.verified(host), world.verifier.refusals(host.id)


@pytest.mark.parametrize("where", ["evidence", "disk"])
async def test_a_host_that_cannot_be_judged_costs_no_other_host_its_verdict(where: str, caplog) -> None:
    """A13: what one host sends meets a mistake of ours, or a full disk: it alone is dropped, and nothing ends."""
    world = World()
    good, bad = world.add("good"), world.add("bad")
    verify = world.verifier._judge._verifier.verify_live_untrusted

    def judging(answer: ProofAnswer, **more) -> HostVerdict:
        if more["endpoint_id"] == bad.id:
            raise IndexError("text of a peer")
        return verify(answer, **more)

    def noting(endpoint_id: bytes, suite: int) -> None:
        if endpoint_id == bad.id:
            raise ConfigError("the disk is full")

    if where == "evidence":
        world.verifier._judge._verifier.verify_live_untrusted = judging
    else:
        world.suites.note_suite = noting
    async with world.running():
        world.verifier.note_host(bad.id)
        world.verifier.note_host(good.id)
        await world.time.advance(700)
        assert world.verified(good)
        assert not world.verified(bad)
        assert world.verifier.refusals(bad.id) == ("this node failed in judging it",)
    assert "text of a peer" not in caplog.text


async def test_a_memory_that_is_empty_yet_is_used_all_the_same(tmp_path) -> None:
    """A list without entries is false to Python: a first host's suites and pin would be forgotten at once."""
    world = World()
    suites, pins = SeenSuites(tmp_path / "suites.json"), PinStore(tmp_path / "pins.json")
    world.verifier = HostVerifier(
        endpoint_id=VERIFIER_ID,
        policy=world.policy,
        connect=world._connect,
        now=world.time.now,
        elapsed=world.time.elapsed,
        random=make_random(b"nonces"),
        sleep=world.time.sleep,
        suites=suites,
        pins=pins,
    )
    host = world.add()
    pins.add(PinEntry(endpoint_id=host.id, fingerprint=bytes(32), by="hand", at=1.0))
    world.verifier.note_host(host.id)
    async with world.running():
        assert SeenSuites(tmp_path / "suites.json").best_suite(host.id) == 2
        assert any(one.startswith("pin: ") for one in world.verifier.refusals(host.id))


# --- blessed builds -----------------------------------------------------------------------------------------------


def _policy(*listed: str, version: int = 1, **digests: list[str]) -> Policy:
    now = VirtualTime().now()
    builds = [build(name, **digests) for name in listed]
    found = read_list_untrusted(signed(*builds, now=now, version=version), trust(), now)
    return Policy(blessed_trust=trust()).require_blessed().with_blessed(found)


def _running(world: World, name: str, build_name: str) -> SimulatedHost:
    """A host that says it runs that build."""
    host = world.add(name)
    plain = host.host.statement

    def statement(now: float = 0.0, *, root: bytes = b"", **changes: object) -> HostStatement:
        stated = {"measurement": measurement(build_name), "platform": PLATFORM}
        return plain(now, root=root, **{**stated, **changes})

    host.host.statement = statement  # type: ignore[method-assign]
    return host


async def test_a_build_that_is_taken_off_is_not_sealed_to_any_more() -> None:
    """[BL-13]: at once, and the other host keeps its verdict."""
    world = World(policy=_policy("good", "bad"))
    good, bad = _running(world, "one", "good"), _running(world, "two", "bad")
    for host in (good, bad):
        world.verifier.note_host(host.id)
    async with world.running():
        assert world.verified(good)
        assert world.verified(bad)
        world.verifier.set_policy(_policy("good", version=2))
        assert world.verified(good)
        assert not world.verified(bad)
        assert world.verifier.refusals(bad.id) == ("unblessed: its build is not on version 2 of the list",)
        await settle()
        # Both were asked again, so what their verdicts say is of the new list.
        assert (good.count("challenge"), bad.count("challenge")) == (2, 2)
        verdict = world.verifier.verdict(bad.id)
        assert verdict is not None
        assert [one.status.value for one in verdict.verdict.factors if one.factor is FactorId.MEASUREMENT] == ["fail"]
        await world.time.advance(100)
        assert good.count("challenge") == 2
        world.verifier.set_policy(_policy("good", "bad", version=3))
        assert world.verified(bad)


async def test_what_counts_as_evidence_changed_drops_every_verdict() -> None:
    world = World(policy=_policy("good"))
    host = _running(world, "one", "good")
    world.verifier.note_host(host.id)
    async with world.running():
        assert world.verified(host)
        world.verifier.set_policy(_policy("good", version=2, launch_digests=["ab" * 48]))
        assert not world.verified(host)
        await settle()
        assert world.verified(host)


async def test_an_answer_that_was_judged_by_the_old_policy_does_not_count() -> None:
    world = World(policy=_policy("good"))
    host = _running(world, "one", "good")
    after = _policy("good", version=2, launch_digests=["ab" * 48])

    changed = False

    async def judge_slowly(judge_now: Callable[[], HostVerdict]) -> HostVerdict:
        nonlocal changed
        verdict = judge_now()
        if not changed:
            changed = True
            world.verifier.set_policy(after)
        return verdict

    world.verifier._judge._run = judge_slowly  # type: ignore[assignment]
    world.verifier.note_host(host.id)
    async with world.running():
        await settle()
        assert host.count("challenge") == 2
        assert world.verified(host)

"""The host's side of the challenge stream: batches, bounds, refusals, and what ends badly."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kit.attested import ProvenHost, judge
from kit.virtual_time import START, VirtualTime, settle
from sealmesh.attestation.challenge import (
    REQUEST_MAX,
    Activate,
    ActivatedAnswer,
    Answer,
    Challenge,
    ChallengeRefusal,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    Request,
    encode_request,
    parse_answer_untrusted,
)
from sealmesh.attestation.envelope import Record
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.statement import HostStatement
from sealmesh.errors import AttesterError, AttesterUnavailableError, BusyError, StreamResetError
from sealmesh.host.attest import SoftwareAttester
from sealmesh.host.prove import STREAMS_PER_PEER, HostFacts, Prover, StandingProof
from sealmesh.limits import (
    ACTIVATION_INTERVAL_S,
    ACTIVATIONS_WAITING_MAX,
    CHALLENGE_BATCH_MAX,
    CHALLENGE_MESSAGE_MAX,
    CHALLENGE_TIMEOUT_S,
)
from sealmesh.transport.base import Stream
from sealmesh.transport.memory import MemoryNetwork
from sealmesh.wire.framing import MessageReader, encode_message


def peer(number: int) -> bytes:
    return hashlib.sha256(b"peer %d" % number).digest()


def nonce(number: int) -> bytes:
    return hashlib.sha256(b"nonce %d" % number).digest()


class CountingAttester:
    """A software key that counts its work and fails on demand."""

    def __init__(self, host: ProvenHost, time: VirtualTime) -> None:
        self._inner = SoftwareAttester(host.endpoint_key)
        self._time = time
        self.worked_at: list[float] = []
        self.broken = False
        self.fails: Exception | None = None

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        self.worked_at.append(self._time.elapsed())
        if self.broken:
            raise BusyError("the chip is busy")
        return await self._inner.attest(binding)

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        self.worked_at.append(self._time.elapsed())
        if self.broken:
            raise BusyError("the chip is busy")
        if self.fails is not None:
            raise self.fails
        if id_object != b"for this chip":
            return await self._inner.activate(id_object, encrypted_secret)
        return b"what the chip handed out " + encrypted_secret


@dataclass
class World:
    host: ProvenHost = field(default_factory=ProvenHost)
    time: VirtualTime = field(default_factory=VirtualTime)
    published: list[StandingProof] = field(default_factory=list)
    has_keys: bool = True
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    attester: CountingAttester = field(init=False)
    prover: Prover = field(init=False)

    def __post_init__(self) -> None:
        self.attester = CountingAttester(self.host, self.time)
        self.prover = Prover(
            endpoint_id=self.host.endpoint_id,
            statement_key=self.host.statement_key.public,
            attester=self.attester,
            facts=lambda: HostFacts(backend="local", posture={"swap": "on: none"}, accelerators=("cpu",)),
            keys_part=lambda owner: self.keys if self.has_keys and owner == self.host.endpoint_id else None,
            publish=self.published.append,
            now=self.time.now,
            elapsed=self.time.elapsed,
            sleep=self.time.sleep,
        )
        self.keys = self.host.keys_part(self.time.now())

    async def streams(self, verifier: bytes) -> tuple[Stream, Stream]:
        """A stream from a verifier to the host: the verifier's end, the host's end."""
        here = self.network.endpoint(verifier)
        there = self.network.endpoint(self.host.endpoint_id)
        connection = await here.connect(there.address(), timeout_s=1)
        accepted = await there.accept()
        opened = await connection.open(timeout_s=1)
        await opened.write(b"\x03")
        inbound = await accepted.accept()
        assert await inbound.read(1) == b"\x03"
        return opened, inbound

    async def ask(self, verifier: bytes, request: Request) -> Answer:
        """Ask as a well-behaved verifier would."""
        opened, inbound = await self.streams(verifier)
        serving = asyncio.create_task(self.prover.answer(verifier, inbound))
        async with opened:
            await opened.write(encode_message(encode_request(request), maximum=REQUEST_MAX))
            await opened.finish()
            reader = MessageReader(maximum=CHALLENGE_MESSAGE_MAX)
            messages: list[bytes] = []
            while data := await opened.read(65536):
                messages += reader.feed_untrusted(data)
            reader.finish_untrusted()
        await serving
        (message,) = messages
        return parse_answer_untrusted(message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.prover.renew()
        task = asyncio.create_task(self.prover.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_the_standing_statement_is_published_and_renewed_every_five_minutes() -> None:
    world = World()
    async with world.running():
        await world.time.advance(600)
    statements = [HostStatement.parse_untrusted(one.host_statement) for one in world.published]
    assert [statement.issued - START for statement in statements] == [0, 300, 600]
    assert all(statement.challenge_root == b"" for statement in statements)
    assert statements[0].backend == "local"
    assert world.prover.host_statement_digest == hashlib.sha256(world.published[-1].host_statement).digest()
    assert world.prover.standing == world.published[-1]


async def test_keys_are_given_to_whoever_asks() -> None:
    world = World()
    answer = await world.ask(peer(1), GetKeys(endpoint_id=world.host.endpoint_id))
    assert answer == KeysAnswer(keys=world.keys)


async def test_unknown_endpoints_have_no_keys() -> None:
    world = World()
    assert await world.ask(peer(1), GetKeys(endpoint_id=peer(9))) == RefusedAnswer(
        code=ChallengeRefusal.UNKNOWN_ENDPOINT
    )


async def test_a_challenge_is_answered_and_verifies() -> None:
    world = World()
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(1))))
        await world.time.advance(1)
        answer = await asked
    assert isinstance(answer, ProofAnswer)
    assert answer.keys == world.keys
    verdict = judge(world.host, answer, nonce=nonce(1), verifier_id=peer(1), now=world.time.now())
    assert verdict.verdict.tier is Tier.SELF_ASSERTED
    assert verdict.statement.backend == "local"


async def test_one_operation_answers_all_who_wait() -> None:
    world = World()
    async with world.running():
        asked = [asyncio.create_task(world.ask(peer(one), Challenge(nonce=nonce(one)))) for one in range(5)]
        await world.time.advance(1)
        answers = [await one for one in asked]
    assert world.attester.worked_at == [0, 1]
    for number, answer in enumerate(answers):
        assert isinstance(answer, ProofAnswer)
        judge(world.host, answer, nonce=nonce(number), verifier_id=peer(number), now=world.time.now())


async def test_the_attester_works_at_most_once_a_second() -> None:
    world = World()
    async with world.running():
        for number in range(4):
            asked = asyncio.create_task(world.ask(peer(number), Challenge(nonce=nonce(number))))
            await world.time.advance(0.7)
            await world.time.advance(0.7)
            await asked
    gaps = [b - a for a, b in zip(world.attester.worked_at, world.attester.worked_at[1:], strict=False)]
    assert len(gaps) >= 3
    assert min(gaps) >= 1.0 - 1e-9


async def test_a_second_challenge_of_a_peer_is_refused_while_one_waits() -> None:
    world = World()
    async with world.running():
        first = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(1))))
        await settle()
        assert await world.ask(peer(1), Challenge(nonce=nonce(2))) == RefusedAnswer(code=ChallengeRefusal.BUSY)
        await world.time.advance(1)
        assert isinstance(await first, ProofAnswer)


async def test_a_full_batch_refuses_more() -> None:
    world = World()
    waiting = [world.prover._admit_challenge(peer(one), nonce(one)) for one in range(CHALLENGE_BATCH_MAX)]
    assert all(waiting)
    assert await world.ask(peer(5000), Challenge(nonce=nonce(1))) == RefusedAnswer(code=ChallengeRefusal.BUSY)


async def test_a_broken_attester_is_said_and_survived() -> None:
    world = World()
    async with world.running():
        world.attester.broken = True
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(1))))
        await world.time.advance(1)
        assert await asked == RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)
        world.attester.broken = False
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(2))))
        await world.time.advance(1)
        assert isinstance(await asked, ProofAnswer)


async def test_a_renewal_that_fails_is_tried_again() -> None:
    world = World()
    async with world.running():
        world.attester.broken = True
        await world.time.advance(300)
        assert len(world.published) == 1
        world.attester.broken = False
        await world.time.advance(300)
        assert len(world.published) == 2


async def test_a_node_without_keys_answers_no_challenge() -> None:
    world = World(has_keys=False)
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(1))))
        await world.time.advance(1)
        assert await asked == RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)


async def test_who_waits_when_the_prover_ends_is_told() -> None:
    world = World()
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(1))))
        await settle()
    assert await asked == RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\x00\x00",
        encode_message(b"", maximum=64),
        encode_message(b"\xff" * 10, maximum=64),
        b"\x00\x00\x04\x01" + b"x" * 1025,
    ],
    ids=["nothing", "cut", "empty", "garbage", "long"],
)
async def test_a_malformed_request_resets_the_stream(request_bytes: bytes) -> None:
    world = World()
    opened, inbound = await world.streams(peer(1))
    serving = asyncio.create_task(world.prover.answer(peer(1), inbound))
    await settle()
    if request_bytes:
        await opened.write(request_bytes)
    await opened.finish()
    await serving
    with pytest.raises(StreamResetError):
        await opened.read(100)


async def test_bytes_that_came_with_the_kind_are_part_of_the_request() -> None:
    world = World()
    opened, inbound = await world.streams(peer(1))
    request = encode_message(encode_request(GetKeys(endpoint_id=world.host.endpoint_id)), maximum=64)
    await world.prover.answer(peer(1), inbound, request)
    reader = MessageReader(maximum=CHALLENGE_MESSAGE_MAX)
    (message,) = reader.feed_untrusted(await opened.read(65536))
    assert parse_answer_untrusted(message) == KeysAnswer(keys=world.keys)


async def test_one_request_a_stream_is_answered() -> None:
    world = World()
    opened, inbound = await world.streams(peer(1))
    request = encode_message(encode_request(GetKeys(endpoint_id=world.host.endpoint_id)), maximum=64)
    await opened.write(2 * request)
    await world.prover.answer(peer(1), inbound)
    reader = MessageReader(maximum=CHALLENGE_MESSAGE_MAX)
    messages: list[bytes] = []
    while data := await opened.read(65536):
        messages += reader.feed_untrusted(data)
    assert len(messages) == 1


async def test_a_peer_that_leaves_may_challenge_again() -> None:
    world = World()
    async with world.running():
        opened, inbound = await world.streams(peer(1))
        serving = asyncio.create_task(world.prover.answer(peer(1), inbound))
        await opened.write(encode_message(encode_request(Challenge(nonce=nonce(1))), maximum=64))
        await settle()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(StreamResetError):
            await opened.read(10)
        asked = asyncio.create_task(world.ask(peer(1), Challenge(nonce=nonce(2))))
        await world.time.advance(1)
        assert isinstance(await asked, ProofAnswer)


async def test_a_peer_has_few_streams_at_once() -> None:
    world = World()
    pairs = [await world.streams(peer(1)) for _ in range(STREAMS_PER_PEER + 1)]
    serving = [asyncio.create_task(world.prover.answer(peer(1), inbound)) for _, inbound in pairs]
    await settle()
    assert [task.done() for task in serving] == [False] * STREAMS_PER_PEER + [True]
    with pytest.raises(StreamResetError):
        await pairs[-1][0].read(1)
    other = await world.ask(peer(2), GetKeys(endpoint_id=world.host.endpoint_id))
    assert isinstance(other, KeysAnswer)
    for opened, _ in pairs:
        await opened.reset()
    await asyncio.gather(*serving)
    assert isinstance(await world.ask(peer(1), GetKeys(endpoint_id=world.host.endpoint_id)), KeysAnswer)


async def test_a_software_key_activates_nothing() -> None:
    with pytest.raises(AttesterUnavailableError, match="no chip"):
        await SoftwareAttester(ProvenHost().endpoint_key).activate(b"identity", b"seed")


# --- activations ------------------------------------------------------------------------------------------------------

CREDENTIAL = Activate(id_object=b"for this chip", encrypted_secret=b"seed")
BUSY = RefusedAnswer(code=ChallengeRefusal.BUSY)


async def test_a_credential_goes_to_the_chip_and_its_secret_back() -> None:
    world = World()
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await world.time.advance(1)
        assert await asked == ActivatedAnswer(secret=b"what the chip handed out seed")
        assert "handed out" not in repr(await asked)


async def test_one_activation_a_peer_and_hour() -> None:
    world = World()
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await settle()
        assert await world.ask(peer(1), CREDENTIAL) == BUSY
        await world.time.advance(1)
        assert isinstance(await asked, ActivatedAnswer)
        worked = len(world.attester.worked_at)
        for _ in range(5):
            assert await world.ask(peer(1), CREDENTIAL) == BUSY
        assert len(world.attester.worked_at) == worked
        await world.time.advance(ACTIVATION_INTERVAL_S - 1)
        assert await world.ask(peer(1), CREDENTIAL) == BUSY
        other = asyncio.create_task(world.ask(peer(2), CREDENTIAL))
        await world.time.advance(1)
        assert isinstance(await other, ActivatedAnswer)
        again = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await world.time.advance(1)
        assert isinstance(await again, ActivatedAnswer)


async def test_few_activations_wait_and_quotes_are_made_between_them() -> None:
    world = World()
    async with world.running():
        before = world.time.elapsed()
        credentials = [asyncio.create_task(world.ask(peer(one), CREDENTIAL)) for one in range(ACTIVATIONS_WAITING_MAX)]
        await settle()
        challenge = asyncio.create_task(world.ask(peer(90), Challenge(nonce=nonce(1))))
        await settle()
        assert await world.ask(peer(91), CREDENTIAL) == BUSY
        while not challenge.done():
            await world.time.advance(1)
        assert isinstance(await challenge, ProofAnswer)
        assert world.time.elapsed() - before <= CHALLENGE_TIMEOUT_S / 2
        await world.time.advance(5)
        answers = await asyncio.gather(*credentials)
        assert all(isinstance(one, ActivatedAnswer) for one in answers)
        late = asyncio.create_task(world.ask(peer(91), CREDENTIAL))
        await world.time.advance(1)
        assert isinstance(await late, ActivatedAnswer)
    gaps = [b - a for a, b in zip(world.attester.worked_at, world.attester.worked_at[1:], strict=False)]
    assert min(gaps) >= 1.0 - 1e-9


async def test_a_chip_that_does_not_hand_out_the_secret_is_said_and_asked_no_more() -> None:
    world = World()
    async with world.running():
        asked = asyncio.create_task(world.ask(peer(1), Activate(id_object=b"for another", encrypted_secret=b"seed")))
        await world.time.advance(1)
        assert await asked == RefusedAnswer(code=ChallengeRefusal.NOT_ACTIVATED)
        assert await world.ask(peer(1), CREDENTIAL) == BUSY


async def test_a_chip_that_cannot_answer_now_may_be_asked_again() -> None:
    world = World()
    async with world.running():
        world.attester.broken = True
        asked = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await world.time.advance(1)
        assert await asked == RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)
        world.attester.broken = False
        asked = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await world.time.advance(1)
        assert isinstance(await asked, ActivatedAnswer)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AttesterError("the chip's own code", code=0x1DF), ChallengeRefusal.NOT_ACTIVATED),
        (AttesterError("full of others' keys", code=0x902, momentary=True), ChallengeRefusal.UNAVAILABLE),
        (AttesterUnavailableError("no chip"), ChallengeRefusal.NOT_ACTIVATED),
        (AttesterError("the TPM did not answer in time"), ChallengeRefusal.UNAVAILABLE),
        (BusyError("busy"), ChallengeRefusal.UNAVAILABLE),
    ],
)
async def test_a_chip_that_says_no_is_told_from_one_that_says_nothing(error: Exception, code: int) -> None:
    world = World()
    async with world.running():
        world.attester.fails = error
        asked = asyncio.create_task(world.ask(peer(1), CREDENTIAL))
        await world.time.advance(1)
        assert await asked == RefusedAnswer(code=code)

"""`--require-attested-hosts` against hosts that lie (A04, A06, A07, A08): each is refused for what it lacks, by name.

The asker's own verifier, directory and dialer, and the host's own prover, over a network in memory; only what a liar
would change is changed. That the prompt never leaves is counted: no sealed stream is opened. By real processes and
emulated TPMs: tests/acceptance/test_lying_hosts.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest

from kit.attested import make_random
from kit.chips import REQUIRING, STRANGER, ChipAttester
from kit.proven import World
from kit.tpm import ModelTpm, p256
from kit.virtual_time import VirtualTime
from sealmesh.attestation.challenge import Answer, Challenge, ProofAnswer, Request
from sealmesh.attestation.envelope import Record
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import EpochStatement
from sealmesh.attestation.vendors import software
from sealmesh.client.asker import AppRequest
from sealmesh.client.counters import Counters
from sealmesh.client.dial import Dialer
from sealmesh.client.remembered import NoPins
from sealmesh.errors import HostLostError, RemoteProtocolError, RoutingError, RoutingFault
from sealmesh.gossip.record import KeysPart
from sealmesh.host.attest import SoftwareAttester
from sealmesh.host.prove import Attester, Prover
from sealmesh.identity.keys import EndpointKey, StatementKey
from sealmesh.routing.directory import Directory, HostOffer
from sealmesh.transport.base import Stream
from sealmesh.wire.operations import Operation

KEY = EndpointKey.from_seed(b"endpoint".ljust(32))
ASKED = AppRequest(
    operation=Operation.CHAT_COMPLETIONS,
    model="m",
    body=b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
    stream=False,
)


class Lying(Prover):
    """A host whose answers are not what an honest one's would be."""

    async def _answer(self, peer: bytes, request: Request) -> Answer:
        answer = await super()._answer(peer, request)
        return self.lie(answer) if isinstance(answer, ProofAnswer) else answer

    def lie(self, answer: ProofAnswer) -> ProofAnswer:
        return answer


class SwappedKey(Lying):
    """A04: inference keys that somebody else made, in a keys part that the endpoint key signed."""

    def lie(self, answer: ProofAnswer) -> ProofAnswer:
        now = self._now()
        forged = EpochStatement(
            endpoint_id=KEY.public,
            epoch=1,
            not_before=now,
            not_after=now + 300,
            keys={1: bytes(range(32))},
            host_statement_digest=bytes(32),
        ).sign(StatementKey.from_seed(b"somebody".ljust(32)))
        part = KeysPart(
            endpoint_id=KEY.public,
            sequence=int(now * 1000) + 10**9,
            issued=int(now),
            expires=int(now) + 900,
            epoch_statements=(forged.encode(),),
        )
        return replace(answer, keys=part.sign(KEY))


class Replayed(Lying):
    """A08: the answer to another challenge."""

    async def _answer(self, peer: bytes, request: Request) -> Answer:
        if isinstance(request, Challenge):
            request = Challenge(nonce=bytes(32))
        return await super()._answer(peer, request)


class Stale(Prover):
    """A08: a statement of two hours ago, with evidence that is right for it."""

    async def _attest(self, challenge_root: bytes) -> tuple[bytes, bytes]:
        today = self._now
        self._now = lambda: today() - 7200
        try:
            return await super()._attest(challenge_root)
        finally:
            self._now = today


class NoEvidence(SoftwareAttester):
    """A record that is there and counts for nothing."""

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        record = (await super().attest(binding))[software.LABEL]
        return {"key": Record(type="application/x-of-no-kind", data=record.data, role=record.role)}


class Borrowed(ChipAttester):
    """A07: a genuine chip's quote, made for its own host."""

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        records = dict(await super().attest(hashlib.sha256(b"of another host" + binding).digest()))
        return {name: record for name, record in records.items() if name != software.LABEL}


def refusing(_: bytes, __: bytes) -> bytes:
    raise RemoteProtocolError("integrity")


def somebodys_chip(id_object: bytes, encrypted_secret: bytes) -> bytes:
    """The genuine chip whose certificate is shown, and whom each credential is passed on to."""
    try:
        return ModelTpm("chip", ek=p256("chip ek")).activate(id_object, encrypted_secret)
    except ValueError as error:
        raise RemoteProtocolError("integrity") from error


def world_of(what: str, time: VirtualTime) -> World:
    """A host of that kind, and the asker."""
    attesters: dict[str, Attester] = {
        "software key only": SoftwareAttester(KEY),
        "no evidence": NoEvidence(KEY),
        "another host's evidence": Borrowed(KEY, time),
        "failed activation": ChipAttester(KEY, time, activates=refusing),
        "activation answered with something else": ChipAttester(KEY, time, activates=lambda *_: bytes(32)),
    }
    provers = {"swapped inference key": SwappedKey, "replayed challenge": Replayed, "stale statement": Stale}
    attester = attesters.get(what) or ChipAttester(KEY, time)
    if what == "a key beside somebody's chip":
        assert isinstance(attester, ChipAttester)
        attester.tpm.ak = p256("a key of no chip")
        attester.activates = somebodys_chip
    policy: Policy = STRANGER if what == "unknown maker" else REQUIRING
    pins = Pinned() if what == "hardware key changed" else NoPins()
    return World(
        time=time, policy=policy, attester=attester, prover_kind=provers.get(what, Prover), memories={"pins": pins}
    )


class Pinned(NoPins):
    """The asker holds the host to another chip's key."""

    def find_pin(self, endpoint_id: bytes) -> Pin | None:
        return Pin(fingerprint=b"\xab" * 32, by_hand=True)


def dialer(world: World) -> Dialer:
    verifier = world.verifier
    directory = Directory(
        verified=verifier.verified,
        refusals=verifier.refusals,
        waiting=verifier.waiting,
        failed_factors=verifier.failed_factors,
    )
    directory.put(HostOffer(endpoint_id=KEY.public, models={"m": 100}))
    return Dialer(
        directory=directory,
        keys=verifier,
        open_stream=world.open_sealed,
        open_plain=world.open_sealed,  # counted like any other
        rtt_ms=lambda _: 1.0,
        now=world.time.now,
        random=make_random(b"requests"),
        counters=Counters(),
    )


CASES = {
    "software key only": ("vendor_chain", "no hardware vendor speaks for this host"),
    "no evidence": ("binding", "no evidence of a known type"),
    "another host's evidence": ("binding", "made for something else"),
    "swapped inference key": ("epoch_statement", "did not sign these inference keys"),
    "stale statement": ("freshness", "the host statement has expired"),
    "replayed challenge": ("own_nonce", "answers another challenge"),
    "failed activation": ("activation", "the activation has failed"),
    "activation answered with something else": ("activation", "did not hand out the secret"),
    "a key beside somebody's chip": ("activation", "the activation has failed"),
    "unknown maker": ("vendor_chain", "pinned root"),
    "hardware key changed": ("pin", f"{'ab' * 32} is pinned, it showed "),
}


@pytest.mark.parametrize("what", CASES)
async def test_a_lying_host_is_refused_for_what_it_lacks_and_gets_no_prompt(what: str) -> None:
    world = world_of(what, VirtualTime())
    factor, words = CASES[what]
    async with world.running():
        await world.advance(5)
        with pytest.raises(RoutingError) as refused:
            await dialer(world).ask(ASKED)
        assert refused.value.fault is RoutingFault.NO_ATTESTED_HOST
        assert words in refused.value.refused[KEY.public.hex()]
        assert factor in [one["id"] for one in refused.value.failed_factors[KEY.public.hex()]]
        assert world.sealed_opened == 0


async def test_the_honest_host_gets_it() -> None:
    """Else every refusal above could be for any reason."""
    world = world_of("honest", VirtualTime())

    async def serve(_: bytes, stream: Stream) -> None:
        await stream.reset()

    world.serve = serve
    async with world.running():
        await world.advance(5)
        with pytest.raises(HostLostError):
            await dialer(world).ask(ASKED)
        assert world.sealed_opened == 1


async def test_each_reason_is_its_own() -> None:
    assert len(set(CASES.values())) == len(CASES) - 1  # a chip that refuses does so for one reason

"""A host and its evidence, made with the real code: what an honest host says, and pieces to lie with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sealmesh.attestation.challenge import ChallengeTree, ProofAnswer, leaf
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import EpochStatement, HostStatement, binding, statement_digest
from sealmesh.attestation.vendors import software
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.gossip.record import KeysPart, next_sequence
from sealmesh.identity.keys import EndpointKey, StatementKey
from sealmesh.identity.signed import Signed
from sealmesh.limits import EPOCH_S, KEYS_LIFETIME_S

NOW = 1_800_000_000.0
VERIFIER_ID = hashlib.sha256(b"the verifier's endpoint").digest()
NONCE = hashlib.sha256(b"the verifier's nonce").digest()


def make_random(seed: bytes = b"random") -> Callable[[int], bytes]:
    """Bytes that look random and are the same in every run."""
    count = 0

    def random(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(seed + count.to_bytes(8, "big")).digest(length)

    return random


@dataclass
class ProvenHost:
    """An honest host with a software key, and everything that it signs with."""

    name: str = "host"
    suites: tuple[int, ...] = (1, 2)
    endpoint_key: EndpointKey = field(init=False)
    statement_key: StatementKey = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.endpoint_key = EndpointKey.from_seed(hashlib.sha256(f"{self.name} endpoint".encode()).digest())
        self.restart()

    def restart(self, process: str = "first") -> None:
        """A new process of the same endpoint: another statement key."""
        self.statement_key = StatementKey.from_seed(hashlib.sha256(f"{self.name} {process}".encode()).digest())

    @property
    def endpoint_id(self) -> bytes:
        return self.endpoint_key.public

    def statement(self, now: float = NOW, *, root: bytes = b"", **changes: object) -> HostStatement:
        statement = HostStatement(
            endpoint_id=self.endpoint_id,
            statement_key=self.statement_key.public,
            posture={"core_dumps": "off: RLIMIT_CORE=0"},
            backend="in-process",
            accelerators=("a gpu",),
            model_digests=(hashlib.sha256(b"model").digest(),),
            issued=now,
            expires=now + 3600,
            challenge_root=root,
        )
        return replace(statement, **changes)  # type: ignore[arg-type]

    def epoch(self, now: float = NOW, *, number: int = 1, lifetime: float = EPOCH_S, **changes: object) -> Signed:
        """A signed epoch statement; its inference keys are of the right length and open nothing."""
        lengths = {1: 32, 2: 1216}
        statement = EpochStatement(
            endpoint_id=self.endpoint_id,
            epoch=number,
            not_before=now,
            not_after=now + lifetime,
            keys={
                suite: hashlib.shake_256(f"{self.name} {number} {suite}".encode()).digest(lengths[suite])
                for suite in self.suites
            },
            host_statement_digest=statement_digest(self.statement(now).encode()),
        )
        return replace(statement, **changes).sign(self.statement_key)  # type: ignore[arg-type]

    def keys_part(self, now: float = NOW, *epochs: Signed) -> bytes:
        """The signed keys part, each one with a higher sequence."""
        self.sequence = next_sequence(self.sequence, now)
        return KeysPart(
            endpoint_id=self.endpoint_id,
            sequence=self.sequence,
            issued=int(now),
            expires=int(now) + KEYS_LIFETIME_S,
            epoch_statements=tuple(signed.encode() for signed in epochs or (self.epoch(now),)),
        ).sign(self.endpoint_key)

    def envelope(self, host_statement: bytes, *extra: tuple[str, Record]) -> bytes:
        record = software.make_record(self.endpoint_key, binding(host_statement))
        return Envelope(records={software.LABEL: record, **dict(extra)}).encode()

    def answer(
        self,
        *,
        now: float = NOW,
        nonce: bytes = NONCE,
        verifier_id: bytes = VERIFIER_ID,
        others: int = 0,
        keys: bytes | None = None,
        **changes: object,
    ) -> ProofAnswer:
        """The answer to a challenge that waits among `others`."""
        leaves = [leaf(bytes([one]) * 32, VERIFIER_ID) for one in range(others)]
        tree = ChallengeTree([*leaves, leaf(nonce, verifier_id)])
        host_statement = self.statement(now, root=tree.root, **changes).encode()
        return ProofAnswer(
            host_statement=host_statement,
            envelope=self.envelope(host_statement),
            path=tree.path(others),
            keys=self.keys_part(now) if keys is None else keys,
        )


def judge(
    host: ProvenHost,
    answer: ProofAnswer | None = None,
    *,
    epochs: tuple[Signed, ...] | None = None,
    now: float = NOW,
    verifier: Verifier | None = None,
    endpoint_id: bytes | None = None,
    nonce: bytes = NONCE,
    verifier_id: bytes = VERIFIER_ID,
) -> HostVerdict:
    """Have the real verifier judge a host's answer."""
    return (verifier or Verifier(policy=Policy())).verify_live_untrusted(
        answer or host.answer(now=now),
        epochs=(host.epoch(now),) if epochs is None else epochs,
        endpoint_id=endpoint_id or host.endpoint_id,
        nonce=nonce,
        verifier_id=verifier_id,
        now=now,
    )


def verified_host(host: ProvenHost | None = None, *, now: float = NOW, epoch: Signed | None = None) -> VerifiedHost:
    """A host to seal to, by the real verifier on a real answer.

    Args:
        host: Who; a fresh one without it.
        now: Unix seconds.
        epoch: Signed by the host's statement key; one with keys that open nothing without it.
    """
    host = host or ProvenHost()
    signed = epoch or host.epoch(now)
    return judge(host, now=now, epochs=(signed,)).host_for(signed, now)

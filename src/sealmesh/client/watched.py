"""What is held of each host that is watched: its verdict, its keys, and how asking it goes."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.factors import Factor
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import statement_digest
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.client.ahead import host_of_now
from sealmesh.errors import VerificationError
from sealmesh.gossip.record import KEYS_FACTOR, parse_keys_untrusted
from sealmesh.identity.signed import Signed
from sealmesh.limits import EPOCH_STATEMENT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A verified keys part's worth.

    Attributes:
        sequence: Of the part.
        epochs: The epoch statements in it, as received.
        host_statement: The standing statement, as received; empty if there is none.
        envelope: Its evidence, as received.
    """

    sequence: int
    epochs: tuple[Signed, ...]
    host_statement: bytes = b""
    envelope: bytes = b""


def read_keys_untrusted(data: bytes, endpoint_id: bytes, *, floor: int, now: float) -> Keys:
    """Read a keys part.

    Args:
        data: As received.
        endpoint_id: Whose it should be, 32 bytes.
        floor: The least sequence that counts [RE-15].
        now: Unix seconds.

    Raises:
        VerificationError: It is none of that endpoint that counts now.
    """
    part = parse_keys_untrusted(data, now)
    if part.endpoint_id != endpoint_id:
        raise VerificationError(KEYS_FACTOR, "the keys part is another endpoint's")
    if part.sequence < floor:
        # Older than what the owner told everybody: somebody passes off keys of an earlier time [RE-15].
        raise VerificationError(
            KEYS_FACTOR, "the keys part is an older one", expected=f"at least {floor}", got=str(part.sequence)
        )
    epochs = tuple(
        Signed.decode_untrusted(statement, maximum=EPOCH_STATEMENT_MAX, factor="epoch_statement")
        for statement in part.epoch_statements
    )
    if not epochs:
        raise VerificationError(KEYS_FACTOR, "the keys part names no inference keys")
    return Keys(
        sequence=part.sequence,
        epochs=epochs,
        host_statement=part.host_statement,
        envelope=part.hardware_attestation_blob,
    )


class Activating(enum.Enum):
    """How it stands with the activation of a host's hardware key."""

    UNTRIED = "untried"
    PENDING = "pending"  # the host is busy or silent: it is asked again soon
    FAILED = "failed"  # its chip does not hand out the secret
    DONE = "done"


@dataclass(slots=True, eq=False)
class Watched:
    """What is held of one host.

    Attributes:
        verdict: The live one; None while there is none.
        last: The verdict that stood last, also after a drop: what no later answer of the same process may contradict.
        keys: Its newest keys part.
        hosts: To seal to, one for each epoch.
        proof: The answer that the verdict is about, and the nonce that it answered.
        refusal: Why there is no verdict, in words.
        failed: The factors that it was refused for.
        waiting: Without a verdict: whether it may get one by waiting.
        unavailable: Refusals in a row that say that the host can make no evidence.
        activating: How it stands with its hardware key's activation.
        activate_at: When that is tried again, by the clock that counts sleep.
        activation_tries: In a row, without an answer of the chip.
        silent, busy: Tries in a row without an answer, and with the answer that it cannot now.
        dropped: How often it was dropped since it last answered rightly.
        generation: Rises with each drop, and with each change of the policy: what was asked before counts no more.
        outdated: Judged by a policy that has changed since.
        said: What the log said last of whether it is used.
    """

    verdict: HostVerdict | None = None
    last: HostVerdict | None = None
    keys: Keys | None = None
    hosts: tuple[VerifiedHost, ...] = ()
    proof: tuple[ProofAnswer, bytes] | None = None
    refusal: str = ""
    failed: tuple[Factor, ...] = ()
    waiting: bool = True
    unavailable: int = 0
    activating: Activating = Activating.UNTRIED
    activate_at: float = float("-inf")
    activation_tries: int = 0
    silent: int = 0
    busy: int = 0
    dropped: int = 0
    generation: int = 0
    outdated: bool = False
    said: tuple[str, ...] = ()
    fetched_at: float = float("-inf")
    refreshed_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def drop(self, reason: str, *, failed: tuple[Factor, ...], waiting: bool) -> None:
        """The verdict ends: why in words and factors, and whether a new one may come by waiting."""
        self.verdict, self.hosts, self.proof = None, (), None
        self.refusal, self.failed, self.waiting = reason, failed, waiting
        self.silent = 0
        self.dropped += 1
        self.generation += 1

    def judge_anew(self) -> None:
        """The policy has changed: whatever is under way counts no more, and the host is asked again, now."""
        self.generation += 1
        self.outdated = self.verdict is not None
        self.wake.set()

    def export(self, endpoint_id: bytes, *, verifier_id: bytes, now: float) -> bytes | None:
        """The live answer and what it is about as a file that a stranger can check; None without a verdict.

        Args:
            endpoint_id: The host's, 32 bytes.
            verifier_id: This node's own, 32 bytes.
            now: Unix seconds.
        """
        if self.verdict is None or self.proof is None or self.keys is None:
            return None
        answer, nonce = self.proof
        current = host_of_now(self.hosts, now)
        epochs = [one for one in self.keys.epochs if current and statement_digest(one.part) == current.epoch_digest]
        return SavedProof(
            endpoint_id=endpoint_id,
            verifier_id=verifier_id,
            nonce=nonce,
            path=answer.path,
            saved_at=self.verdict.verified_at,  # the live answer is in the file, not what extended it
            host_statement=answer.host_statement,
            envelope=answer.envelope,
            epoch=(epochs or self.keys.epochs)[0],
        ).encode()

    async def pause(self, seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait so long, or until somebody wakes who watches."""
        waking = asyncio.ensure_future(self.wake.wait())
        sleeping = asyncio.ensure_future(sleep(seconds))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            sleeping.cancel()

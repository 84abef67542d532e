"""Activation, the verifier's side: a host's chip shows that the key that answers lives in it [CH-19]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sealmesh.attestation.challenge import (
    Activate,
    ActivatedAnswer,
    ChallengeRefusal,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
)
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory, ActivationTarget
from sealmesh.client.ahead import activation_pause
from sealmesh.client.challenge import HostLink, ask_host
from sealmesh.client.judging import Judge
from sealmesh.client.watched import Activating, Watched
from sealmesh.errors import RemoteProtocolError, TransportError
from sealmesh.limits import ACTIVATION_INTERVAL_S

#: An activation is done anew so long before the last one is forgotten: a busy chip then costs no verdict.
AHEAD_S: Final = ACTIVATION_INTERVAL_S


class Activator:
    """Has chips activate keys, and remembers which did.

    Args:
        memory: Which chips this verifier saw activate which keys.
        judge: Where the CPU work is done, and what must be on the disk.
        now: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set.
        random: Random bytes.
    """

    def __init__(
        self,
        memory: ActivationMemory,
        *,
        judge: Judge,
        now: Callable[[], float],
        elapsed: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._memory = memory
        self._judge = judge
        self._now = now
        self._elapsed = elapsed
        self._random = random

    def due_in(self, host: Watched) -> float:
        """Seconds until a host's chip is to be asked again; infinite where nothing is to be asked."""
        if host.verdict is None or host.activating is not Activating.PENDING:
            return float("inf")
        return host.activate_at - self._elapsed()

    async def activate(self, link: HostLink, host: Watched, target: ActivationTarget | None) -> bool:
        """Do one activation, if one is wanted and it is time for it.

        Args:
            link: To the host.
            host: What is held of it.
            target: The keys that it has shown; None where no key waits for an activation.

        Returns:
            Whether its chip has just shown that it holds both keys.

        Raises:
            VerificationError: It handed out something else, or the endorsement key is none that a secret can be made
                for; factor `activation`.
            RemoteProtocolError: The answer is to something else.
        """
        if target is None or self.is_settled(target):
            host.activating = Activating.UNTRIED if target is None else Activating.DONE
            return False
        if self._elapsed() < host.activate_at:
            return False
        host.activate_at = self._elapsed() + ACTIVATION_INTERVAL_S
        activation = await self._judge.in_time(lambda: target.begin(self._random))
        credential = activation.credential
        request = Activate(id_object=credential.id_object, encrypted_secret=credential.encrypted_secret)
        try:
            answer = await ask_host(link, request)
        except TransportError:
            answer = RefusedAnswer(code=ChallengeRefusal.UNAVAILABLE)  # it has answered the challenge: not silent
        match answer:
            case RefusedAnswer(code=ChallengeRefusal.NOT_ACTIVATED):  # [CH-20]
                host.activating, host.activation_tries = Activating.FAILED, 0
                return False
            case RefusedAnswer():
                host.activation_tries += 1
                host.activating = Activating.PENDING
                spread = self._random(1)[0] / 256
                host.activate_at = self._elapsed() + activation_pause(host.activation_tries, spread=spread)
                return False
            case KeysAnswer() | ProofAnswer():
                raise RemoteProtocolError("an activation was answered with something else")
            case ActivatedAnswer():
                secret = answer.secret
        host.activating, host.activation_tries = Activating.FAILED, 0  # until it is settled
        await self._judge.in_time(lambda: self._memory.settle_untrusted(activation, secret, self._now()))
        host.activating = Activating.DONE
        return True

    def is_settled(self, target: ActivationTarget | None) -> bool:
        """Whether no key waits for an activation, or this verifier saw it and will not forget it soon."""
        ahead = self._now() + AHEAD_S
        return target is None or self._memory.holds(target.digest, target.attestation.name, ahead)

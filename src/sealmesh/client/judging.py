"""Where verdicts are worked out: never on the event loop for long, and never without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.policy import FirstUse, Policy
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.client.remembered import PinBook, SuiteMemory
from sealmesh.errors import BusyError, VerificationError
from sealmesh.identity.signed import Signed
from sealmesh.sealed.suites import Suite, best_suite

#: Threads that judge. One judgement of hardware evidence takes 1 to 5 ms; two, so that a slow one holds up half.
JUDGES: Final = 2
#: A judgement that takes longer has failed: all of them are linear in bounded input, and take milliseconds.
JUDGEMENT_TIMEOUT_S: Final = 5.0

_Result = TypeVar("_Result")


class JudgementTimeoutError(BusyError):
    """A judgement was not done in time. The host that it was about is not used."""


class RunJudgement(Protocol):
    """Does CPU work that takes long, in the caller's task or elsewhere."""

    def __call__(self, judge: Callable[[], _Result], /) -> Awaitable[_Result]:
        """Return what `judge` returns, or raise what it raises."""


async def judge_inline(judge: Callable[[], _Result]) -> _Result:
    """Judge at once, here: for tests, whose time stands still meanwhile."""
    return judge()


class JudgeThreads:
    """Judges in a few threads of its own, so that no other work of the node waits for a verdict, nor holds one up."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=JUDGES, thread_name_prefix="sealmesh-judge")

    async def run(self, judge: Callable[[], _Result], /) -> _Result:
        """See `RunJudgement`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, judge)

    def close(self) -> None:
        """Take nothing more; who is at work ends it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Judge:
    """Judges what hosts answer, in the asker's name: evidence, pins, suites.

    Args:
        verifier: The procedure.
        verifier_id: This node's own endpoint id, 32 bytes.
        policy: The asker's.
        suites: Remembers the best suite of each endpoint.
        pins: The asker's pins.
        now: Unix seconds.
        sleep: Waits so many seconds.
        run: Where the work is done.
    """

    def __init__(
        self,
        *,
        verifier: Verifier,
        verifier_id: bytes,
        policy: Policy,
        suites: SuiteMemory,
        pins: PinBook,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        run: RunJudgement,
    ) -> None:
        self._verifier = verifier
        self._verifier_id = verifier_id
        self._policy = policy
        self._suites = suites
        self._pins = pins
        self._now = now
        self._sleep = sleep
        self._run = run

    def set_policy(self, policy: Policy) -> None:
        """Judge by another policy from now on."""
        self._policy = policy
        self._verifier = self._verifier.with_policy(policy)

    def suite_for(self, host: VerifiedHost) -> Suite:
        """The best suite of the signed statement; no policy chooses a weaker one, and none follows a better [ST-60].

        Raises:
            VerificationError: The host has gone back to a weaker suite, or none is allowed; factor `suite`.
        """
        floor = self._suites.best_suite(host.endpoint_id)
        offered = best_suite(host.keys)
        if offered < floor:
            raise VerificationError("suite", "the host used a stronger suite before", expected=str(floor))
        allowed = self._policy.suites
        if allowed is not None and offered not in allowed:
            raise VerificationError("suite", f"the policy does not allow the host's best suite, {offered.label}")
        return offered

    async def judge_untrusted(
        self, answer: ProofAnswer, epochs: Sequence[Signed], *, endpoint_id: bytes, nonce: bytes
    ) -> HostVerdict:
        """Judge an answer; what must be remembered before it is relied on is on the disk when this returns.

        Raises:
            VerificationError: It does not hold.
            JudgementTimeoutError: It took too long.
        """

        def verify() -> HostVerdict:
            return self._verifier.verify_live_untrusted(
                answer,
                epochs=epochs,
                endpoint_id=endpoint_id,
                nonce=nonce,
                verifier_id=self._verifier_id,
                now=self._now(),
            )

        def judge() -> HostVerdict:
            verdict = verify()
            self.note_suites(verdict.hosts_for(epochs, self._now()))
            return verify() if self._pin_first_use(verdict) else verdict

        return await self.in_time(judge)

    async def extend_untrusted(
        self, verdict: HostVerdict, host_statement: bytes, envelope: bytes
    ) -> HostVerdict | None:
        """Extend a verdict by a standing statement; see `Verifier.extend_untrusted`.

        Raises:
            VerificationError: What came does not hold.
            JudgementTimeoutError: It took too long.
        """
        return await self.in_time(
            lambda: self._verifier.extend_untrusted(verdict, host_statement, envelope, now=self._now())
        )

    def note_suites(self, hosts: Sequence[VerifiedHost]) -> None:
        """Remember the best suite of each, if it is a better one than before."""
        for one in hosts:
            known = [suite for suite in Suite if suite in one.keys]
            if known and max(known) > self._suites.best_suite(one.endpoint_id):
                self._suites.note_suite(one.endpoint_id, max(known))

    def _pin_first_use(self, verdict: HostVerdict) -> bool:
        """Pin what was shown first, if the policy says so; True if there is a new pin."""
        if self._policy.on_first_use is not FirstUse.PIN or verdict.fingerprint is None:
            return False
        if self._pins.find_pin(verdict.endpoint_id) is not None:
            return False
        self._pins.pin_first_use(verdict.endpoint_id, verdict.fingerprint)
        return self._pins.find_pin(verdict.endpoint_id) is not None

    async def in_time(self, judge: Callable[[], _Result]) -> _Result:
        """Do CPU work where verdicts are worked out, or give up.

        Raises:
            JudgementTimeoutError: It was not done within `JUDGEMENT_TIMEOUT_S`.
        """
        judging = asyncio.ensure_future(self._run(judge))
        timing = asyncio.ensure_future(self._sleep(JUDGEMENT_TIMEOUT_S))
        try:
            await asyncio.wait({judging, timing}, return_when=asyncio.FIRST_COMPLETED)
            if not judging.done() or judging.cancelled():
                raise JudgementTimeoutError("a judgement was not done in time")
            return judging.result()
        finally:
            timing.cancel()
            judging.cancel()

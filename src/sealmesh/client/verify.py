"""Keeps a live verdict and the current epoch's keys for each known host, ahead of need.

At request time nothing is asked of anybody: `verified` looks up. A host is challenged when it is first seen and again
before its verdict ends; its keys part is fetched as its epochs are announced. A wrong answer drops a host at once,
silence has three tries (docs/spec/challenge.md, "The verifier").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sealmesh.attestation.challenge import NONCE_BYTES, ProofAnswer
from sealmesh.attestation.clocks import ClockGuard
from sealmesh.attestation.factors import Factor, FactorId
from sealmesh.attestation.kinds import live_registry
from sealmesh.attestation.later import check_same_hardware
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.client.activate import Activator
from sealmesh.client.ahead import ASKED_AT_ONCE, BUSY_COUNTED, TICK_S, fetch_due, host_of_now, renewal_due, retry_pause
from sealmesh.client.challenge import HostLink, NoEvidenceError, ask_keys, ask_proof
from sealmesh.client.judging import Judge, JudgementTimeoutError, RunJudgement, judge_inline
from sealmesh.client.refusing import NO_EVIDENCE, factors_of, failed_factors, may_help_to_wait, words_of
from sealmesh.client.remembered import ForgetfulSuites, NoPins, PinBook, SuiteMemory
from sealmesh.client.watched import Keys, Watched, read_keys_untrusted
from sealmesh.errors import BusyError, RemoteProtocolError, TransportError, VerificationError
from sealmesh.limits import (
    CHALLENGE_TRIES,
    PEERS_MAX,
    REFRESH_INTERVAL_S,
)
from sealmesh.sealed.suites import Suite

_log = logging.getLogger("sealmesh.client")


class HostVerifier:
    """Verdicts on hosts, ahead of need.

    Args:
        endpoint_id: This node's own id, 32 bytes: it is in each challenge's leaf.
        policy: The asker's.
        connect: Gives a link to a host, connecting first where needed; raises TransportError.
        now: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set.
        random: Random bytes.
        sleep: Waits so many seconds.
        keys_floor: The least sequence of a host's keys part that still counts, by its own summary [RE-15].
        suites: Remembers the best suite of each endpoint.
        pins: The asker's pins.
        activations: Which chips this verifier saw activate which keys.
        verifier: Judges; the default has the default registry, with those memories.
        on_change: Called with a host's endpoint id when what is known of it has changed.
        run_judgement: Where the CPU work of a verdict, and what must be on the disk first, is done.
    """

    def __init__(
        self,
        *,
        endpoint_id: bytes,
        policy: Policy,
        connect: Callable[[bytes], Awaitable[HostLink]],
        now: Callable[[], float],
        elapsed: Callable[[], float],
        random: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]],
        keys_floor: Callable[[bytes], int] = lambda _: 0,
        suites: SuiteMemory | None = None,
        pins: PinBook | None = None,
        activations: ActivationMemory | None = None,
        verifier: Verifier | None = None,
        on_change: Callable[[bytes], None] = lambda _: None,
        run_judgement: RunJudgement = judge_inline,
    ) -> None:
        self._endpoint_id = endpoint_id
        self._policy = policy
        self._connect = connect
        self._now = now
        self._elapsed = elapsed
        self._random = random
        self._sleep = sleep
        self._keys_floor = keys_floor
        # A memory that is empty yet is false to Python, and is one all the same.
        pins = NoPins() if pins is None else pins
        activations = ActivationMemory() if activations is None else activations
        registry = live_registry(activations.holds)
        self._on_change = on_change
        self._judge = Judge(
            verifier=verifier or Verifier(policy=policy, find_pin=pins.find_pin, registry=registry),
            verifier_id=endpoint_id,
            policy=policy,
            suites=ForgetfulSuites() if suites is None else suites,
            pins=pins,
            now=now,
            sleep=sleep,
            run=run_judgement,
        )
        self._activator = Activator(activations, judge=self._judge, now=now, elapsed=elapsed, random=random)
        self._hosts: dict[bytes, Watched] = {}
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._renewing = asyncio.Semaphore(ASKED_AT_ONCE)
        self._group: asyncio.TaskGroup | None = None

    # --- what is known ------------------------------------------------------------------------------------------

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        """The host to seal to at `now`, or None while there is none that the policy accepts."""
        host = self._hosts.get(endpoint_id)
        if host is None or host.verdict is None or self._policy.refusals(host.verdict, now):
            return None
        found = host_of_now(host.hosts, now)
        if found is None:
            return None
        try:
            found.check_fresh(now)
            self.suite_for(found)
        except VerificationError:
            return None
        return found

    def refusals(self, endpoint_id: bytes) -> tuple[str, ...]:
        """Why a host is not sealed to, in words; empty for one that is, or that was not judged yet."""
        host = self._hosts.get(endpoint_id)
        if host is None:
            return ()
        if host.verdict is None:
            return (host.refusal,) if host.refusal else ()
        now = self._now()
        reasons = list(self._policy.refusals(host.verdict, now))
        found = host_of_now(host.hosts, now)
        if found is None:
            reasons.append("it has announced no keys for this time")
        else:
            try:
                found.check_fresh(now)
                self.suite_for(found)
            except VerificationError as error:
                reasons.append(error.reason)
        if not reasons:
            return ()
        if host.unavailable:
            reasons.append(NO_EVIDENCE)
        failed = failed_factors(host, self._policy, now)
        return (*reasons, *words_of(tuple(one for one in failed if one.reason not in reasons)))

    def failed_factors(self, endpoint_id: bytes) -> tuple[Factor, ...]:
        """The factors that a host fails, or lacks for the policy; empty for one that is used."""
        host = self._hosts.get(endpoint_id)
        return () if host is None else failed_factors(host, self._policy, self._now())

    def waiting(self, endpoint_id: bytes) -> bool:
        """Whether waiting may help with a host that is not used: it is silent, busy, or not judged yet."""
        host = self._hosts.get(endpoint_id)
        if host is None:
            return True
        now = self._now()
        found = host_of_now(host.hosts, now)
        if found is not None:
            try:
                self.suite_for(found)
            except VerificationError:
                return False
        return may_help_to_wait(host, self._policy, now)

    def set_policy(self, policy: Policy) -> None:
        """The asker's policy has changed: it counts from the next look on, and every host is judged anew [BL-13]."""
        # What it says of vendors' evidence was looked at when a host answered.
        evidence_changed = policy.vendors != self._policy.vendors
        self._policy = policy
        self._judge.set_policy(policy)
        if evidence_changed:
            self._drop_all("what counts as good evidence has changed; hosts must answer again")
        for endpoint_id, host in self._hosts.items():
            host.judge_anew()
            self._on_change(endpoint_id)

    def suite_for(self, host: VerifiedHost) -> Suite:
        """The best suite of the signed statement; no policy chooses a weaker one, and none follows a better [ST-60].

        Raises:
            VerificationError: The host has gone back to a weaker suite, or none is allowed; factor `suite`.
        """
        return self._judge.suite_for(host)

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        """The live verdict on a host, accepted by the policy or not."""
        host = self._hosts.get(endpoint_id)
        return None if host is None else host.verdict

    def fingerprint(self, endpoint_id: bytes) -> bytes | None:
        """Of the hardware key that a host showed last, accepted or not; None where there was none to be pinned."""
        host = self._hosts.get(endpoint_id)
        return None if host is None or host.last is None else host.last.fingerprint

    def export(self, endpoint_id: bytes) -> bytes | None:
        """The evidence for the verdict as a file that a stranger can check (`sealmesh verify`)."""
        host = self._hosts.get(endpoint_id)
        return None if host is None else host.export(endpoint_id, verifier_id=self._endpoint_id, now=self._now())

    # --- which hosts --------------------------------------------------------------------------------------------

    def note_host(self, endpoint_id: bytes) -> None:
        """A host is known: challenge it, and keep its verdict from now on. Again: look at it now, if it was lost."""
        host = self._hosts.get(endpoint_id)
        if host is not None:
            if host.verdict is None and host.dropped <= 1:
                host.wake.set()
            return
        if len(self._hosts) >= PEERS_MAX:
            _log.warning("more than %d hosts: the newest is not watched", PEERS_MAX)
            return
        host = self._hosts[endpoint_id] = Watched()
        if self._group is not None:
            self._start(endpoint_id, host)

    def forget(self, endpoint_id: bytes) -> None:
        """A host has left, or its record ended."""
        host = self._hosts.pop(endpoint_id, None)
        if host is not None and host.task is not None:
            host.task.cancel()

    def reconsider(self, endpoint_id: bytes, reason: str) -> None:
        """What a verdict rests on here was changed, as a pin: the host is not used until it has answered again.

        Args:
            endpoint_id: Whose.
            reason: In words, for whoever asks meanwhile.
        """
        host = self._hosts.get(endpoint_id)
        if host is not None:
            self._drop(endpoint_id, host, reason, waiting=True)
            host.dropped = 0
            host.wake.set()

    async def run(self) -> None:
        """Keep the verdicts until cancelled."""
        guard = ClockGuard(self._now(), self._elapsed())
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for endpoint_id, host in self._hosts.items():
                    self._start(endpoint_id, host)
                while True:
                    await self._sleep(TICK_S)
                    if guard.parted(self._now(), self._elapsed()):
                        self._drop_all("a clock was set; hosts must answer again")
        finally:
            self._group = None

    async def refresh(self, endpoint_id: bytes) -> VerifiedHost | None:
        """Fetch a host's keys part after it refused a request (`0xE0`), once in `REFRESH_INTERVAL_S` [CH-15].

        Returns:
            The host to try once more: with a keys part of a higher sequence, verified in full; else None. Whoever
            asks while another refresh runs, or shortly after it, gets what that one brought.
        """
        host = self._hosts.get(endpoint_id)
        if host is None:
            return None
        async with host.lock:
            if self._elapsed() - host.refreshed_at < REFRESH_INTERVAL_S:
                return self.verified(endpoint_id, self._now())
            host.refreshed_at = self._elapsed()
            before = host.keys
            await self._guarded(endpoint_id, host, self._fetch_keys)
            if host.keys is before:
                return None
            if host.verdict is None:
                # A newer keys part that the known statement key did not sign: the host's process is a new one.
                await self._guarded(endpoint_id, host, self._challenge)
            return self.verified(endpoint_id, self._now())

    # --- one host -----------------------------------------------------------------------------------------------

    def _start(self, endpoint_id: bytes, host: Watched) -> None:
        assert self._group is not None  # noqa: S101 - called from `run` on
        host.task = self._group.create_task(self._watch(endpoint_id, host), name="sealmesh-verdict")

    async def _watch(self, endpoint_id: bytes, host: Watched) -> None:
        while True:
            host.wake.clear()
            async with host.lock:
                pause = await self._step(endpoint_id, host)
            self._say(endpoint_id, host)
            await host.pause(pause, self._sleep)

    async def _step(self, endpoint_id: bytes, host: Watched) -> float:
        """Ask the host for what is due; return how long to wait, in seconds."""
        now = self._now()
        if host.verdict is None or host.outdated:
            done = await self._guarded(endpoint_id, host, self._challenge)
        elif now >= self._renewal_due(host.verdict):
            done = await self._guarded(endpoint_id, host, self._renew)
        elif self._activator.due_in(host) <= 0:
            done = await self._guarded(endpoint_id, host, self._activate)
        elif now >= self._fetch_due(host, now):
            done = await self._guarded(endpoint_id, host, self._fetch_keys)
        else:
            done = True
        now = self._now()
        if not done:
            left = None if host.verdict is None else self._end(host.verdict) - now
            return retry_pause(failures=host.silent + host.busy, dropped=host.dropped, left=left)
        if host.verdict is None:
            return 0.0
        due = min(self._renewal_due(host.verdict), self._fetch_due(host, now)) - now
        return max(0.0, min(due, self._activator.due_in(host)))

    async def _guarded(
        self, endpoint_id: bytes, host: Watched, ask: Callable[[bytes, Watched], Awaitable[None]]
    ) -> bool:
        """Ask; sort a failure into silence or a wrong answer. True if the host answered rightly."""
        try:
            async with self._asking if host.verdict is None else self._renewing:
                await ask(endpoint_id, host)
        except (VerificationError, RemoteProtocolError) as error:  # [CH-12]
            self._drop(endpoint_id, host, f"it was refused: {error.reason}", failed=factors_of(error))
            _log.warning("host %s dropped: %s", endpoint_id.hex()[:12], error)
            return False
        except JudgementTimeoutError:
            _log.error("judging host %s took too long", endpoint_id.hex()[:12])
            self._drop(endpoint_id, host, "this node was too slow in judging it")
            return False
        except BusyError as error:  # [CH-10]
            host.unavailable = host.unavailable + 1 if isinstance(error, NoEvidenceError) else 0
            # It lives, and says that it cannot now: the verdict ages meanwhile, and ends in its time.
            host.busy = min(host.busy + 1, BUSY_COUNTED)
            if host.verdict is None and host.busy >= CHALLENGE_TRIES:
                host.refusal = "it answers no challenges now"
                host.waiting = not host.unavailable
            return False
        except TransportError as error:  # [CH-13]
            host.silent += 1
            _log.info("host %s did not answer (%s)", endpoint_id.hex()[:12], type(error).__name__)
            if host.silent >= CHALLENGE_TRIES:
                self._drop(endpoint_id, host, f"it did not answer {CHALLENGE_TRIES} times", waiting=True)
            return False
        except Exception as error:
            # A bug of ours, or a full disk: it costs the host its verdict, and no other host anything.
            _log.error("judging host %s failed: %s", endpoint_id.hex()[:12], type(error).__name__)
            self._drop(endpoint_id, host, "this node failed in judging it")
            return False
        host.silent = host.busy = host.unavailable = 0
        return True

    async def _renew(self, endpoint_id: bytes, host: Watched) -> None:
        """Have the verdict last longer: by the hardware's own order, at no cost to it, or by a new nonce."""
        verdict = host.verdict
        if verdict is not None and verdict.order is not None and self._activator.is_settled(verdict.activation):
            await self._fetch_keys(endpoint_id, host)
            if host.verdict is not None and self._now() < self._renewal_due(host.verdict):
                return
        await self._challenge(endpoint_id, host)

    async def _challenge(self, endpoint_id: bytes, host: Watched) -> None:
        """Have the host answer for a fresh nonce, and judge the answer."""
        generation = host.generation
        link = await self._connect(endpoint_id)
        nonce = self._random(NONCE_BYTES)  # [CH-11]
        answer = await ask_proof(link, nonce)
        keys = self._read_keys_untrusted(answer.keys, endpoint_id)
        verdict = await self._judge.judge_untrusted(answer, keys.epochs, endpoint_id=endpoint_id, nonce=nonce)
        if await self._activator.activate(link, host, verdict.activation):
            # The same answer, by a verifier that knows more.
            verdict = await self._judge.judge_untrusted(answer, keys.epochs, endpoint_id=endpoint_id, nonce=nonce)
        if generation != host.generation:
            return  # dropped meanwhile: what was asked before counts no more
        if host.last is not None and host.last.statement.statement_key == verdict.statement.statement_key:
            check_same_hardware({verdict.fingerprint}, host.last.fingerprint)
        if host.keys is not None and keys.sequence < host.keys.sequence:
            # An older keys part beside a new answer: what is known stands, if the statement key still signs it.
            keys = host.keys
        self._adopt(endpoint_id, host, verdict, keys, proof=(answer, nonce))
        host.outdated = False
        host.fetched_at = self._elapsed()
        host.dropped = 0

    async def _activate(self, endpoint_id: bytes, host: Watched) -> None:
        """Ask a chip that had no time before; once it has answered, have the host answer a new nonce."""
        target = None if host.verdict is None else host.verdict.activation
        if await self._activator.activate(await self._connect(endpoint_id), host, target):
            await self._challenge(endpoint_id, host)

    # --- keys parts ---------------------------------------------------------------------------------------------

    async def _fetch_keys(self, endpoint_id: bytes, host: Watched) -> None:
        """Fetch the keys part from its owner; take it in if it is newer, with what it shows by the hardware's order."""
        host.fetched_at = self._elapsed()
        link = await self._connect(endpoint_id)
        answer = await ask_keys(link, endpoint_id)
        before = host.keys
        self.offer_keys_untrusted(endpoint_id, answer)
        if host.keys is not None and host.keys is not before:
            await self._extend(endpoint_id, host, host.keys)

    async def _extend(self, endpoint_id: bytes, host: Watched, keys: Keys) -> None:
        """Extend the verdict by the standing statement of a newer keys part, where its hardware has an order [ST-24].

        Raises:
            VerificationError: What the host shows now does not hold, or is another chip's [ST-25].
        """
        verdict, generation = host.verdict, host.generation
        if verdict is None or verdict.order is None or not keys.host_statement:
            return
        extended = await self._judge.extend_untrusted(verdict, keys.host_statement, keys.envelope)
        if extended is not None and generation == host.generation and host.verdict is verdict:
            self._adopt(endpoint_id, host, extended, keys)

    def offer_keys_untrusted(self, endpoint_id: bytes, data: bytes) -> None:
        """Take in a keys part, fetched or pushed, if it is newer than the known one [CH-14].

        A newer one that the known statement key did not sign ends the verdict: the host's process is a new one, and
        must answer a challenge.

        Raises:
            VerificationError: It is no keys part of that endpoint.
        """
        keys = self._read_keys_untrusted(data, endpoint_id)
        host = self._hosts.get(endpoint_id)
        if host is None or (host.keys is not None and keys.sequence <= host.keys.sequence):
            return
        if host.verdict is None:
            host.keys = keys
            return
        try:
            self._adopt(endpoint_id, host, host.verdict, keys)
        except VerificationError as error:
            self._drop(endpoint_id, host, error.reason, waiting=True)
            host.keys = keys
            host.dropped = 0
            host.wake.set()

    def _read_keys_untrusted(self, data: bytes, endpoint_id: bytes) -> Keys:
        return read_keys_untrusted(data, endpoint_id, floor=self._keys_floor(endpoint_id), now=self._now())

    # --- what is held -------------------------------------------------------------------------------------------

    def _adopt(
        self,
        endpoint_id: bytes,
        host: Watched,
        verdict: HostVerdict,
        keys: Keys,
        *,
        proof: tuple[ProofAnswer, bytes] | None = None,
    ) -> None:
        """Make the hosts to seal to out of a verdict and epoch statements; all of it, or nothing.

        Raises:
            VerificationError: The statement key did not sign one of the epochs.
        """
        hosts = verdict.hosts_for(keys.epochs, self._now())
        self._judge.note_suites(hosts)
        host.verdict, host.last, host.keys, host.hosts = verdict, verdict, keys, hosts
        host.refusal, host.failed = "", ()
        host.proof = proof or host.proof  # before anybody is told: what is exported is the evidence for this verdict
        self._on_change(endpoint_id)

    def _drop(
        self,
        endpoint_id: bytes,
        host: Watched,
        reason: str,
        *,
        failed: tuple[Factor, ...] = (),
        waiting: bool = False,
    ) -> None:
        host.drop(reason, failed=failed, waiting=waiting)
        self._on_change(endpoint_id)

    def _drop_all(self, reason: str) -> None:
        _log.warning("all verdicts dropped: %s", reason)
        for endpoint_id, host in self._hosts.items():
            self._drop(endpoint_id, host, reason, waiting=True)
            host.dropped = 0
            host.wake.set()

    def _say(self, endpoint_id: bytes, host: Watched) -> None:
        """Log why a host is not used, once for each time that this changes; times in the words do not count."""
        lacking = () if host.verdict is None else failed_factors(host, self._policy, self._now())
        said = words_of(tuple(one for one in lacking if one.factor is not FactorId.FRESHNESS))
        if said != host.said:
            host.said = said
            if refusals := self.refusals(endpoint_id):
                _log.warning("host %s is not used: %s", endpoint_id.hex()[:12], "; ".join(refusals))

    def _end(self, verdict: HostVerdict) -> float:
        return min(verdict.expires, verdict.confirmed_at + self._policy.max_age)

    def _renewal_due(self, verdict: HostVerdict) -> float:
        return renewal_due(verdict, self._policy.max_age)

    def _fetch_due(self, host: Watched, now: float) -> float:
        return fetch_due(host.hosts, now=now, since_fetch=self._elapsed() - host.fetched_at)

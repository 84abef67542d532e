"""Keeps a live verdict and the current epoch's keys for each known host, ahead of need.

At request time nothing is asked of anybody: `verified` looks up. A host is challenged when it is first seen and again
before its verdict ends; its keys part is fetched as its epochs are announced. A wrong answer drops a host at once,
silence has three tries (docs/spec/challenge.md, "The verifier").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from sealmesh.attestation.challenge import (
    NONCE_BYTES,
    ActivatedAnswer,
    Challenge,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
)
from sealmesh.attestation.clocks import ClockGuard
from sealmesh.attestation.kinds import live_registry
from sealmesh.attestation.policy import FirstUse, Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import statement_digest
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.client.ahead import fetch_due, host_of_now, renewal_due, retry_pause
from sealmesh.client.challenge import HostLink, ask_host
from sealmesh.client.remembered import ForgetfulSuites, NoPins, PinBook, SuiteMemory
from sealmesh.errors import BusyError, RemoteProtocolError, TransportError, VerificationError
from sealmesh.gossip.record import KEYS_FACTOR, parse_keys_untrusted
from sealmesh.identity.signed import Signed
from sealmesh.limits import (
    CHALLENGE_TRIES,
    EPOCH_STATEMENT_MAX,
    PEERS_MAX,
    REFRESH_INTERVAL_S,
)
from sealmesh.sealed.suites import Suite, best_suite

_log = logging.getLogger("sealmesh.client")

#: Busy answers beyond so many are not counted; the pause has reached its most by then.
BUSY_COUNTED: Final = 8
#: Hosts asked at once: a mesh of silent hosts holds no more tasks than this in a stream. As many again of those that
#: have a verdict: whoever is silent from the start does not keep them from being renewed.
ASKED_AT_ONCE: Final = 64
#: The clocks are compared this often, in seconds.
TICK_S: Final = 1.0


#: Judges in the caller's task or elsewhere; hardware evidence is worth a thread, a software key is not.
RunJudgement = Callable[[Callable[[], HostVerdict]], Awaitable[HostVerdict]]


async def judge_inline(judge: Callable[[], HostVerdict]) -> HostVerdict:
    """Judge at once, here: a software key takes about 0.2 ms."""
    return judge()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """A verified keys part's worth: its sequence and the epoch statements in it."""

    sequence: int
    epochs: tuple[Signed, ...]


@dataclass(slots=True, eq=False)
class _Watched:
    """What is held of one host."""

    verdict: HostVerdict | None = None
    keys: _Keys | None = None
    hosts: tuple[VerifiedHost, ...] = ()
    refusal: str = ""
    proof: tuple[ProofAnswer, bytes] | None = None
    silent: int = 0
    busy: int = 0
    dropped: int = 0
    fetched_at: float = float("-inf")
    refreshed_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


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
        verifier: Judges; the default has the default registry.
        on_change: Called with a host's endpoint id when what is known of it has changed.
        run_judgement: Where the CPU work of a verdict is done.
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
        self._suites = suites or ForgetfulSuites()
        self._pins = pins or NoPins()
        self._verifier = verifier or Verifier(policy=policy, find_pin=self._pins.find_pin, registry=live_registry())
        self._on_change = on_change
        self._run_judgement = run_judgement
        self._hosts: dict[bytes, _Watched] = {}
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
        """Why a host is not sealed to; empty for one that is, or that was not judged yet."""
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
        return tuple(reasons)

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

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        """The live verdict on a host, accepted by the policy or not."""
        host = self._hosts.get(endpoint_id)
        return None if host is None else host.verdict

    def export(self, endpoint_id: bytes) -> bytes | None:
        """The evidence for the verdict as a file that a stranger can check (`sealmesh verify`)."""
        host = self._hosts.get(endpoint_id)
        if host is None or host.verdict is None or host.proof is None or host.keys is None:
            return None
        answer, nonce = host.proof
        current = host_of_now(host.hosts, self._now())
        epochs = [one for one in host.keys.epochs if current and statement_digest(one.part) == current.epoch_digest]
        return SavedProof(
            endpoint_id=endpoint_id,
            verifier_id=self._endpoint_id,
            nonce=nonce,
            path=answer.path,
            saved_at=host.verdict.verified_at,
            host_statement=answer.host_statement,
            envelope=answer.envelope,
            epoch=(epochs or host.keys.epochs)[0],
        ).encode()

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
        host = self._hosts[endpoint_id] = _Watched()
        if self._group is not None:
            self._start(endpoint_id, host)

    def forget(self, endpoint_id: bytes) -> None:
        """A host has left, or its record ended."""
        host = self._hosts.pop(endpoint_id, None)
        if host is not None and host.task is not None:
            host.task.cancel()

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

    def _start(self, endpoint_id: bytes, host: _Watched) -> None:
        assert self._group is not None  # noqa: S101 - called from `run` on
        host.task = self._group.create_task(self._watch(endpoint_id, host), name="sealmesh-verdict")

    async def _watch(self, endpoint_id: bytes, host: _Watched) -> None:
        while True:
            host.wake.clear()
            async with host.lock:
                pause = await self._step(endpoint_id, host)
            await self._pause(host.wake, pause)

    async def _step(self, endpoint_id: bytes, host: _Watched) -> float:
        """Ask the host for what is due; return how long to wait, in seconds."""
        now = self._now()
        if host.verdict is None or now >= self._renewal_due(host.verdict):
            done = await self._guarded(endpoint_id, host, self._challenge)
        elif now >= self._fetch_due(host, now):
            done = await self._guarded(endpoint_id, host, self._fetch_keys)
        else:
            done = True
        if not done:
            return retry_pause(failures=host.silent + host.busy, dropped=host.dropped, holds=host.verdict is not None)
        if host.verdict is None:
            return 0.0
        now = self._now()
        return max(0.0, min(self._renewal_due(host.verdict), self._fetch_due(host, now)) - now)

    async def _guarded(
        self, endpoint_id: bytes, host: _Watched, ask: Callable[[bytes, _Watched], Awaitable[None]]
    ) -> bool:
        """Ask; sort a failure into silence or a wrong answer. True if the host answered rightly."""
        try:
            async with self._asking if host.verdict is None else self._renewing:
                await ask(endpoint_id, host)
        except (VerificationError, RemoteProtocolError) as error:  # [CH-12]
            self._drop(endpoint_id, host, f"it was refused: {error.reason}")
            _log.warning("host %s dropped: %s", endpoint_id.hex()[:12], error)
            return False
        except BusyError:  # [CH-10]
            # It lives, and says that it cannot now: the verdict ages meanwhile, and ends in its time.
            host.busy = min(host.busy + 1, BUSY_COUNTED)
            if host.verdict is None and host.busy >= CHALLENGE_TRIES:
                host.refusal = "it answers no challenges now"
            return False
        except TransportError as error:  # [CH-13]
            host.silent += 1
            _log.info("host %s did not answer (%s)", endpoint_id.hex()[:12], type(error).__name__)
            if host.silent >= CHALLENGE_TRIES:
                self._drop(endpoint_id, host, f"it did not answer {CHALLENGE_TRIES} times")
            return False
        except Exception as error:
            # A bug of ours, or a full disk: it costs the host its verdict, and no other host anything.
            _log.error("judging host %s failed: %s", endpoint_id.hex()[:12], type(error).__name__)
            self._drop(endpoint_id, host, "this node failed in judging it")
            return False
        host.silent = host.busy = 0
        return True

    async def _challenge(self, endpoint_id: bytes, host: _Watched) -> None:
        """Have the host answer for a fresh nonce, and judge the answer."""
        link = await self._connect(endpoint_id)
        nonce = self._random(NONCE_BYTES)  # [CH-11]
        answer = await ask_host(link, Challenge(nonce=nonce))
        match answer:
            case RefusedAnswer():
                raise BusyError("the host does not answer challenges now")
            case KeysAnswer() | ActivatedAnswer():
                raise RemoteProtocolError("a challenge was answered with something else")
            case ProofAnswer():
                pass
        keys = self._read_keys_untrusted(answer.keys, endpoint_id)

        def judge() -> HostVerdict:
            return self._verifier.verify_live_untrusted(
                answer,
                epochs=keys.epochs,
                endpoint_id=endpoint_id,
                nonce=nonce,
                verifier_id=self._endpoint_id,
                now=self._now(),
            )

        verdict = await self._run_judgement(judge)
        if host.keys is not None and keys.sequence < host.keys.sequence:
            # An older keys part beside a new answer: what is known stands, if the statement key still signs it.
            keys = host.keys
        self._adopt(endpoint_id, host, verdict, keys, proof=(answer, nonce))
        host.fetched_at = self._elapsed()
        host.dropped = 0
        self._pin_first_use(verdict)

    async def _fetch_keys(self, endpoint_id: bytes, host: _Watched) -> None:
        """Fetch the keys part from its owner; take it in if it is newer."""
        host.fetched_at = self._elapsed()
        link = await self._connect(endpoint_id)
        answer = await ask_host(link, GetKeys(endpoint_id=endpoint_id))
        match answer:
            case RefusedAnswer():
                raise BusyError("the host gives no keys now")
            case ProofAnswer() | ActivatedAnswer():
                raise RemoteProtocolError("a fetch of keys was answered with something else")
            case KeysAnswer():
                pass
        self.offer_keys_untrusted(endpoint_id, answer.keys)

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
            self._drop(endpoint_id, host, error.reason)
            host.keys = keys
            host.dropped = 0
            host.wake.set()

    def _read_keys_untrusted(self, data: bytes, endpoint_id: bytes) -> _Keys:
        part = parse_keys_untrusted(data, self._now())
        if part.endpoint_id != endpoint_id:
            raise VerificationError(KEYS_FACTOR, "the keys part is another endpoint's")
        if part.sequence < (floor := self._keys_floor(endpoint_id)):
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
        return _Keys(sequence=part.sequence, epochs=epochs)

    def _adopt(
        self,
        endpoint_id: bytes,
        host: _Watched,
        verdict: HostVerdict,
        keys: _Keys,
        *,
        proof: tuple[ProofAnswer, bytes] | None = None,
    ) -> None:
        """Make the hosts to seal to out of a verdict and epoch statements; all of it, or nothing.

        Raises:
            VerificationError: The statement key did not sign one of the epochs.
        """
        now = self._now()
        hosts = verdict.hosts_for(keys.epochs, now)
        for one in hosts:
            known = [suite for suite in Suite if suite in one.keys]
            if known and max(known) > self._suites.best_suite(endpoint_id):
                self._suites.note_suite(endpoint_id, max(known))
        host.verdict, host.keys, host.hosts, host.refusal = verdict, keys, hosts, ""
        host.proof = proof or host.proof  # before anybody is told: what is exported is the evidence for this verdict
        self._on_change(endpoint_id)

    def _pin_first_use(self, verdict: HostVerdict) -> None:
        if self._policy.on_first_use is not FirstUse.PIN or verdict.fingerprint is None:
            return
        if self._pins.find_pin(verdict.endpoint_id) is None:
            self._pins.pin_first_use(verdict.endpoint_id, verdict.fingerprint)

    def _drop(self, endpoint_id: bytes, host: _Watched, reason: str) -> None:
        host.verdict, host.hosts, host.proof = None, (), None
        host.refusal = reason
        host.silent = 0
        host.dropped += 1
        self._on_change(endpoint_id)

    def _drop_all(self, reason: str) -> None:
        _log.warning("all verdicts dropped: %s", reason)
        for endpoint_id, host in self._hosts.items():
            self._drop(endpoint_id, host, reason)
            host.dropped = 0
            host.wake.set()

    def _renewal_due(self, verdict: HostVerdict) -> float:
        return renewal_due(verdict, self._policy.max_age)

    def _fetch_due(self, host: _Watched, now: float) -> float:
        return fetch_due(host.hosts, now=now, since_fetch=self._elapsed() - host.fetched_at)

    async def _pause(self, wake: asyncio.Event, seconds: float) -> None:
        waking = asyncio.ensure_future(wake.wait())
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            sleeping.cancel()

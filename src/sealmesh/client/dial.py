"""One request's life at the asker: choose a host, seal, send, and return its answer once its head has come.

Other hosts are tried until an answer is handed to the app; from then on it is this host's or an error
(DESIGN.md section 9). No failure of any kind leads to anything but another sealed try or an error
(PROTOCOL.md: "Nothing here ever leads to plaintext").
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from sealmesh.attestation.verified import VerifiedHost
from sealmesh.client.answer import HostRefusedError, SealedAnswer, is_engine_failure, is_host_failure
from sealmesh.client.asker import Answer, AppRequest, Asker, ModelListing
from sealmesh.client.counters import Counters
from sealmesh.client.sealing import SecretsAhead
from sealmesh.client.watch import Timeouts
from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    RemoteProtocolError,
    TransportError,
    VerificationError,
)
from sealmesh.limits import CACHE_KEY_MAX
from sealmesh.routing.choose import order, refuse
from sealmesh.routing.directory import Candidate, Directory
from sealmesh.sealed.exchange import RequestHead
from sealmesh.sealed.refusal import Refusal
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Stream

__all__ = ["Dialer", "HostKeys", "OpenStream", "Timeouts"]

_log = logging.getLogger("sealmesh.client")

CONTEXT_CODE: Final = "context_length_exceeded"
#: Codes of sealed errors with which a host says that it is not the one, rather than that the request is wrong.
_ELSEWHERE: Final = frozenset({CONTEXT_CODE, "model_not_found", "model_unavailable"})


class HostKeys(Protocol):
    """What the dialer needs of the verifier."""

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        """The host to seal to at `now`, or None."""

    def suite_for(self, host: VerifiedHost) -> Suite:
        """The best suite of the signed statement; never a weaker one than was seen before.

        Raises:
            VerificationError: There is none that may be used.
        """

    async def refresh(self, endpoint_id: bytes) -> VerifiedHost | None:
        """Fetch the host's keys part anew; a host only if it is newer than before and verified in full."""


#: Opens a stream of the sealed kind to a host, connecting first where needed; the kind byte goes out by itself.
#: Raises TransportError.
OpenStream = Callable[[bytes], Awaitable[Stream]]


class Dialer(Asker):
    """Seals requests of apps to verified hosts.

    Args:
        directory: Who offers which model, and who may be used.
        keys: Verdicts and keys, ahead of need.
        open_stream: Opens a sealed stream to an endpoint id.
        rtt_ms: Round-trip time to a connected host, else None.
        now: Unix seconds.
        random: Random bytes.
        counters: Counts requests and tokens.
        timeouts: See `Timeouts`.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        keys: HostKeys,
        open_stream: OpenStream,
        rtt_ms: Callable[[bytes], float | None],
        now: Callable[[], float],
        random: Callable[[int], bytes],
        counters: Counters,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._open_stream = open_stream
        self._rtt_ms = rtt_ms
        self._now = now
        self._counters = counters
        self._timeouts = timeouts or Timeouts()
        # Salts the cache key of a conversation: no host can tell which session name the app used.
        self._cache_salt = random(32)
        self._secrets = SecretsAhead(now=now, random=random)

    def models(self) -> tuple[ModelListing, ...]:
        """See `Asker.models`."""
        now = self._now()
        listings = []
        for name in self._directory.model_names():
            found = self._directory.candidates(name, now)
            usable = found.usable
            listings.append(
                ModelListing(
                    name=name,
                    context_length=max((candidate.context_length for candidate in usable), default=0),
                    hosts=len(usable) + len(found.refused),
                    usable=bool(usable),
                    best_tier=max(candidate.host.tier for candidate in usable).label if usable else "none",
                    refused={host.hex(): reason for host, reason in found.refused.items()},
                )
            )
        return tuple(listings)

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        counted = self._counters.asked(model=request.model, stream=request.stream)
        try:
            candidates = order(self._directory, request.model, self._now(), rtt_ms=self._rtt_ms)
            answer = await self._ask_in_turn(request, candidates)
        except BaseException as error:
            counted.failed(error)
            raise
        answer.hand_over(counted)
        return answer

    async def _ask_in_turn(self, request: AppRequest, candidates: Sequence[Candidate]) -> SealedAnswer:
        """Try one host after the other; the first answer that no other host can better is the answer.

        Raises:
            SealmeshError: What the last host that was tried failed with.
        """
        last: Exception | None = None
        too_small = 0  # tokens: hosts that give no more need not be asked
        for position, candidate in enumerate(candidates):
            if 0 < candidate.context_length <= too_small:
                continue
            endpoint_id = candidate.offer.endpoint_id
            others = candidates[position + 1 :]
            host = self._keys.verified(endpoint_id, self._now())
            if host is None:
                continue  # its verdict ended while others were tried: no fault of its own
            try:
                answer = await self._try_host(request, host)
                last = await self._pass_over(answer, candidate, others)
                if last is None:
                    return answer
            except VerificationError as error:
                last = HostLostError("the host's keys ended before they could be used")
                last.__cause__ = error
            except BusyError as error:
                last = error
            except (TransportError, RemoteProtocolError, BackendError) as error:
                if isinstance(error, BackendError) and not _other_host_may_answer(error):
                    raise
                last = error
                if is_host_failure(error):
                    self._directory.note_failure(endpoint_id, self._now())
                    _log.warning("host %s failed before its answer: %s", endpoint_id.hex()[:12], type(error).__name__)
            if isinstance(last, BackendError) and last.code == CONTEXT_CODE:
                too_small = max(too_small, candidate.context_length)
        raise last or self._nobody(request.model)

    def _nobody(self, model: str) -> Exception:
        """Every verdict ended between the choice and its use."""
        found = self._directory.candidates(model, self._now())
        if found.usable:
            return HostLostError("the hosts' keys ended before they could be used")
        return refuse(self._directory, found)

    async def _pass_over(
        self, answer: SealedAnswer, candidate: Candidate, others: Sequence[Candidate]
    ) -> BackendError | None:
        """Why the next host is asked although this one has answered, its answer closed; None to keep the answer.

        Nothing of it has been shown to the app.
        """
        reason = None
        try:
            if others and (answer.status >= 500 or answer.status == 429):
                reason = BackendError(answer.status, "backend_error", "The host's engine failed.")
                if is_engine_failure(answer.status):
                    self._directory.note_failure(candidate.offer.endpoint_id, self._now())
            elif (
                answer.status == 400
                and any(_gives_more(other, candidate) for other in others)
                and await answer.says(CONTEXT_CODE)
            ):
                reason = BackendError(400, CONTEXT_CODE, "The request needs more context than a host gives.")
        except BaseException:
            await answer.close()
            raise
        if reason is not None:
            await answer.close()
        return reason

    async def _try_host(self, request: AppRequest, host: VerifiedHost) -> SealedAnswer:
        """Ask one host; once more with fresh keys if it says that it cannot open ours (PROTOCOL.md, 0xE0 codes)."""
        try:
            return await self._exchange(request, host)
        except HostRefusedError as refusal:
            if refusal.code == Refusal.BUSY:
                raise BusyError("the host is busy") from refusal
            fresh = await self._keys.refresh(host.endpoint_id)
            if fresh is None or fresh.epoch_digest == refusal.epoch_digest:
                raise HostLostError("the host cannot open requests sealed to its keys") from refusal
            try:
                return await self._exchange(request, fresh)
            except HostRefusedError as again:
                if again.code == Refusal.BUSY:
                    raise BusyError("the host is busy") from again
                raise HostLostError("the host cannot open requests sealed to its newest keys") from again

    async def _exchange(self, request: AppRequest, host: VerifiedHost) -> SealedAnswer:
        """Seal and send; return once the answer's head has authenticated."""
        stream = await self._open_stream(host.endpoint_id)
        try:
            answer = self._seal_to(stream, self._current(host))
        except BaseException:
            await stream.reset()
            raise
        try:
            await answer.send(
                RequestHead(
                    operation=request.operation,
                    headers=request.headers,
                    padding=0,
                    cache_key=self._cache_key(request.session, host.endpoint_id),
                ),
                request.body,
            )
            self._secrets.prepare(answer.host, answer.suite)
            await answer.wait_for_head()
        except BaseException:
            await answer.close()
            raise
        return answer

    def _current(self, host: VerifiedHost) -> VerifiedHost:
        """The host to seal to now: connecting takes time, and its epoch may have ended or it was dropped meanwhile.

        Raises:
            VerificationError: There is none any more.
        """
        # Asked again, not remembered: a wrong answer, a revocation or a set clock drops a host at once.
        found = self._keys.verified(host.endpoint_id, self._now())
        if found is None:
            raise VerificationError("freshness", "the verdict or its epoch has ended; the host must answer again")
        return found

    def _seal_to(self, stream: Stream, host: VerifiedHost) -> SealedAnswer:
        """Begin an exchange with an encapsulation of its own."""
        suite = self._keys.suite_for(host)
        return SealedAnswer(
            stream=stream,
            exchange=self._secrets.begin(host, suite),
            host=host,
            suite=suite,
            timeouts=self._timeouts,
            directory=self._directory,
            now=self._now,
        )

    def _cache_key(self, session: str, endpoint_id: bytes) -> bytes:
        """Of a conversation at one host: two hosts cannot tell by it that they serve the same one."""
        if not session:
            return b""
        return hashlib.sha256(self._cache_salt + endpoint_id + session.encode()).digest()[:CACHE_KEY_MAX]


def _other_host_may_answer(error: BackendError) -> bool:
    return error.status >= 500 or error.status == 429 or error.code in _ELSEWHERE


def _gives_more(other: Candidate, than: Candidate) -> bool:
    """Whether a host may give a request more context; 0 is unknown."""
    return other.context_length > than.context_length or 0 in (other.context_length, than.context_length)

"""One request's life at the asker: choose a host, seal, send, and return its answer once its head has come.

Other hosts are tried until an answer is handed to the app; from then on it is this host's or an error
(DESIGN.md section 9). No failure of any kind leads to anything but another sealed try or an error
(PROTOCOL.md: "Nothing here ever leads to plaintext").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, assert_never

from sealmesh.attestation.verified import VerifiedHost
from sealmesh.client.answer import HostAnswer, HostRefusedError
from sealmesh.client.asker import Answer, AnswerProof, AppRequest, Asker, ModelListing, SealedBy
from sealmesh.client.counters import Counters
from sealmesh.client.plain import PlainDialer
from sealmesh.client.sealing import SecretsAhead
from sealmesh.client.sending import OpenStream, cache_key, send_request
from sealmesh.client.turns import ask_in_turn
from sealmesh.client.watch import Timeouts
from sealmesh.errors import HostLostError, VerificationError
from sealmesh.routing.choose import PlainRoute, Route, SealedRoute, Wanted, order, refuse
from sealmesh.routing.directory import Candidate, Directory
from sealmesh.sealed.refusal import Refusal
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Stream

__all__ = ["Dialer", "HostKeys", "OpenStream", "Timeouts"]

_SEALED_BY: Final[dict[Suite, SealedBy]] = {Suite.X25519: "x25519", Suite.XWING: "xwing"}


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


class Dialer(Asker):
    """Seals requests of apps to verified hosts; where nobody has a key and the operator permits it, sends them plain.

    Args:
        directory: Who offers which model, and who may be used.
        keys: Verdicts and keys, ahead of need.
        open_stream: Opens a sealed stream to an endpoint id.
        open_plain: Opens a plain one.
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
        open_plain: OpenStream,
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
        self._random = random
        self._counters = counters
        self._timeouts = timeouts or Timeouts()
        # Salts the cache key of a conversation: no host can tell which session name the app used.
        self._cache_salt = random(32)
        self._secrets = SecretsAhead(now=now, random=random)
        self._plain = PlainDialer(
            directory=directory,
            open_stream=open_plain,
            now=now,
            random=random,
            timeouts=self._timeouts,
            cache_salt=self._cache_salt,
        )

    def models(self) -> tuple[ModelListing, ...]:
        """See `Asker.models`."""
        now = self._now()
        listings = []
        for name in self._directory.model_names():
            found = self._directory.candidates(name, now)
            usable = found.usable
            lengths = [one.context_length for one in usable] + [one.context_length for one in found.plain]
            listings.append(
                ModelListing(
                    name=name,
                    context_length=max(lengths, default=0),
                    hosts=len(lengths) + len(found.refused),
                    usable=bool(lengths),
                    best_tier=max(candidate.host.tier for candidate in usable).label if usable else "none",
                    plain=bool(found.plain),
                    refused={host.hex(): reason for host, reason in found.refused.items()},
                )
            )
        return tuple(listings)

    async def ask(self, request: AppRequest) -> Answer:
        """See `Asker.ask`."""
        counted = self._counters.asked(model=request.model, stream=request.stream)
        try:
            wanted = Wanted(model=request.model, session=request.session, size=len(request.body))
            route = order(self._directory, wanted, self._now(), rtt_ms=self._rtt_ms, random=self._random)
            answer = await self._ask_along(request, route)
        except BaseException as error:
            counted.failed(error)
            raise
        if answer.status < 500:
            self._directory.note_session(request.model, request.session, answer.endpoint_id)
        answer.hand_over(counted)
        return answer

    async def _ask_along(self, request: AppRequest, route: Route) -> HostAnswer:
        """Ask along the one way or the other; from one to the other there is no way [PL-1] [EX-46]."""
        answer: HostAnswer | None
        match route:
            case SealedRoute():
                answer = await ask_in_turn(
                    route.candidates,
                    lambda candidate: self._ask_sealed(request, candidate),
                    directory=self._directory,
                    now=self._now,
                )
            case PlainRoute():
                answer = await ask_in_turn(
                    route.candidates,
                    lambda candidate: self._plain.ask(request, candidate),
                    directory=self._directory,
                    now=self._now,
                )
            case _:
                assert_never(route)
        if answer is None:
            raise self._nobody(request.model)
        return answer

    async def _ask_sealed(self, request: AppRequest, candidate: Candidate) -> HostAnswer | None:
        host = self._keys.verified(candidate.offer.endpoint_id, self._now())
        if host is None:
            return None  # its verdict ended while others were tried: no fault of its own
        return await self._try_host(request, host)

    def _nobody(self, model: str) -> Exception:
        """Every verdict ended between the choice and its use."""
        found = self._directory.candidates(model, self._now())
        if found.usable or found.plain:
            return HostLostError("the hosts' keys ended before they could be used")
        return refuse(self._directory, found)

    async def _try_host(self, request: AppRequest, host: VerifiedHost) -> HostAnswer:
        """Ask one host; once more with fresh keys if it says that it cannot open ours (PROTOCOL.md, 0xE0 codes)."""
        sealed_to: list[bytes] = []  # epochs
        try:
            return await self._exchange(request, host, sealed_to)
        except HostRefusedError as refusal:
            if refusal.code == Refusal.BUSY:
                raise
            fresh = await self._keys.refresh(host.endpoint_id)
            if fresh is None or fresh.epoch_digest in sealed_to:
                raise HostLostError("the host cannot open requests sealed to its keys") from refusal
            try:
                return await self._exchange(request, fresh, sealed_to)
            except HostRefusedError as again:
                if again.code == Refusal.BUSY:
                    raise
                raise HostLostError("the host cannot open requests sealed to its newest keys") from again

    async def _exchange(self, request: AppRequest, host: VerifiedHost, sealed_to: list[bytes]) -> HostAnswer:
        """Seal and send; return once the answer's head has authenticated."""
        stream = await self._open_stream(host.endpoint_id)
        try:
            host = self._current(host)
            suite = self._keys.suite_for(host)
            answer = self._seal_to(stream, host, suite)
        except BaseException:
            await stream.reset()
            raise
        sealed_to.append(host.epoch_digest)
        return await send_request(
            answer,
            request,
            cache_key=cache_key(self._cache_salt, host.endpoint_id, request.session),
            meanwhile=lambda: self._secrets.prepare(host, suite),
        )

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

    def _seal_to(self, stream: Stream, host: VerifiedHost, suite: Suite) -> HostAnswer:
        """Begin an exchange with an encapsulation of its own."""
        exchange = self._secrets.begin(host, suite)
        proof = AnswerProof(
            host=host.endpoint_id.hex(),
            sealed=_SEALED_BY[suite],
            tier=host.tier.label,
            evidence=host.evidence_digest.hex(),
            exchange=exchange.exchange_id.hex(),
        )
        return HostAnswer(
            stream=stream,
            exchange=exchange,
            endpoint_id=host.endpoint_id,
            proof=proof,
            timeouts=self._timeouts,
            directory=self._directory,
            now=self._now,
        )

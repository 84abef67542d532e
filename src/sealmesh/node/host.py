"""The serving half of a node: backend, epochs, proofs and the sealed service, with one start and one end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sealmesh.backend.base import Backend, ModelInfo
from sealmesh.errors import VerificationError
from sealmesh.hardening.measure import Measurement
from sealmesh.hardening.posture import Posture
from sealmesh.host.epochs import EpochContent, EpochKeeper
from sealmesh.host.prove import Attester, HostFacts, Prover, StandingProof
from sealmesh.host.serve import HostCounters, SealedService
from sealmesh.identity.admission import Role
from sealmesh.identity.keys import EndpointKey
from sealmesh.limits import STATEMENT_TEXT_MAX
from sealmesh.mesh.link import Link, StreamHandler
from sealmesh.sealed.keyring import KeyRing
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import StreamKind


class HostSide:
    """Everything that makes a node a host.

    Args:
        key: The endpoint's.
        attester: Makes the evidence.
        backend: Started.
        posture: What hardening is on (field 37).
        measured: What is installed here; None says nothing of it.
        take_proof: Given each new standing proof.
        take_epochs: Given what the keys part must say, each time that it changes.
        keys_part: Gives the signed keys part that is served to whoever fetches it.
        now: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set.
        random: Random bytes.
        sleep: Waits so many seconds.
        suites: Which suites get keys.
    """

    def __init__(
        self,
        *,
        key: EndpointKey,
        attester: Attester,
        backend: Backend,
        posture: Mapping[str, str],
        measured: Measurement | None = None,
        take_proof: Callable[[StandingProof], None],
        take_epochs: Callable[[EpochContent], None],
        keys_part: Callable[[bytes], bytes | None],
        now: Callable[[], float],
        elapsed: Callable[[], float],
        random: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        suites: tuple[Suite, ...] = tuple(Suite),
    ) -> None:
        self.backend = backend
        self.counters = HostCounters()
        self.capabilities = tuple(f"sealed:{suite.value}" for suite in suites)
        self._keyring = KeyRing()
        self._measured = measured
        self.posture = {**posture, **({} if measured is None else {"measurement": measurement_state(measured)})}
        self._keeper = EpochKeeper(
            endpoint_id=key.public,
            keyring=self._keyring,
            random=random,
            host_statement_digest=lambda: self.prover.host_statement_digest,
            publish=take_epochs,
            now=now,
            elapsed=elapsed,
            sleep=sleep,
            suites=suites,
        )
        self.prover = Prover(
            endpoint_id=key.public,
            statement_key=self._keeper.statement_key,
            attester=attester,
            facts=self._facts,
            keys_part=keys_part,
            publish=take_proof,
            now=now,
            elapsed=elapsed,
            sleep=sleep,
        )
        self.service = SealedService(
            endpoint_id=key.public,
            keyring=self._keyring,
            backend=backend,
            now=now,
            monotonic=elapsed,
            random=random,
            counters=self.counters,
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """What is served."""
        return self.backend.models()

    def handlers(self) -> dict[StreamKind, StreamHandler]:
        """What serves inbound streams, each for members that may ask only."""

        async def sealed(link: Link, stream: Stream) -> None:
            check_asks(link.roles)
            await self.service.serve(link.peer_id, stream)

        async def challenge(link: Link, stream: Stream) -> None:
            check_asks(link.roles)
            await self.prover.answer(link.peer_id, stream)

        return {StreamKind.SEALED: sealed, StreamKind.CHALLENGE: challenge}

    def _facts(self) -> HostFacts:
        return facts_of(self.backend, posture=self.posture, measured=self._measured)

    async def begin(self) -> None:
        """Make the first proof and the first epoch; from now on there is a keys part.

        Raises:
            SealmeshError: The proof could not be made.
        """
        await self.prover.renew()
        self._keeper.advance()

    async def run(self) -> None:
        """Keep epochs and proofs until cancelled; every key is wiped on the way out."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.run(), name="sealmesh-epochs")
            group.create_task(self.prover.run(), name="sealmesh-proofs")


def check_asks(roles: Role) -> None:
    """Refuse a member that was let in for something else than asking, such as a relay.

    Args:
        roles: What its membership gives it, as admission judged it.

    Raises:
        VerificationError: It is no client.
    """
    if Role.CLIENT not in roles:
        raise VerificationError("role", "only clients are answered", expected="client", got=",".join(roles.names))


def facts_of(backend: Backend, *, posture: Mapping[str, str], measured: Measurement | None) -> HostFacts:
    """What a host states: of its backend, and of the code that is installed here [BL-3]."""
    return HostFacts(
        backend=backend.place,
        measurement=b"" if measured is None else measured.claimed,
        platform="" if measured is None else measured.platform,
        posture=posture,
        model_digests=tuple(model.digest for model in backend.models() if model.digest),
    )


def measurement_state(measured: Measurement) -> str:
    """What the posture says of the measurement: self-asserted, or why there is none."""
    if not measured.unblessed:
        return "on: self-asserted"
    return f"off: {measured.unblessed[0]}".encode()[:STATEMENT_TEXT_MAX].decode(errors="ignore")


def posture_of(posture: Posture, backend: Backend | None) -> dict[str, str]:
    """What a node says of its own protection: of its process, and of where opened prompts go. Self-asserted.

    Args:
        posture: Of this process.
        backend: Of a host.
    """
    said = dict(posture.texts())
    if backend is not None:
        said["backend"] = backend.place
        said["shared_prefix_cache"] = "on" if backend.shared_prefix_cache else "off"
    return said

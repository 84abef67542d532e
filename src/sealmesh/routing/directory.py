"""The hosts that this node knows of, and how each has behaved towards this node.

Health is this node's own observation; nobody's word changes it (DESIGN.md section 4). Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sealmesh.attestation.factors import Factor
from sealmesh.attestation.verified import VerifiedHost

#: A host that failed is tried after the others for this long, doubling with each failure in a row.
COOL_DOWN_S: Final = 5.0
#: And never longer than this: a host that is back should be found within minutes.
COOL_DOWN_MAX_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOffer:
    """What a host's signed record says that it serves.

    Attributes:
        endpoint_id: 32 bytes.
        models: Model name to context length per request (0 unknown).
        plain: True for a node that advertises no sealed suite.
    """

    endpoint_id: bytes
    models: Mapping[str, int]
    plain: bool = False


@dataclass(slots=True)
class HostHealth:
    """What this node saw of one host."""

    failures: int = 0
    cool_until: float = 0.0
    open_exchanges: int = 0

    def cooling(self, now: float) -> bool:
        """Whether the host has failed a short while ago."""
        return now < self.cool_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A host that may get the request: its offer, the verdict to seal to, and the context it gives."""

    offer: HostOffer
    host: VerifiedHost
    context_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The outcome of a look-up: who may get the request, in no order, and who may not, with the reason.

    `pending` are those of the refused that waiting may help with: their first verdict is still on its way, or they are
    silent. `failed` are the factors that a refused host fails or lacks.
    """

    usable: tuple[Candidate, ...]
    refused: Mapping[bytes, str] = field(default_factory=dict)
    pending: frozenset[bytes] = frozenset()
    failed: Mapping[bytes, tuple[Factor, ...]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether any host advertises the model at all."""
        return bool(self.usable or self.refused)


class Directory:
    """Records of hosts, joined with the verdicts on them.

    Args:
        verified: Gives the host to seal to at a time, or None while there is no valid verdict.
        refusals: Gives the reasons why there is none.
        waiting: Says whether waiting may help with a host that is refused.
        failed_factors: Gives the factors that a refused host fails or lacks.
    """

    def __init__(
        self,
        *,
        verified: Callable[[bytes, float], VerifiedHost | None],
        refusals: Callable[[bytes], tuple[str, ...]],
        waiting: Callable[[bytes], bool] = lambda _: False,
        failed_factors: Callable[[bytes], tuple[Factor, ...]] = lambda _: (),
    ) -> None:
        self._verified = verified
        self._refusals = refusals
        self._waiting = waiting
        self._failed_factors = failed_factors
        self._offers: dict[bytes, HostOffer] = {}
        self._health: dict[bytes, HostHealth] = {}

    def put(self, offer: HostOffer) -> None:
        """Take in a host's newest offer."""
        self._offers[offer.endpoint_id] = offer

    def remove(self, endpoint_id: bytes) -> None:
        """Forget a host that left or whose record ended.

        What was seen of it stays while it cools or answers: a host that fails cannot wash itself by leaving and
        coming back.
        """
        self._offers.pop(endpoint_id, None)

    def __iter__(self) -> Iterator[HostOffer]:
        return iter(tuple(self._offers.values()))

    def health(self, endpoint_id: bytes) -> HostHealth:
        """What was seen of a host; made on first use, for hosts in the directory only."""
        health = self._health.get(endpoint_id)
        if health is None:
            health = HostHealth()
            if endpoint_id in self._offers:
                self._health[endpoint_id] = health
        return health

    def exchange_opened(self, endpoint_id: bytes) -> None:
        """This node has one more exchange with a host; `exchange_closed` follows, once."""
        self._health.setdefault(endpoint_id, HostHealth()).open_exchanges += 1

    def exchange_closed(self, endpoint_id: bytes) -> None:
        """One exchange is over, however it ended."""
        self._health[endpoint_id].open_exchanges -= 1

    def _forget_gone(self, now: float) -> None:
        """Drop what was seen of hosts that have left, once it says nothing any more."""
        if len(self._health) > len(self._offers):
            self._health = {
                endpoint_id: health
                for endpoint_id, health in self._health.items()
                if endpoint_id in self._offers or health.open_exchanges or health.cooling(now)
            }

    def note_success(self, endpoint_id: bytes) -> None:
        """An exchange reached its authenticated end."""
        health = self.health(endpoint_id)
        health.failures = 0
        health.cool_until = 0.0

    def note_failure(self, endpoint_id: bytes, now: float) -> None:
        """The host was unreachable, fell silent or broke the protocol: others first, for a while."""
        health = self.health(endpoint_id)
        health.failures += 1
        health.cool_until = now + min(COOL_DOWN_S * 2 ** min(health.failures - 1, 16), COOL_DOWN_MAX_S)

    def model_names(self) -> tuple[str, ...]:
        """Every model that some host advertises, sorted."""
        return tuple(sorted({name for offer in self._offers.values() for name in offer.models}))

    def candidates(self, model: str, now: float) -> Candidates:
        """Return who may be sent a request for `model` at `now`, and why the others may not."""
        self._forget_gone(now)
        usable: list[Candidate] = []
        refused: dict[bytes, str] = {}
        pending: set[bytes] = set()
        failed: dict[bytes, tuple[Factor, ...]] = {}
        for offer in self._offers.values():
            if model not in offer.models:
                continue
            host = None if offer.plain else self._verified(offer.endpoint_id, now)
            if host is not None:
                usable.append(Candidate(offer=offer, host=host, context_length=offer.models[model]))
            elif offer.plain:
                refused[offer.endpoint_id] = "it is a plain node: it has no key to seal to"
            elif reasons := self._refusals(offer.endpoint_id):
                refused[offer.endpoint_id] = "; ".join(reasons)
                failed[offer.endpoint_id] = self._failed_factors(offer.endpoint_id)
                if self._waiting(offer.endpoint_id):
                    pending.add(offer.endpoint_id)
            else:
                refused[offer.endpoint_id] = "not verified yet"
                pending.add(offer.endpoint_id)
        return Candidates(usable=tuple(usable), refused=refused, pending=frozenset(pending), failed=failed)

"""The hosts that this node knows of, and how each has behaved towards this node.

Health is this node's own observation; nobody's word changes it (DESIGN.md section 4). Pure: time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sealmesh.attestation.factors import Factor
from sealmesh.attestation.plain import NEVER_PLAIN, PlainHost, PlainRule, permit_plain
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.errors import VerificationError
from sealmesh.limits import SESSIONS_MAX

#: A host that failed is tried after the others for this long, doubling with each failure in a row.
COOL_DOWN_S: Final = 5.0
#: And never longer than this: a host that is back should be found within minutes.
COOL_DOWN_MAX_S: Final = 300.0
#: A host that said that it is busy is tried after the others for this long: as long as its askers are told to wait.
BUSY_PAUSE_S: Final = 1.0
#: What a host said of its load counts for this long; by then its answers have changed it.
LOAD_VALID_S: Final = 10.0
_OTHERS_HAVE_KEYS: Final = "it is a plain node, and others have a key for this model"
#: How many answers a host is taken to produce at once, until it says.
SLOTS_ASSUMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOffer:
    """What a host's signed record says that it serves.

    Attributes:
        endpoint_id: 32 bytes.
        models: Model name to context length per request (0 unknown).
        plain: True for a node that advertises no sealed suite.
        takes_plain: Whether it says that it takes requests in the clear.
    """

    endpoint_id: bytes
    models: Mapping[str, int]
    plain: bool = False
    takes_plain: bool = False


@dataclass(slots=True)
class HostHealth:
    """What this node saw of one host, and what the host told it of its load."""

    failures: int = 0
    cool_until: float = 0.0
    full_until: float = 0.0
    open_exchanges: int = 0
    slots: int = SLOTS_ASSUMED
    taken: int = 0
    taken_until: float = 0.0

    def cooling(self, now: float) -> bool:
        """Whether the host has failed a short while ago."""
        return now < self.cool_until

    def full(self, now: float) -> bool:
        """Whether the host said a moment ago that it is busy."""
        return now < self.full_until

    def load(self, now: float) -> float:
        """How many requests are at the host, as far as is known, for each answer that it produces at once."""
        taken = max(self.taken, self.open_exchanges) if now < self.taken_until else self.open_exchanges
        return taken / self.slots

    def waits(self, now: float) -> bool:
        """Whether one more request would have to wait there."""
        return self.load(now) >= 1.0 or self.full(now)


class Routed(Protocol):
    """What every kind of candidate has, whichever way leads to it."""

    @property
    def offer(self) -> HostOffer:
        """What it serves."""

    @property
    def context_length(self) -> int:
        """Tokens that one request gets there; 0 unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A host that may get the request: its offer, the verdict to seal to, and the context it gives."""

    offer: HostOffer
    host: VerifiedHost
    context_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCandidate:
    """A node without a key that may get the request unsealed. Another type, so that neither way takes the other's."""

    offer: HostOffer
    host: PlainHost
    context_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The outcome of a look-up: who may get the request, in no order, and who may not, with the reason.

    `pending` are those of the refused that waiting may help with: their first verdict is still on its way, or they are
    silent. `failed` are the factors that a refused host fails or lacks.
    `plain` is empty where anybody with a key
    offers the model, usable or not: a host that fails is never a reason to send in the clear.
    """

    usable: tuple[Candidate, ...]
    plain: tuple[PlainCandidate, ...] = ()
    refused: Mapping[bytes, str] = field(default_factory=dict)
    pending: frozenset[bytes] = frozenset()
    failed: Mapping[bytes, tuple[Factor, ...]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether any host advertises the model at all."""
        return bool(self.usable or self.plain or self.refused)


class Directory:
    """Records of hosts, joined with the verdicts on them.

    Args:
        verified: Gives the host to seal to at a time, or None while there is no valid verdict.
        refusals: Gives the reasons why there is none.
        waiting: Says whether waiting may help with a host that is refused.
        failed_factors: Gives the factors that a refused host fails or lacks.
        plain_rule: Whether a request may go unsealed to a node without a key.
    """

    def __init__(
        self,
        *,
        verified: Callable[[bytes, float], VerifiedHost | None],
        refusals: Callable[[bytes], tuple[str, ...]],
        waiting: Callable[[bytes], bool] = lambda _: False,
        failed_factors: Callable[[bytes], tuple[Factor, ...]] = lambda _: (),
        plain_rule: PlainRule = NEVER_PLAIN,
    ) -> None:
        self._verified = verified
        self._refusals = refusals
        self._waiting = waiting
        self._failed_factors = failed_factors
        self._plain_rule = plain_rule
        self._offers: dict[bytes, HostOffer] = {}
        self._health: dict[bytes, HostHealth] = {}
        self._sessions: OrderedDict[tuple[str, str], bytes] = OrderedDict()

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

    def note_busy(self, endpoint_id: bytes, now: float) -> None:
        """The host said that it has no room now, which is no failure."""
        self.health(endpoint_id).full_until = now + BUSY_PAUSE_S

    def note_load(self, endpoint_id: bytes, *, slots: int, taken: int, now: float) -> None:
        """The host said how many requests it has, and how many it answers at once (0: no bound known)."""
        health = self.health(endpoint_id)
        health.slots = slots or SLOTS_ASSUMED
        health.taken = taken
        health.taken_until = now + LOAD_VALID_S

    def note_session(self, model: str, session: str, endpoint_id: bytes) -> None:
        """A conversation was answered there: its next request goes there too, while it is remembered."""
        if session:
            self._sessions[model, session] = endpoint_id
            self._sessions.move_to_end((model, session))
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)

    def host_of_session(self, model: str, session: str) -> bytes | None:
        """Where a conversation was answered last."""
        return self._sessions.get((model, session)) if session else None

    def model_names(self) -> tuple[str, ...]:
        """Every model that some host advertises, sorted."""
        return tuple(sorted({name for offer in self._offers.values() for name in offer.models}))

    def plain_host(self, endpoint_id: bytes, model: str | None = None) -> PlainHost:
        """Permit a node a request in the clear now, by the newest records: asked again right before anything is sent.

        Args:
            endpoint_id: Whose, 32 bytes.
            model: What is asked for; None where nothing is sent, and a node is only described.

        Raises:
            VerificationError: It may not get one (any more).
        """
        offer = self._offers.get(endpoint_id)
        if offer is None or not offer.plain:
            raise VerificationError("plain", "it is no plain node (any more)")
        if any(not one.plain and model in one.models for one in self._offers.values()):  # [PL-5]
            raise VerificationError("plain", _OTHERS_HAVE_KEYS)
        return permit_plain(endpoint_id, self._plain_rule, takes_plain=offer.takes_plain)

    def candidates(self, model: str, now: float) -> Candidates:
        """Return who may be sent a request for `model` at `now`, and why the others may not."""
        self._forget_gone(now)
        usable: list[Candidate] = []
        refused: dict[bytes, str] = {}
        pending: set[bytes] = set()
        failed: dict[bytes, tuple[Factor, ...]] = {}
        plain: list[HostOffer] = []
        for offer in self._offers.values():
            if model not in offer.models:
                continue
            if offer.plain:
                plain.append(offer)
                continue
            host = self._verified(offer.endpoint_id, now)
            if host is not None:
                usable.append(Candidate(offer=offer, host=host, context_length=offer.models[model]))
            elif reasons := self._refusals(offer.endpoint_id):
                refused[offer.endpoint_id] = "; ".join(reasons)
                failed[offer.endpoint_id] = self._failed_factors(offer.endpoint_id)
                if self._waiting(offer.endpoint_id):
                    pending.add(offer.endpoint_id)
            else:
                refused[offer.endpoint_id] = "not verified yet"
                pending.add(offer.endpoint_id)
        permitted = self._permit(plain, model, refused, keyed=bool(usable or refused)) if plain else ()
        return Candidates(
            usable=tuple(usable), plain=permitted, refused=refused, pending=frozenset(pending), failed=failed
        )

    def _permit(
        self, plain: list[HostOffer], model: str, refused: dict[bytes, str], *, keyed: bool
    ) -> tuple[PlainCandidate, ...]:
        """Sort plain nodes into those that may get a request in the clear, and the refused."""
        permitted: list[PlainCandidate] = []
        for offer in plain:
            try:
                host = permit_plain(offer.endpoint_id, self._plain_rule, takes_plain=offer.takes_plain)
            except VerificationError as error:
                refused[offer.endpoint_id] = error.reason
                continue
            if keyed:  # [PL-5]
                refused[offer.endpoint_id] = _OTHERS_HAVE_KEYS
            else:
                permitted.append(PlainCandidate(offer=offer, host=host, context_length=offer.models[model]))
        return tuple(permitted)

"""In which order hosts are tried, and the refusal when none can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sealmesh.errors import RoutingError, RoutingFault
from sealmesh.routing.directory import Candidate, Candidates, Directory, PlainCandidate, Routed

_C = TypeVar("_C", bound=Routed)

#: A client that has just started has its first verdict within this; so waiting helps.
RETRY_AFTER_S: Final = 2
#: Bytes of a request that make a token, about: English has four and more, code three, many scripts two. Only an order
#: comes of it; the host that counts the tokens has the last word.
BYTES_PER_TOKEN: Final = 4
#: What an answer takes beside the way there, milliseconds: so that 1 ms is not taken for twice as good as 2 ms.
ANSWER_MS: Final = 20.0
#: The way to a host that is not connected yet: a handshake and admission come first.
UNCONNECTED_MS: Final = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a host is looked for.

    Attributes:
        model: Its name.
        session: What holds a conversation together, secret; "" for none.
        size: Bytes of the request.
    """

    model: str
    session: str = field(default="", repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRoute:
    """Hosts to seal to, best first."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRoute:
    """Plain nodes that are permitted, best first."""

    candidates: tuple[PlainCandidate, ...]


Route = SealedRoute | PlainRoute


def order(
    directory: Directory,
    wanted: Wanted,
    now: float,
    *,
    rtt_ms: Callable[[bytes], float | None],
    random: Callable[[int], bytes],
) -> Route:
    """Return the hosts to try for a request, best first: those to seal to, else plain nodes that are permitted.

    Never both: no host that fails leads to plaintext [PL-5]. Nobody is left out, for an order is a guess:

    1. Who failed a short while ago comes last, but comes: if all are cooling, all are tried.
    2. Who gives the request enough context, as far as its length tells, comes before who does not.
    3. Who said a moment ago that it is busy comes after the others.
    4. The host of the request's conversation, which still has its beginning, unless one more would have to wait there
       and elsewhere not.
    5. The less loaded of two drawn at random, by what it costs to ask there (load and distance); then the others. Two
       are drawn because all who chose the best of all would choose the same one.

    Args:
        directory: Who offers what.
        wanted: What is asked for.
        now: Unix seconds.
        rtt_ms: Round-trip time to a connected host, None where it is not connected.
        random: Random bytes.

    Raises:
        RoutingError: Nobody advertises the model, nobody is known at all, or everybody who has it is refused.
    """
    found = directory.candidates(wanted.model, now)
    if found.usable:
        return SealedRoute(candidates=_sorted(found.usable, directory, wanted, now, rtt_ms, random))
    if found.plain:
        return PlainRoute(candidates=_sorted(found.plain, directory, wanted, now, rtt_ms, random))
    raise refuse(directory, found)


def _sorted(
    candidates: tuple[_C, ...],
    directory: Directory,
    wanted: Wanted,
    now: float,
    rtt_ms: Callable[[bytes], float | None],
    random: Callable[[int], bytes],
) -> tuple[_C, ...]:
    if len(candidates) == 1:
        return candidates
    tokens = wanted.size // BYTES_PER_TOKEN

    def class_of(candidate: _C) -> tuple[bool, int, bool]:
        health = directory.health(candidate.offer.endpoint_id)
        return health.cooling(now), _lack(candidate.context_length, tokens), health.full(now)

    def cost(candidate: _C) -> tuple[float, bytes]:
        endpoint_id = candidate.offer.endpoint_id
        rtt = rtt_ms(endpoint_id)
        way = ANSWER_MS + (UNCONNECTED_MS if rtt is None else rtt)
        return (1.0 + directory.health(endpoint_id).load(now)) * way, endpoint_id

    ranked = sorted(candidates, key=lambda one: (class_of(one), cost(one)))
    best = [one for one in ranked if class_of(one) == class_of(ranked[0])]
    first = _of_session(best, directory, wanted, now) or _less_loaded_of_two(best, random)
    return (first, *(one for one in ranked if one is not first))


def _of_session(best: list[_C], directory: Directory, wanted: Wanted, now: float) -> _C | None:
    """The host of the request's conversation, if it is among the best and worth going back to."""
    known = directory.host_of_session(wanted.model, wanted.session)
    own = next((one for one in best if one.offer.endpoint_id == known), None)
    if own is None or not directory.health(own.offer.endpoint_id).waits(now):
        return own
    idle = any(not directory.health(one.offer.endpoint_id).waits(now) for one in best)
    return None if idle else own


def _less_loaded_of_two(best: list[_C], random: Callable[[int], bytes]) -> _C:
    """Draw two of the hosts, which come cheapest first, and return the cheaper."""
    if len(best) <= 2:
        return best[0]
    one = int.from_bytes(random(4), "big") % len(best)
    other = (one + 1 + int.from_bytes(random(4), "big") % (len(best) - 1)) % len(best)
    return best[min(one, other)]


def _lack(context_length: int, tokens: int) -> int:
    """How many tokens a context is short of; 0 where it suffices or is not known."""
    return max(0, tokens - context_length) if context_length else 0


def refuse(directory: Directory, found: Candidates) -> RoutingError:
    """Say why nobody can take the request: each host that has the model, with its reason."""
    reasons = {host.hex(): reason for host, reason in found.refused.items()}
    failed = {host.hex(): [one.describe() for one in factors] for host, factors in found.failed.items()}
    if found.pending:
        return RoutingError(RoutingFault.NO_HOST, refused=reasons, failed_factors=failed, retry_after_s=RETRY_AFTER_S)
    if found.known:
        return RoutingError(RoutingFault.NO_ATTESTED_HOST, refused=reasons, failed_factors=failed)
    if any(True for _ in directory):
        return RoutingError(RoutingFault.UNKNOWN_MODEL)
    return RoutingError(RoutingFault.NO_HOST, retry_after_s=RETRY_AFTER_S)

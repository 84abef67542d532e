"""In which order hosts are tried, and the refusal when none can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sealmesh.errors import RoutingError, RoutingFault
from sealmesh.routing.directory import Candidate, Candidates, Directory

#: A client that has just started has its first verdict within this; so waiting helps.
RETRY_AFTER_S: Final = 2


def order(
    directory: Directory, model: str, now: float, *, rtt_ms: Callable[[bytes], float | None]
) -> tuple[Candidate, ...]:
    """Return the hosts to try for a model, best first.

    Hosts that failed a short while ago come last, but they do come: if all are cooling, all are tried. Then the
    one with the fewest of this node's own exchanges, then the nearest.

    Args:
        directory: Who offers what.
        model: The model's name.
        now: Unix seconds.
        rtt_ms: Round-trip time to a connected host, None where it is not connected.

    Raises:
        RoutingError: Nobody advertises the model, nobody is known at all, or everybody who has it is refused.
    """
    found = directory.candidates(model, now)
    if not found.usable:
        raise refuse(directory, found)

    def rank(candidate: Candidate) -> tuple[bool, bool, int, float, bytes]:
        health = directory.health(candidate.offer.endpoint_id)
        rtt = rtt_ms(candidate.offer.endpoint_id)
        return (
            health.cooling(now),
            rtt is None,
            health.open_exchanges,
            rtt if rtt is not None else 0.0,
            candidate.offer.endpoint_id,
        )

    return tuple(sorted(found.usable, key=rank))


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

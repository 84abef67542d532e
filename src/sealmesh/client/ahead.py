"""When a host is asked ahead of need, and which of its epochs counts now. Pure: times are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.limits import CLOCK_SKEW_S, EPOCH_ANNOUNCE_S, EPOCH_S

#: A verdict is renewed when this part of its life has passed: the rest is for three tries and a busy host [CH-13].
RENEW_AFTER: Final = 0.7
#: The next epoch is announced when this part of the current one has passed; asked for a little later, so that the
#: owner has signed it.
FETCH_AFTER: Final = 1 - EPOCH_ANNOUNCE_S / EPOCH_S + 0.02
#: No host is asked for keys again before this part of an epoch has passed.
FETCH_INTERVAL: Final = 0.04
#: Pause after a first try that failed, in seconds; doubles with each.
RETRY_S: Final = 1.0
#: The same while a verdict still holds, or a third of what is left of it: a short outage should not cost it.
RENEWAL_RETRY_S: Final = 15.0
#: No pause between tries is longer, in seconds.
RETRY_MAX_S: Final = 30.0
#: Pause after a chip had no time for an activation, in seconds; doubles with each, up to the second.
ACTIVATION_RETRY_S: Final = 5.0
ACTIVATION_RETRY_MAX_S: Final = 60.0
#: Pause after a host was dropped, in seconds; doubles with each time, up to the second.
DROPPED_S: Final = 10.0
DROPPED_MAX_S: Final = 300.0
#: Busy answers beyond so many are not counted; the pause has reached its most by then.
BUSY_COUNTED: Final = 8
#: Hosts asked at once: a mesh of silent hosts holds no more tasks than this in a stream. As many again of those that
#: have a verdict: whoever is silent from the start does not keep them from being renewed.
ASKED_AT_ONCE: Final = 64
#: The clocks are compared this often, in seconds.
TICK_S: Final = 1.0


def renewal_due(verdict: HostVerdict, max_age: float) -> float:
    """Return when a verdict is to be renewed, Unix seconds.

    Args:
        verdict: The live one.
        max_age: The oldest that the policy takes, in seconds.
    """
    return verdict.confirmed_at + RENEW_AFTER * min(max_age, verdict.expires - verdict.confirmed_at)


def fetch_due(hosts: Sequence[VerifiedHost], *, now: float, since_fetch: float) -> float:
    """Return when the next epoch's keys should be there to be fetched, Unix seconds.

    Args:
        hosts: What is held, one for each epoch.
        now: Unix seconds.
        since_fetch: How long ago keys came last, in seconds.
    """
    newest = max(hosts, key=lambda one: one.not_after, default=None)
    if newest is None:
        return now + max(0.0, FETCH_INTERVAL * EPOCH_S - since_fetch)
    lifetime = newest.not_after - newest.not_before
    return max(newest.not_before + FETCH_AFTER * lifetime, now + FETCH_INTERVAL * lifetime - since_fetch)


def retry_pause(*, failures: int, dropped: int, left: float | None) -> float:
    """Return how long to wait after a try that failed, in seconds.

    Args:
        failures: Tries in a row without an answer.
        dropped: How often the host was dropped since it last answered rightly.
        left: How long its verdict lasts still, in seconds, also below zero; None where there is none.
    """
    if left is not None or not dropped:
        first = RETRY_S if left is None else max(RETRY_S, min(RENEWAL_RETRY_S, left / 3))
        return min(first * 2.0 ** min(max(failures - 1, 0), 10), RETRY_MAX_S)
    return min(DROPPED_S * 2.0 ** min(dropped - 1, 10), DROPPED_MAX_S)


def activation_pause(tries: int, *, spread: float) -> float:
    """Return how long to wait after an activation that a host had no time for, in seconds.

    Args:
        tries: In a row, 1 or more.
        spread: 0 to 1, drawn anew each time. Verifiers that a host turned away together must not come back together:
            few of them would be let in at once, and its chip would rest until the next time.
    """
    return min(ACTIVATION_RETRY_S * 2.0 ** min(tries - 1, 10), ACTIVATION_RETRY_MAX_S) * (0.5 + spread)


def host_of_now(hosts: Sequence[VerifiedHost], now: float) -> VerifiedHost | None:
    """Return the host of the epoch that `now` falls into, else of one that begins within the clocks' skew."""
    begun = [host for host in hosts if host.not_before <= now < host.not_after]
    if begun:
        return max(begun, key=lambda host: host.not_before)
    soon = [host for host in hosts if now < host.not_before <= now + CLOCK_SKEW_S]
    return min(soon, key=lambda host: host.not_before, default=None)

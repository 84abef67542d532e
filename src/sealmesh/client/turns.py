"""One host after the other, until one answers: what both ways of dialing share, each with candidates of its own type.

Hosts are changed only before anything of an answer was shown to the app (DESIGN.md section 9).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from sealmesh.client.answer import HostAnswer, HostRefusedError, is_host_failure
from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    RemoteProtocolError,
    SealmeshError,
    TransportError,
    VerificationError,
)
from sealmesh.routing.directory import Directory, Routed
from sealmesh.sealed.refusal import Refusal

_log = logging.getLogger("sealmesh.client")

CONTEXT_CODE: Final = "context_length_exceeded"
#: Codes of errors with which a host says that it is not the one, rather than that the request is wrong.
_ELSEWHERE: Final = frozenset({CONTEXT_CODE, "model_not_found", "model_unavailable"})

_C = TypeVar("_C", bound=Routed)


async def ask_in_turn(
    candidates: Sequence[_C],
    ask: Callable[[_C], Awaitable[HostAnswer | None]],
    *,
    directory: Directory,
    now: Callable[[], float],
) -> HostAnswer | None:
    """Ask one candidate after the other; the first answer that no other can better is the answer.

    Args:
        candidates: Best first.
        ask: Asks one; None if it may not be asked any more.
        directory: Told how each behaves.
        now: Unix seconds.

    Returns:
        The answer; None if nobody was asked.

    Raises:
        BusyError: One of them was busy, and none answered: waiting helps.
        SealmeshError: What the last one that was asked failed with.
    """
    last: SealmeshError | None = None
    busy: SealmeshError | None = None
    busy_ones: list[_C] = []
    too_small = 0  # tokens: hosts that give no more need not be asked
    for position, candidate in enumerate(candidates):
        if 0 < candidate.context_length <= too_small:
            continue
        endpoint_id = candidate.offer.endpoint_id
        others = candidates[position + 1 :]
        try:
            answer = await ask(candidate)
            if answer is None:
                continue
            last = await _pass_over(answer, candidate, others, [*others, *busy_ones])
            if last is None:
                return answer
        except VerificationError as error:
            # Its verdict ended while it was reached: no fault of its own.
            last = HostLostError("the host may not be used any more")
            last.__cause__ = error
            continue
        except HostRefusedError as error:
            last = BusyError("the host is busy") if error.code == Refusal.BUSY else error
        except (BusyError, TransportError, RemoteProtocolError, BackendError) as error:
            if isinstance(error, BackendError) and not may_help_elsewhere(error.status, error.code):
                raise
            last = error
        if _is_busy(last):
            busy = last
            busy_ones.append(candidate)
            directory.note_busy(endpoint_id, now())
        elif is_host_failure(last):
            directory.note_failure(endpoint_id, now())
            _log.warning("host %s failed before its answer: %s", endpoint_id.hex()[:12], type(last).__name__)
        if isinstance(last, BackendError) and last.code == CONTEXT_CODE:
            too_small = max(too_small, candidate.context_length)
    if busy is not None:
        raise busy
    if last is not None:
        raise last
    return None


async def _pass_over(
    answer: HostAnswer, candidate: Routed, others: Sequence[Routed], larger: Sequence[Routed]
) -> BackendError | None:
    """Why the next host is asked although this one has answered, its answer closed; None to keep the answer.

    Nothing of it has been shown to the app.

    Args:
        answer: Its head has come.
        candidate: Whose it is.
        others: Who can be asked still.
        larger: Who might have context enough where this one has not: those, and who was busy a moment ago.
    """
    reason = None
    try:
        if others and (answer.status >= 500 or answer.status == 429):
            reason = BackendError(answer.status, "backend_error", "The host's engine failed.")
        elif (
            answer.status == 400
            and any(_gives_more(other, candidate) for other in larger)
            and await answer.says(CONTEXT_CODE)
        ):
            reason = BackendError(400, CONTEXT_CODE, "The request needs more context than a host gives.")
    except BaseException:
        await answer.close()
        raise
    if reason is not None:
        await answer.close()
    return reason


def _is_busy(error: SealmeshError) -> bool:
    return isinstance(error, BusyError) or (isinstance(error, BackendError) and error.status in (429, 503))


def may_help_elsewhere(status: int, code: str) -> bool:
    """Whether another host may answer what one has failed at, by the status and code that it gave."""
    return status >= 500 or status == 429 or code in _ELSEWHERE


def _gives_more(other: Routed, than: Routed) -> bool:
    """Whether a host may give a request more context; 0 is unknown."""
    return other.context_length > than.context_length or 0 in (other.context_length, than.context_length)

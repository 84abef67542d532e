"""Tells people how far a model's fetching and checking has come, without a line for every chunk."""

from __future__ import annotations

from collections.abc import Callable

from sealmesh.backend.models import Progress

_STEP_PERCENT = 20


def progress_to(emit: Callable[[dict[str, object]], None]) -> Callable[[Progress], None]:
    """Return a callback that emits an event at each new phase and at each fifth of a known size."""
    last: tuple[str, str, int] = ("", "", 0)

    def tell(progress: Progress) -> None:
        nonlocal last
        percent = 100 * progress.done // progress.total if progress.total else 0
        mark = (progress.phase, progress.message, percent // _STEP_PERCENT)
        if mark == last:
            return
        last = mark
        message = f"{progress.message} ({percent} %)" if progress.total else progress.message
        emit({"event": "model", "phase": progress.phase, "message": message})

    return tell

"""Of failures that came together, the one to tell."""

from __future__ import annotations

from sealmesh.errors import SealmeshError


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure that the command line can put into words; our own errors before anybody else's."""
    flat: list[BaseException] = []

    def gather(group: BaseExceptionGroup[BaseException]) -> None:
        for error in group.exceptions:
            if isinstance(error, BaseExceptionGroup):
                gather(error)
            else:
                flat.append(error)

    gather(failures)
    return next((error for error in flat if isinstance(error, SealmeshError)), flat[0])

"""What came of an attack, in data."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class NotTriedError(Exception):
    """The attack cannot be made here; the message says why."""


class Result(enum.StrEnum):
    """How one try ended."""

    WORKED = "worked"
    REFUSED = "refused"  # or: it had no effect
    REPORTED = "reported"  # it had an effect, and the process says so of itself
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One try against one process.

    Attributes:
        result: How it ended.
        reason: Why, in words of ours or of the system; "" for nothing.
    """

    result: Result
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attack, against a process like a node's and against one without protection.

    Attributes:
        id: Its stable name.
        what: What was tried, in words.
        attacker: `same user` or `root`.
        hardened: What came of it against a process that is hardened as a node is.
        unprotected: The same attack against one that is not: what shows that the attack is a real one.
        should_hold: Whether it is a failure if it works. Nothing keeps root out.
    """

    id: str
    what: str
    attacker: str
    hardened: Outcome
    unprotected: Outcome
    should_hold: bool

    @property
    def failed(self) -> bool:
        """Whether an attack worked that should not."""
        return self.should_hold and self.hardened.result is Result.WORKED

    @property
    def missed(self) -> bool:
        """Whether an attack that can be made here was not made where it counts: a process that did not start, say."""
        untried = self.hardened.result is Result.NOT_TRIED
        return self.should_hold and untried and self.unprotected.result is not Result.NOT_TRIED

    @property
    def shown(self) -> bool:
        """Whether the defence was seen to be what stopped it: it works without."""
        stopped = self.hardened.result in (Result.REFUSED, Result.REPORTED)
        return stopped and self.unprotected.result is Result.WORKED

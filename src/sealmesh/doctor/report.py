"""The whole of what the doctor found, as data: for a page of words, for JSON, for an exit code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sealmesh import __version__
from sealmesh.doctor.checks import Check
from sealmesh.doctor.outcome import Attempt, Outcome, Result
from sealmesh.doctor.startup import startup_attacks
from sealmesh.doctor.trial import attack_folder, self_attacks
from sealmesh.hardening.posture import Control, State, state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the doctor found.

    Attributes:
        as_root: Whether root asked.
        posture: Of a process started and hardened as a node is: control to its text; empty where none started.
        node_posture: What the node that runs on this home says of itself; None where none can be asked.
        checks: Of the set-up.
        attempts: Of the attacks.
    """

    as_root: bool
    posture: Mapping[str, str]
    node_posture: Mapping[str, str] | None
    checks: tuple[Check, ...]
    attempts: tuple[Attempt, ...]

    @property
    def holds(self) -> bool:
        """Whether all that should hold was tried and held."""
        tried = any(one.should_hold and one.hardened.result is not Result.NOT_TRIED for one in self.attempts)
        return tried and not any(one.failed or one.missed for one in self.attempts)

    def to_json(self) -> dict[str, Any]:
        """The document of `docs/reference/doctor.schema.json`."""
        return {
            "version": __version__,
            "as_root": self.as_root,
            "holds": self.holds,
            "posture": [control_entry(name, text) for name, text in self.posture.items()],
            "node_posture": None if self.node_posture is None else dict(self.node_posture),
            "checks": [
                {"id": one.id, "verdict": one.verdict.value, "found": one.found, "advice": one.advice}
                for one in self.checks
            ],
            "attacks": [
                {
                    "id": one.id,
                    "what": one.what,
                    "attacker": one.attacker,
                    "should_hold": one.should_hold,
                    "shown": one.shown,
                    "hardened": _outcome(one.hardened),
                    "unprotected": _outcome(one.unprotected),
                }
                for one in self.attempts
            ],
        }


def control_entry(name: str, text: str) -> dict[str, str]:
    """One control: how it stands, why, what it gives and how to get it."""
    state = state_of(text) or State.UNAVAILABLE
    control = Control.named(name)
    return {
        "control": name,
        "state": state.value,
        "reason": text.partition(": ")[2],
        "gives": control.gives,
        "remedy": "" if state is State.ON else control.remedy,
    }


def _outcome(outcome: Outcome) -> dict[str, str]:
    return {"result": outcome.result.value, "reason": outcome.reason}


def examine(checks: list[Check], node_posture: Mapping[str, str] | None) -> Report:
    """Make every attack, and gather all that was found. About ten seconds.

    Args:
        checks: What was found of the set-up.
        node_posture: Of the running node.
    """
    root = os.geteuid() == 0
    with attack_folder() as folder:
        attempts, posture = self_attacks(folder, root=root)  # first: its victim compiles what the others load
        started = startup_attacks(folder)
    return Report(
        as_root=root,
        posture=posture,
        node_posture=node_posture,
        checks=tuple(checks),
        attempts=(*attempts, *started),
    )

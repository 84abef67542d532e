"""`sealmesh doctor`: the set-up, the protection, and the attacks, in words or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sealmesh.cli.failures import EXIT_FAILED, EXIT_RIGHT
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import REASON_SHOWN_MAX, Tone, escape_peer_text, say
from sealmesh.config.load import find_home
from sealmesh.doctor.checks import Check, Verdict
from sealmesh.doctor.outcome import Attempt, Result
from sealmesh.doctor.report import Report, control_entry, examine
from sealmesh.doctor.setup_checks import run_checks
from sealmesh.errors import SealmeshError
from sealmesh.hardening.posture import State

_VERDICT_STYLES: Final[Mapping[Verdict, str]] = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.PROBLEM: "red",
    Verdict.UNKNOWN: "dim",
}
_STATE_STYLES: Final[Mapping[str, str]] = {State.ON: "green", State.OFF: "yellow", State.UNAVAILABLE: "dim"}
ROOT_WORDS: Final = (
    "Root reads every process of this machine; no setting of sealmesh changes that. Whoever is root on a host can read "
    "the prompts that it opens."
)


def run_doctor(home: Path | None, *, as_json: bool) -> int:
    """Look at everything, make the attacks, print what came of it.

    Returns:
        0 where all that should hold holds, 1 where an attack worked that should not, or one or all could not be tried.

    Raises:
        ConfigError: No home can be found.
    """
    folder = find_home(home)
    tone = Tone.of(sys.stderr)
    if not as_json and sys.stderr.isatty():
        say(tone.style("Looking at the set-up, then attacking a process like a node's; about half a minute.", "dim"))
    report = examine(run_checks(folder, lambda: NodeApi.find(folder).status()), _node_posture(folder))
    print(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(report_lines(report, Tone.of(sys.stdout))))
    return EXIT_RIGHT if report.holds else EXIT_FAILED


def _node_posture(home: Path) -> dict[str, str] | None:
    """What the running node says of itself; None where none can be asked."""
    try:
        said: Any = NodeApi.find(home).status().get("posture")
    except SealmeshError:
        return None
    return {str(name): str(text) for name, text in said.items()} if isinstance(said, dict) else None


# --- words ------------------------------------------------------------------------------------------------------


def report_lines(report: Report, tone: Tone) -> list[str]:
    """The whole report for people."""
    return [
        *_title("Set-up", tone),
        *(line for check in report.checks for line in check_lines(check, tone)),
        "",
        *_title("Protection of a node's process on this machine", tone),
        *posture_lines(report.posture, tone),
        *node_lines(report),
        "",
        *_title("Attacks as the same user, tried now", tone),
        *attack_lines([one for one in report.attempts if one.attacker != "root"], tone),
        *_root_lines(report, tone),
        "",
        *ending_lines(report, tone),
    ]


def _title(text: str, tone: Tone) -> list[str]:
    return [tone.style(text, "bold")]


def _shown(text: str) -> str:
    return escape_peer_text(text, most=REASON_SHOWN_MAX)


def check_lines(check: Check, tone: Tone) -> list[str]:
    """One check, and what to do about it."""
    mark = tone.style(check.verdict.value.ljust(11), _VERDICT_STYLES[check.verdict])
    lines = [f"  {mark} {check.id.ljust(13)} {_shown(check.found)}"]
    if check.advice and check.verdict is not Verdict.OK:
        lines.append(f"{' ' * 28}to do: {_shown(check.advice)}")
    return lines


def posture_lines(posture: Mapping[str, str], tone: Tone) -> list[str]:
    """Each control: how it stands, what it gives, how to get it."""
    if not posture:
        return ["  It cannot be told: no process could be started as a node is. The reason stands with the attacks."]
    lines = []
    for name, text in posture.items():
        entry = control_entry(name, text)
        state = entry["state"]
        mark = tone.style(state.ljust(11), _STATE_STYLES[state])
        reason = f" ({_shown(entry['reason'])})" if entry["reason"] else ""
        lines.append(f"  {mark} {name.ljust(18)} {entry['gives']}{reason}")
        if entry["remedy"]:
            lines.append(f"{' ' * 33}to get it: {entry['remedy']}")
    return lines


def node_lines(report: Report) -> list[str]:
    """Where the running node stands otherwise than the process that was tried."""
    if report.node_posture is None:
        return []
    other = [
        f"  the node that runs now says {_shown(name)}: {_shown(report.node_posture.get(name, 'nothing'))}"
        for name, text in report.posture.items()
        if report.node_posture.get(name, "").partition(":")[0] != text.partition(":")[0]
    ]
    return other or ["  The node that runs on this home says the same of itself."]


def attack_lines(attempts: Sequence[Attempt], tone: Tone) -> list[str]:
    """Each attack, and what came of it."""
    return [f"  {_result(one, tone)} {one.what}{_why(one)}" for one in attempts]


def _result(one: Attempt, tone: Tone) -> str:
    match one.hardened.result:
        case Result.WORKED:
            return tone.style("WORKED".ljust(11), "red" if one.should_hold else "yellow")
        case Result.NOT_TRIED:
            return tone.style("not tried".ljust(11), "dim")
        case Result.REPORTED:
            return tone.style("reported".ljust(11), "green")
        case _:
            return tone.style("refused".ljust(11), "green" if one.shown else "dim")


def _why(one: Attempt) -> str:
    if one.hardened.result is Result.NOT_TRIED:
        return f": {_shown(one.hardened.reason)}"
    if one.hardened.result is Result.WORKED:
        return f": {_shown(one.hardened.reason)}" if one.hardened.reason else ""
    shown = "it works without protection" if one.shown else "without protection it fails here too"
    if one.unprotected.result is Result.NOT_TRIED:
        shown = "it could not be tried without protection"
    return f": {_shown(one.hardened.reason)}; {shown}"


def _root_lines(report: Report, tone: Tone) -> list[str]:
    tried = [one for one in report.attempts if one.attacker == "root"]
    if not tried:
        return ["", "Attacks as root were not tried: run this as root to see which work."]
    return ["", *_title("Attacks as root, tried now", tone), *attack_lines(tried, tone), f"  {ROOT_WORDS}"]


def ending_lines(report: Report, tone: Tone) -> list[str]:
    """What it comes to."""
    wrong = [one.what for one in report.attempts if one.failed]
    lines = []
    if report.as_root:
        lines.append(
            "A node that runs as root itself is protected from no other process of root's. "
            "Give it a user of its own, whom nothing else runs as."
        )
    if wrong:
        lines.append(tone.style(f"{len(wrong)} of the attacks worked that should not:", "red"))
        lines += [f"  {what}" for what in wrong]
    elif missed := [one.what for one in report.attempts if one.missed]:
        lines.append(tone.style(f"{len(missed)} of the attacks could be tried only without protection:", "red"))
        lines += [f"  {what}" for what in missed]
    elif not report.holds:
        lines.append(tone.style("No attack could be tried, so nothing is shown.", "red"))
    else:
        lines.append(tone.style("No attack worked that should not.", "green"))
    return lines

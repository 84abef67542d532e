"""What the doctor concludes: its words, its document, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sealmesh.cli.doctor import ROOT_WORDS, report_lines
from sealmesh.cli.terminal import Tone
from sealmesh.doctor.attackers import ATTACKS
from sealmesh.doctor.checks import ok, problem
from sealmesh.doctor.outcome import Attempt, Outcome, Result
from sealmesh.doctor.report import Report
from sealmesh.doctor.trial import WORDS
from sealmesh.hardening.posture import Control

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs" / "reference" / "doctor.schema.json").read_text())
PLAIN = Tone(coloured=False)
WORKED = Outcome(result=Result.WORKED)
REFUSED = Outcome(result=Result.REFUSED, reason="Permission denied")
UNTRIED = Outcome(result=Result.NOT_TRIED, reason="gdb is not installed")


def attempt(hardened: Outcome, unprotected: Outcome = WORKED, *, attacker: str = "same user") -> Attempt:
    return Attempt(
        id="ptrace",
        what="attach as a debugger",
        attacker=attacker,
        hardened=hardened,
        unprotected=unprotected,
        should_hold=attacker != "root",
    )


def report(*attempts: Attempt, node: dict[str, str] | None = None) -> Report:
    posture = {"not_dumpable": "on", "seccomp": "off: the system refuses filters", "yama": "unavailable: no Yama"}
    checks = (ok("disk", "plenty"), problem("tpm", "\x1b[31mred", "do this"))
    return Report(as_root=False, posture=posture, node_posture=node, checks=checks, attempts=attempts)


@pytest.mark.parametrize(
    ("attempts", "holds"),
    [
        ([attempt(REFUSED)], True),
        ([attempt(REFUSED), attempt(WORKED)], False),
        ([attempt(REFUSED), attempt(WORKED, attacker="root")], True),
        ([attempt(REFUSED), attempt(UNTRIED, UNTRIED)], True),  # no such tool here
        ([attempt(REFUSED), attempt(UNTRIED, WORKED)], False),  # the protected process could not be had
        ([attempt(REFUSED), attempt(UNTRIED, REFUSED)], False),
        ([attempt(UNTRIED, UNTRIED)], False),
        ([attempt(WORKED, attacker="root")], False),
        ([], False),
    ],
)
def test_what_holds(attempts: list[Attempt], holds: bool) -> None:
    assert report(*attempts).holds is holds


def test_a_defence_is_shown_only_where_the_attack_works_without_it() -> None:
    assert attempt(REFUSED).shown
    assert attempt(Outcome(result=Result.REPORTED)).shown
    assert not attempt(REFUSED, REFUSED).shown
    assert not attempt(WORKED).shown


@pytest.mark.parametrize("node", [None, {"not_dumpable": "on"}])
def test_the_document_is_of_the_published_form(node: dict[str, str] | None) -> None:
    document = report(attempt(REFUSED), attempt(WORKED, attacker="root"), node=node).to_json()
    jsonschema.validate(json.loads(json.dumps(document)), SCHEMA)
    assert document["posture"][0] == {
        "control": "not_dumpable",
        "state": "on",
        "reason": "",
        "gives": Control.NOT_DUMPABLE.gives,
        "remedy": "",
    }


def words(*attempts: Attempt, node: dict[str, str] | None = None) -> str:
    return "\n".join(report_lines(report(*attempts, node=node), PLAIN))


def test_the_words_say_how_to_get_what_is_not_on() -> None:
    said = words(attempt(REFUSED))
    assert f"to get it: {Control.SECCOMP.remedy}" in said
    assert Control.NOT_DUMPABLE.remedy not in said
    assert "to do: do this" in said
    assert "\x1b" not in said
    assert "No attack worked that should not." in said
    assert "were not tried: run this as root" in said


def test_the_words_say_what_works() -> None:
    said = words(attempt(WORKED), attempt(WORKED, attacker="root"))
    assert "1 of the attacks worked that should not" in said
    assert ROOT_WORDS in said
    assert said.count("WORKED") == 2


def test_the_words_say_why_a_refusal_counts() -> None:
    assert "it works without protection" in words(attempt(REFUSED))
    assert "without protection it fails here too" in words(attempt(REFUSED, REFUSED))
    assert "could not be tried without" in words(attempt(REFUSED, UNTRIED))
    assert "gdb is not installed" in words(attempt(UNTRIED, UNTRIED))
    assert "nothing is shown" in words(attempt(UNTRIED, UNTRIED))
    assert "could be tried only without protection" in words(attempt(REFUSED), attempt(UNTRIED))


def test_a_node_that_says_something_else_of_itself_is_told() -> None:
    node = {"not_dumpable": "off: --no-hardening was given", "seccomp": "off: other", "yama": "unavailable"}
    said = words(attempt(REFUSED), node=node)
    assert "the node that runs now says not_dumpable: off: --no-hardening was given" in said
    assert "now says seccomp" not in said


def test_every_attack_has_words() -> None:
    assert set(WORDS) == set(ATTACKS)

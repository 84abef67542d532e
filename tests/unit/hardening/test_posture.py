"""Posture: frozen findings, what is demanded of them, and the words for what is missing."""

from __future__ import annotations

import pytest

from sealmesh.errors import ConfigError, HardeningError
from sealmesh.hardening.posture import (
    Control,
    Posture,
    State,
    named_controls,
    off,
    on,
    require_controls,
    state_of,
    unavailable,
)
from sealmesh.limits import POSTURE_CONTROLS_MAX, STATEMENT_TEXT_MAX

POSTURE = Posture(
    (
        on(Control.NOT_DUMPABLE),
        on(Control.SECCOMP, "39 calls are refused"),
        off(Control.LANDLOCK, "other threads run already"),
        unavailable(Control.YAMA, "the kernel does not have it"),
    )
)


def test_each_state_is_said_with_its_reason() -> None:
    assert POSTURE.texts() == {
        "not_dumpable": "on",
        "seccomp": "on: 39 calls are refused",
        "landlock": "off: other threads run already",
        "yama": "unavailable: the kernel does not have it",
    }
    assert [state_of(text) for text in POSTURE.texts().values()] == [State.ON, State.ON, State.OFF, State.UNAVAILABLE]


@pytest.mark.parametrize("text", ["", "ON", "onwards", "on fire", "perhaps: on"])
def test_a_text_that_says_no_state_is_none(text: str) -> None:
    assert state_of(text) is None


def test_a_later_finding_replaces_an_earlier_one() -> None:
    newer = POSTURE.merged([on(Control.LANDLOCK)])
    assert newer.get(Control.LANDLOCK).state is State.ON
    assert len(newer.findings) == len(POSTURE.findings)
    assert POSTURE.get(Control.LANDLOCK).state is State.OFF


def test_what_was_not_looked_at_is_never_on() -> None:
    assert Posture().get(Control.SECCOMP).state is State.UNAVAILABLE


def test_texts_fit_into_a_host_statement() -> None:
    text = off(Control.NO_PRELOAD, "/tmp/\x1b[2J" + "ü" * 500).text
    assert len(text.encode()) <= STATEMENT_TEXT_MAX
    assert text.isprintable()
    assert len(Control) + 2 <= POSTURE_CONTROLS_MAX  # the backend's two entries go beside them
    assert all(len(control.id) <= STATEMENT_TEXT_MAX for control in Control)


def test_every_control_says_what_it_gives_and_how_to_get_it() -> None:
    assert all(control.gives and control.remedy for control in Control)
    assert [Control.named(control.id) for control in Control] == list(Control)


def test_demanded_controls_that_are_on_are_enough() -> None:
    require_controls(POSTURE, named_controls(["seccomp", " not_dumpable", "seccomp"]))
    require_controls(POSTURE, ())


def test_each_missing_control_is_named_with_its_reason_and_its_remedy() -> None:
    with pytest.raises(HardeningError) as refused:
        require_controls(POSTURE, named_controls(["landlock", "seccomp", "yama", "mdwe"]))
    words = str(refused.value)
    assert "landlock is off: other threads run already" in words
    assert "yama is unavailable: the kernel does not have it" in words
    assert "mdwe is unavailable" in words
    assert "seccomp is" not in words
    for control in (Control.LANDLOCK, Control.YAMA, Control.MDWE):
        assert control.remedy in words


def test_a_control_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"no control 'secomp'.*seccomp"):
        named_controls(["secomp"])

"""A conversation that the app does not name is known by how it begins, and by nothing that comes later."""

from __future__ import annotations

import json

import pytest

from sealmesh.api.conversation import LOOK_MAX, conversation_of

SYSTEM = {"role": "system", "content": "You are kind."}
FIRST = {"role": "user", "content": "What is a fork?"}
MORE = [{"role": "assistant", "content": "A tool."}, {"role": "user", "content": "And a spoon?"}]


def name(messages: object, **how: object) -> str:
    return conversation_of(memoryview(json.dumps(messages, **how).encode()))  # type: ignore[arg-type]


def test_what_comes_later_changes_nothing() -> None:
    assert name([SYSTEM, FIRST]) == name([SYSTEM, FIRST, *MORE]) == name([SYSTEM, FIRST, *MORE[:1]])
    assert name([FIRST]) == name([FIRST, *MORE])


def test_another_beginning_is_another_conversation() -> None:
    names = {name([SYSTEM, FIRST]), name([FIRST]), name([SYSTEM, MORE[1]]), name([SYSTEM]), name([FIRST, SYSTEM])}
    assert len(names) == 4  # the last two of a kind: what follows the first question is not looked at
    assert all(one.startswith("begins:") for one in names)


@pytest.mark.parametrize("size", [LOOK_MAX - 60, LOOK_MAX - 1, LOOK_MAX, 10 * LOOK_MAX])
def test_a_long_first_message_is_known_by_its_beginning(size: int) -> None:
    long = {"role": "user", "content": "\u00e9" * size}
    assert name([long]) == name([long, *MORE])
    other = {"role": "user", "content": "x" + "\u00e9" * size}
    assert name([long]) != name([other])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"[",
        b"[1]",
        b"[1,2,3",
        b"[{}]",
        b"[[]]",
        b"[1e999999]",
        b"[" + b"9" * 9000,
    ],
)
def test_whatever_stands_there_it_does_not_fail(text: bytes) -> None:
    found = conversation_of(memoryview(text))
    assert found == "" if text[:1] != b"[" else found.startswith("begins:")


def test_no_text_of_it_is_in_the_name() -> None:
    assert "fork" not in name([FIRST])

"""A20: a peer's text with escape codes, right-to-left overrides or 10 kB of letters reaches a terminal."""

from __future__ import annotations

import copy
import io
import unicodedata
from typing import Any

import pytest

from kit.fake_node import PROOF, STATUS, FakeNode, Reply, error, events, model
from sealmesh.cli.chat import Chat, lock_line
from sealmesh.cli.events import pretty_lines
from sealmesh.cli.failures import describe
from sealmesh.cli.look import host_lines, model_lines, status_lines
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone
from sealmesh.errors import ConfigError, RoutingError, RoutingFault, VerificationError

PLAIN = Tone(coloured=False)
#: The title changed, the screen cleared, the clipboard written, a line overwritten, a name turned around, marks piled
#: up, invisible tags, an 8-bit control, a new line with a forged row, and a flood.
HOSTILE = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "honest\rtier: confidential",
    "\u202eslaitnederc\u202c",
    "\u2066\u2067x\u2069",
    "a" + "\u0338\u20e0" * 5000,
    "\U000e0073\U000e0065",
    "\x9b31mred",
    "attic\n3f9c3f9c3f9c…  attic  m  confidential",
    "A" * 10_000,
    "部" * 10_000,
)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
LINE_MAX = 1000  # a hostile value may fill its own cell, not the screen


def assert_safe(lines: list[str]) -> None:
    for line in lines:
        assert not {unicodedata.category(letter) for letter in line} & HIDDEN, line
        assert len(line) <= LINE_MAX
        marks = [unicodedata.category(letter) in {"Mn", "Me"} for letter in line]
        assert not any(all(marks[start : start + 3]) for start in range(len(marks) - 2))


def poisoned(value: Any, text: str) -> Any:
    """The same document with `text` for every string in it, keys of free maps included."""
    match value:
        case str():
            return text
        case list():
            return [poisoned(entry, text) for entry in value]
        case dict():
            return {name: poisoned(entry, text) for name, entry in value.items()}
        case _:
            return value


@pytest.mark.parametrize("text", HOSTILE)
def test_a20_in_the_tables_of_hosts_models_and_status(text: str) -> None:
    status = poisoned(copy.deepcopy(STATUS), text)
    status["peers"][0]["refused"] = [text, text]
    status["exchanges"]["failed_by_reason"] = {text: 1}
    refused = model("m", usable=False)
    refused["sealmesh"]["refused"] = {text: text}
    rows = host_lines(status["peers"], PLAIN)
    assert_safe(rows)
    assert len(rows) == len(host_lines(STATUS["peers"], PLAIN)) + 1  # one line of refusal, and no forged row
    assert_safe(model_lines([poisoned(refused, text) | {"sealmesh": refused["sealmesh"]}], PLAIN))
    assert_safe(status_lines(status, PLAIN))


@pytest.mark.parametrize("text", HOSTILE)
def test_a20_in_the_lines_of_a_running_node(text: str) -> None:
    events_seen: list[dict[str, object]] = [
        {"event": "peer_joined", "message": f"{text} joined"},
        {"event": text, "name": text},
        {"event": "ready", "api_url": "http://127.0.0.1:1", "endpoint_id": text},
    ]
    for event in events_seen:
        lines = pretty_lines(event, PLAIN)
        assert not {unicodedata.category(letter) for line in lines for letter in line} & HIDDEN


@pytest.mark.parametrize("text", HOSTILE)
def test_a20_in_errors(text: str) -> None:
    for failure in (
        ConfigError(text),
        VerificationError("name", text),
        RoutingError(RoutingFault.NO_ATTESTED_HOST, refused={"aa" * 32: text}),
    ):
        words = describe(failure)[1]
        assert not {unicodedata.category(letter) for letter in words.replace("\n", "")} & HIDDEN
        assert len(words) <= 5000
        ours = {RoutingError: 2, ConfigError: text.count("\n") + 1}
        assert len(words.split("\n")) == ours.get(type(failure), 1)  # no forged line


@pytest.mark.parametrize("text", HOSTILE)
def test_a20_in_a_chat(text: str) -> None:
    """The host chooses the answer, its headers and its errors; none of them drives the asker's terminal."""
    out = io.StringIO()
    lines = iter(["hi", "again", "/model"])

    def read(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    with FakeNode() as node:
        node.answers += [Reply(events(text, text), headers=PROOF), Reply(error(502, "x", text), 502)]
        node.models(model(text))
        Chat(NodeApi(node.state), "m", read=read, out=out, tone=PLAIN).run()
    shown = out.getvalue().replace("\n", "")
    assert not {unicodedata.category(letter) for letter in shown} & HIDDEN


@pytest.mark.parametrize("text", HOSTILE)
def test_a20_in_the_line_about_an_answer(text: str) -> None:
    for name in PROOF:
        assert_safe([lock_line({**PROOF, name: text})])

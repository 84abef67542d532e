"""What a running node says, for people and for programs."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from sealmesh.cli.events import event_of, json_line, make_emit, pretty_lines
from sealmesh.cli.terminal import Tone
from sealmesh.config import LogFormat

PLAIN = Tone(coloured=False)
READY: dict[str, object] = {
    "event": "ready",
    "api_url": "http://127.0.0.1:9337",
    "console_url": "http://127.0.0.1:3131",
    "endpoint_id": "aa" * 32,
}


def test_a_json_line_is_one_object_in_ascii() -> None:
    line = json_line({**READY, "message": "zwei\nZeilen \x1b[31m"}, datetime(2026, 11, 22, 10, 0, 0, 5000, UTC))
    assert "\n" not in line
    assert line.isascii()
    value = json.loads(line)
    assert list(value)[:3] == ["timestamp", "level", "event"]
    assert value["timestamp"] == "2026-11-22T10:00:00.005Z"
    assert (value["level"], value["event"], value["api_url"]) == ("info", "ready", "http://127.0.0.1:9337")


def test_json_goes_to_stdout_and_words_to_stderr() -> None:
    out, err = io.StringIO(), io.StringIO()
    make_emit(LogFormat.JSON, out=out, err=err)({"event": "note"})
    assert json.loads(out.getvalue())["event"] == "note"
    assert err.getvalue() == ""
    out.truncate(0)
    make_emit(LogFormat.PRETTY, out=out, err=err)({"event": "warning", "level": "warning", "message": "hm"})
    assert err.getvalue() == "warning: hm\n"
    assert out.getvalue().strip("\x00") == ""


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_who_does_not_listen_any_more_does_not_end_the_node(log_format: LogFormat) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    make_emit(log_format, out=Gone(), err=Gone())({"event": "note", "message": "hm"})


def test_ready_shows_the_ticket_once_and_only_if_there_is_one() -> None:
    with_ticket = "\n".join(pretty_lines({**READY, "ticket": "sealmesh1abc"}, PLAIN))
    assert with_ticket.count("sealmesh1abc") == 1
    assert "secret" in with_ticket
    assert "--join-file" in with_ticket
    without = "\n".join(pretty_lines(READY, PLAIN))
    assert "icket" not in without
    assert "http://127.0.0.1:9337/v1" in without


def test_a_headless_node_has_no_console_line() -> None:
    assert "console" not in "\n".join(pretty_lines({**READY, "console_url": None}, PLAIN))


def test_an_event_without_words_shows_its_fields() -> None:
    assert pretty_lines({"event": "peer_joined", "name": "\x1b[2J"}, PLAIN) == ["peer joined name=\\x1b[2J"]


def record(name: str, message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord(name, logging.ERROR, "file.py", 1, message, arguments, info)


def test_our_log_lines_are_told_without_tracebacks() -> None:
    event = event_of(record("sealmesh.host", "stream of %s failed", "aa", error=ValueError("the prompt")))
    assert event["message"] == "stream of aa failed (ValueError)"
    assert event["logger"] == "sealmesh.host"
    assert event["level"] == "error"


def test_other_libraries_log_lines_are_told_by_their_class_only() -> None:
    event = event_of(record("asyncio", "Task exception was never retrieved: %s", "the prompt", error=OSError("x")))
    assert event["message"] == "asyncio reports a problem (OSError)"
    assert "the prompt" in str(event_of(record("asyncio", "%s", "the prompt"), debug=True)["message"])

"""What a running node says: calm lines on stderr for people, or JSON lines on stdout for programs.

An event is a dict with `event` (a stable name), maybe `level` and `message`, and more. No event and no log line
holds text of a prompt or an answer; a traceback of somebody else's library might, so only its class is told.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, Final

from sealmesh.cli.terminal import REASON_SHOWN_MAX, Tone, escape_peer_text
from sealmesh.config.settings import LogFormat

Emit = Callable[[dict[str, object]], None]
VALUE_SHOWN_MAX: Final = 8192  # a ticket is the longest thing that a line holds
_OURS: Final = "sealmesh"


def make_emit(log_format: LogFormat, *, out: IO[str] | None = None, err: IO[str] | None = None) -> Emit:
    """Return the function that a node tells its events to.

    Args:
        log_format: For people or for programs.
        out: Where JSON lines go; stdout by default.
        err: Where lines for people go; stderr by default.
    """
    if log_format is LogFormat.JSON:
        stream = sys.stdout if out is None else out
        return lambda event: _write(stream, json_line(event, datetime.now(UTC)))
    stream = sys.stderr if err is None else err
    tone = Tone.of(stream)
    return lambda event: _write(stream, "\n".join(pretty_lines(event, tone)))


def _write(stream: IO[str], text: str) -> None:
    """Write a line. Who listened may have left, or the disk of a log be full: no reason for a node to end."""
    if text:
        with contextlib.suppress(OSError):
            stream.write(text + "\n")
            stream.flush()


def json_line(event: Mapping[str, object], at: datetime) -> str:
    """One event as one JSON object in ASCII: timestamp, level and event first."""
    timestamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"timestamp": timestamp, "level": event.get("level", "info"), "event": event.get("event", "note")}
    rest = {name: value for name, value in event.items() if name not in head}
    return json.dumps({**head, **rest}, default=str)


def pretty_lines(event: Mapping[str, object], tone: Tone) -> list[str]:
    """One event as lines for people; none where there is nothing to say."""
    if event.get("event") == "ready":
        return _ready_lines(event, tone)
    message = event.get("message")
    words = str(message) if message else _from_fields(event)
    level = str(event.get("level", "info"))
    mark = {"warning": tone.style("warning: ", "yellow"), "error": tone.style("error: ", "red")}.get(level, "")
    return [mark + escape_peer_text(words, most=REASON_SHOWN_MAX)]


def _from_fields(event: Mapping[str, object]) -> str:
    name = str(event.get("event", "note")).replace("_", " ")
    fields = (f"{key}={value}" for key, value in event.items() if key not in {"event", "level"})
    return " ".join([name, *fields])


def _ready_lines(event: Mapping[str, object], tone: Tone) -> list[str]:
    def field(name: str) -> str:
        return escape_peer_text(str(event.get(name) or ""), most=VALUE_SHOWN_MAX)

    rows = [("API", field("api_url") + "/v1"), ("console", field("console_url")), ("node", field("endpoint_id"))]
    lines = [tone.style("ready", "green")]
    lines += [f"  {tone.style(name.ljust(8), 'dim')} {value}" for name, value in rows if value]
    if field("ticket"):
        lines += [
            "",
            "  A ticket, which is a secret: whoever has it can join this mesh.",
            "  Save it in a file on the other machine, then there: sealmesh client --join-file FILE (or serve)",
            "",
            f"  {field('ticket')}",
            "",
        ]
    return lines


class EventHandler(logging.Handler):
    """Turns log records into events, and keeps content out of them.

    Of another library's records only the logger and the exception's class are told: their words can hold what was
    being handled.
    """

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        try:
            self._emit(event_of(record, debug=os.environ.get("SEALMESH_DEBUG") == "1"))
        except Exception:  # a log line never brings the node down
            self.handleError(record)


def event_of(record: logging.LogRecord, *, debug: bool = False) -> dict[str, object]:
    """A log record as an event."""
    ours = record.name.partition(".")[0] == _OURS
    message = record.getMessage() if ours or debug else f"{record.name} reports a problem"
    if record.exc_info and record.exc_info[0] is not None:
        message += f" ({record.exc_info[0].__name__})"
    return {"event": "log", "level": record.levelname.lower(), "logger": record.name, "message": message}


def start_logging(log_format: LogFormat, emit: Emit) -> None:
    """Send log records to `emit`: ours from INFO for programs and WARNING for people, others from ERROR."""
    handler = EventHandler(emit)
    logging.raiseExceptions = False  # its traceback would show the record's arguments
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR)
    logging.getLogger(_OURS).setLevel(logging.INFO if log_format is LogFormat.JSON else logging.WARNING)

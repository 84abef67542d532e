"""The one table from an error's class to what the command line says and exits with.

Exit codes: 0 right, 1 refused or failed, 2 usage or configuration (DESIGN.md section 3).
"""

from __future__ import annotations

import os
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from sealmesh import errors
from sealmesh.cli.terminal import NAME_SHOWN_MAX, REASON_SHOWN_MAX, Tone, escape_peer_text, say

EXIT_RIGHT: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
MESSAGE_SHOWN_MAX: Final = 4000  # a ConfigError can quote the last words of a process
_HOSTS_SHOWN_MAX: Final = 10

Words = Callable[[Any], str]


def _own(error: Exception) -> str:
    return str(error)


def _routing(error: errors.RoutingError) -> str:
    words = {
        errors.RoutingFault.UNKNOWN_MODEL: "no host serves that model; `sealmesh models` lists what there is",
        errors.RoutingFault.NO_HOST: "no host can be reached now",
        errors.RoutingFault.NO_ATTESTED_HOST: "no host meets your policy",
    }[error.fault]
    shown = list(error.refused.items())[:_HOSTS_SHOWN_MAX]
    lines = [f"  {host[:12]}…: {escape_peer_text(reason, most=REASON_SHOWN_MAX)}" for host, reason in shown]
    if len(error.refused) > len(shown):
        lines.append(f"  and {len(error.refused) - len(shown)} more")
    return "\n".join([words, *lines])


def _line(text: str) -> str:
    """One line, whatever is in it: a reason may quote what a peer chose."""
    return escape_peer_text(text, most=MESSAGE_SHOWN_MAX)


def _after(words: str) -> Words:
    def say_it(error: Exception) -> str:
        return f"{words}: {_line(str(error))}"

    return say_it


#: Every class of the tree by name, so that a new one without words fails a test.
TABLE: Final[Mapping[type[errors.SealmeshError], tuple[int, Words]]] = {
    errors.SealmeshError: (EXIT_FAILED, _own),
    errors.ConfigError: (EXIT_USAGE, _own),
    errors.LocalProtocolError: (
        EXIT_FAILED,
        _after("sealmesh made a move that its protocol forbids, please report it"),
    ),
    errors.RemoteProtocolError: (EXIT_FAILED, _after("the other side broke the protocol")),
    errors.VerificationError: (EXIT_FAILED, _after("not verified")),
    errors.RoutingError: (EXIT_FAILED, _routing),
    errors.TransportError: (EXIT_FAILED, _after("the connection failed")),
    errors.StreamResetError: (EXIT_FAILED, _after("the other side broke the stream off")),
    errors.ConnectionLostError: (EXIT_FAILED, _after("the connection was lost")),
    errors.TransportTimeoutError: (EXIT_FAILED, _after("the other side did not answer in time")),
    errors.NotAdmittedError: (EXIT_FAILED, _after("no way into the mesh")),
    errors.HostLostError: (EXIT_FAILED, _after("the host was lost before its answer ended")),
    errors.HostTooSlowError: (EXIT_FAILED, _after("the host is alive but too slow")),
    errors.BackendError: (EXIT_FAILED, _after("the engine behind the host failed")),
    errors.BusyError: (EXIT_FAILED, _after("busy now, try again soon")),
    errors.HardeningError: (EXIT_FAILED, _after("a demanded protection could not be put in force")),
    errors.AttesterError: (EXIT_FAILED, _after("this machine's chip did not do what was asked")),
    errors.AttesterUnavailableError: (EXIT_FAILED, _after("this machine has no such chip")),
    errors.RequestError: (EXIT_FAILED, lambda error: _line(error.message)),
}


def describe(error: errors.SealmeshError) -> tuple[int, str]:
    """The exit code and the words for an error; a subclass without a row of its own gets its parent's.

    Every line is escaped: words can hold names of files, and reasons that were made from a peer's values.
    """
    for kind in type(error).__mro__:
        if kind in TABLE:
            code, words = TABLE[kind]
            lines = words(error)[:MESSAGE_SHOWN_MAX].split("\n")
            return code, "\n".join(_line(line) for line in lines)
    raise AssertionError("SealmeshError has a row")


def report(error: BaseException) -> int:
    """Tell the user on stderr what went wrong, without a traceback, and return the exit code.

    With SEALMESH_DEBUG=1 the traceback is shown too: it may hold anything that was in memory.
    """
    if os.environ.get("SEALMESH_DEBUG") == "1":
        traceback.print_exception(error)
    tone = Tone.of(sys.stderr)
    if isinstance(error, errors.SealmeshError):
        code, words = describe(error)
        say(f"{tone.style('error', 'red')}: {words}")
        return code
    name = escape_peer_text(type(error).__name__, most=NAME_SHOWN_MAX)
    say(
        f"{tone.style('internal error', 'red')} {secrets.token_hex(4)} ({name}{_place(error)}). "
        "This is a bug in sealmesh; run again with SEALMESH_DEBUG=1 to see more, and please report it."
    )
    return EXIT_FAILED


def _place(error: BaseException) -> str:
    """Where it happened: a module and a line of code, never a value."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}sealmesh{os.sep}" in frame.filename]
    if not ours:
        return ""
    folder, _, name = ours[-1].filename.rpartition(os.sep)
    return f" at {folder.rpartition(os.sep)[2]}/{name}:{ours[-1].lineno}"

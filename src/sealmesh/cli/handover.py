"""Takes a ticket out of the process list and the environment: a ticket is a secret, and both can be read from outside.

The process starts itself anew in the same place (same pid), without the ticket among its arguments or in its
environment; the ticket waits in an anonymous memory file that only this process holds. Who looks in the first
milliseconds can still see it: `--join-file` has no such window.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from sealmesh.cli.arguments import JOINING, take_ticket
from sealmesh.config.load import SECRET_FILE_MAX
from sealmesh.config.settings import Secret
from sealmesh.errors import ConfigError

VARIABLE: Final = "SEALMESH_TICKET_FD"
_TICKET_VARIABLE: Final = "SEALMESH_TICKET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """How the process must be started anew.

    Attributes:
        command: The whole command line, interpreter included, without the ticket.
        environment: Without the ticket.
        ticket: What to hand over.
        origin: "flag" or "environment"; flags win over the environment later.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ticket: Secret
    origin: str


def plan(arguments: Sequence[str], whole: Sequence[str], environment: Mapping[str, str]) -> Handover | None:
    """Decide whether the process must be started anew, and how. Pure.

    Args:
        arguments: `sys.argv[1:]`.
        whole: `sys.orig_argv`: the interpreter and its options before the arguments.
        environment: The environment.

    Returns:
        None if no ticket is visible, or the command line is not the interpreter's own (an embedding program).
    """
    if not JOINING.intersection(arguments[:1]) or environment.get(VARIABLE):
        return None
    count = len(arguments)
    if list(whole[-count:]) != list(arguments):
        return None
    kept, ticket = take_ticket(arguments)
    origin = "flag"
    if ticket is None:
        ticket, origin = environment.get(_TICKET_VARIABLE), "environment"
    if not ticket:
        return None
    return Handover(
        command=(*whole[:-count], *kept),
        environment={name: value for name, value in environment.items() if name != _TICKET_VARIABLE},
        ticket=Secret(ticket),
        origin=origin,
    )


def hide_ticket() -> None:
    """Start this process anew without its ticket in sight, if it has one. Does not return then."""
    found = plan(sys.argv[1:], sys.orig_argv, os.environ)
    if found is None:
        return
    text = found.ticket.reveal().encode("utf-8", "surrogateescape")
    if len(text) > SECRET_FILE_MAX:
        raise ConfigError("what was given to join with is longer than any ticket")
    descriptor = _memory_file(text)
    environment = {**found.environment, VARIABLE: f"{descriptor}:{found.origin}"}
    os.execve(sys.executable, found.command, environment)  # noqa: S606 - our own command line


def _memory_file(content: bytes) -> int:
    """Return an inheritable descriptor from which `content` can be read; no path leads to it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sealmesh", 0)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        # macOS: a pipe holds at least 16 KiB, so that this write does not wait for a reader.
        descriptor, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
    os.set_inheritable(descriptor, True)
    return descriptor


def receive_ticket(environment: MutableMapping[str, str]) -> tuple[str, Secret] | None:
    """Take the ticket that was handed over, close its file and forget it there.

    Returns:
        Origin ("flag" or "environment") and ticket; None if none was handed over.

    Raises:
        ConfigError: The variable is set and leads to nothing.
    """
    value = environment.pop(VARIABLE, "")
    if not value:
        return None
    number, _, origin = value.partition(":")
    pieces: list[bytes] = []
    try:
        descriptor = int(number)
        if descriptor <= 2:
            raise ValueError
        try:
            while piece := os.read(descriptor, SECRET_FILE_MAX + 1):
                pieces.append(piece)
                if sum(map(len, pieces)) > SECRET_FILE_MAX:
                    raise ValueError
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    except (ValueError, OSError):
        raise ConfigError(f"{VARIABLE} is for sealmesh itself; give a ticket with --join-file") from None
    return ("flag" if origin == "flag" else "environment"), Secret(b"".join(pieces).decode("utf-8", "replace"))

"""Starts this process anew, in place: without its ticket in sight, and where nothing around it chooses its code.

A ticket is a secret, and the process list and the environment can be read from outside. It waits in an anonymous
memory file that only this process holds, while the process starts itself anew in the same place (same pid). Who looks
in the first milliseconds can still see it: `--join-file` has no such window.

All of it runs in the first start of every command that holds secrets, so this module loads nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from sealmesh.config.settings import Secret

VARIABLE = "SEALMESH_TICKET_FD"
_TICKET_VARIABLE = "SEALMESH_TICKET"
_TICKET_OPTION = "--join"
#: Commands that take a ticket.
JOINING = frozenset({"serve", "client"})
#: Commands whose process holds a key, a ticket or prompts: they are started isolated.
HOLDING_SECRETS = JOINING | {"chat", "ticket", "victim"}
#: For developers: nothing is put in force, and the posture says so.
UNHARDENED = "--no-hardening"
#: What a pipe holds at least, so that a write does not wait for a reader (macOS); a ticket is far smaller.
_HANDED_MAX = 16 * 1024


class Handover:
    """How the process must be started anew.

    Attributes:
        command: The whole command line, interpreter included, without the ticket.
        environment: Without the ticket, and without what chooses code where the start is isolated.
        ticket: What to hand over; "" for nothing.
        origin: "flag" or "environment"; flags win over the environment later.
    """

    __slots__ = ("command", "environment", "origin", "ticket")

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], ticket: str, origin: str) -> None:
        self.command = tuple(command)
        self.environment = dict(environment)
        self.ticket = ticket
        self.origin = origin


def plan(
    arguments: Sequence[str], whole: Sequence[str], environment: Mapping[str, str], *, isolate: bool = False
) -> Handover | None:
    """Decide whether the process must be started anew, and how.

    Args:
        arguments: `sys.argv[1:]`.
        whole: `sys.orig_argv`: the interpreter and its options before the arguments.
        environment: The environment.
        isolate: Whether the program is the command itself, and may be started in its isolated way.

    Returns:
        None if no ticket is visible and nothing is to be isolated, or the command line is not the interpreter's own
        (an embedding program).
    """
    count = len(arguments)
    if not HOLDING_SECRETS.intersection(arguments[:1]) or list(whole[-count:]) != list(arguments):
        return None
    kept, ticket, origin = list(arguments), None, "flag"
    if not environment.get(VARIABLE):
        kept, ticket = take_ticket(arguments)
        if ticket is None and arguments[0] in JOINING:
            ticket, origin = environment.get(_TICKET_VARIABLE), "environment"
    isolate = isolate and not is_unhardened(arguments)
    if not ticket and not isolate:
        return None
    left = {name: value for name, value in environment.items() if not (ticket and name == _TICKET_VARIABLE)}
    command = [*whole[: len(whole) - count], *kept]
    if isolate:
        from sealmesh.hardening.reexec import isolated_command, scrub

        command = isolated_command(sys.executable, _boot_file(), kept, left)
        left = scrub(left)[0]
    return Handover(command, left, ticket or "", origin)


def take_ticket(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Part the ticket from the arguments of a command that joins.

    Returns:
        The arguments without `--join TICKET`, and the last such ticket; the arguments as they are and None where there
        is none.
    """
    kept: list[str] = []
    ticket: str | None = None
    rest = list(arguments)
    if not JOINING.intersection(rest[:1]):
        return rest, None
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, word, *rest], ticket
        if word == _TICKET_OPTION and rest:
            ticket = rest.pop(0)
        elif word.startswith(f"{_TICKET_OPTION}="):
            ticket = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, ticket


def is_unhardened(arguments: Sequence[str]) -> bool:
    """Whether a developer asked for nothing to be put in force."""
    options = list(arguments)
    if "--" in options:
        options = options[: options.index("--")]
    return UNHARDENED in options


def is_the_command(program: str) -> bool:
    """Whether a program is `sealmesh` or `python -m sealmesh`, and not another one that calls it.

    Args:
        program: `sys.argv[0]`.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.basename(program) == "sealmesh" or os.path.abspath(program) == os.path.join(here, "__main__.py")


def has_restarted() -> bool:
    """Whether this process was restarted already. What undoes the isolation would do so each time, without an end."""
    return getattr(sys.modules["__main__"], "__file__", None) == _boot_file()


def _boot_file() -> str:
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")


def start_anew() -> None:
    """Start this process anew, if a ticket is in sight or it is not isolated yet. Does not return then."""
    from sealmesh.hardening.reexec import is_isolated

    isolate = bool(sys.executable) and not is_isolated() and is_the_command(sys.argv[0]) and not has_restarted()
    found = plan(sys.argv[1:], sys.orig_argv, os.environ, isolate=isolate)
    if found is None:
        return
    if found.ticket:
        text = found.ticket.encode("utf-8", "surrogateescape")
        if len(text) > _HANDED_MAX:
            from sealmesh.errors import ConfigError

            raise ConfigError("what was given to join with is longer than any ticket")
        found.environment[VARIABLE] = f"{_memory_file(text)}:{found.origin}"
    os.execve(sys.executable, found.command, found.environment)  # noqa: S606 - our own command line


def _memory_file(content: bytes) -> int:
    """Return an inheritable descriptor from which `content` can be read; no path leads to it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sealmesh", 0)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
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
    from sealmesh.config.settings import Secret
    from sealmesh.errors import ConfigError

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
            while piece := os.read(descriptor, _HANDED_MAX + 1):
                pieces.append(piece)
                if sum(map(len, pieces)) > _HANDED_MAX:
                    raise ValueError
        finally:
            os.close(descriptor)
    except (ValueError, OSError):
        raise ConfigError(f"{VARIABLE} is for sealmesh itself; give a ticket with --join-file") from None
    return ("flag" if origin == "flag" else "environment"), Secret(b"".join(pieces).decode("utf-8", "replace"))

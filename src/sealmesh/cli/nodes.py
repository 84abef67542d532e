"""`sealmesh serve` and `sealmesh client`: from settings to a running node, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from sealmesh.cli.events import Emit, make_emit, start_logging
from sealmesh.cli.failures import EXIT_RIGHT
from sealmesh.cli.handover import UNHARDENED, receive_ticket
from sealmesh.cli.units import SERVICE_VARIABLE
from sealmesh.config.load import load_settings
from sealmesh.config.settings import Mode, Settings
from sealmesh.hardening.process import harden_process, unhardened_process

_UNHARDENED_WARNING: Final = (
    f"{UNHARDENED}: programs of this user can read prompts and keys in this process; for developers only"
)
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_node(mode: Mode, flags: Mapping[str, object]) -> int:
    """Run a node until it is stopped; return the exit code.

    Args:
        mode: What it is for.
        flags: What was given on the command line, by the names of the settings.

    Raises:
        ConfigError: A setting cannot be used.
        HardeningError: A control that the operator demands is not in force.
        SealmeshError: The node could not start or go on.
    """
    # Before any secret is read. In an isolated start all of it is done already, and only told here.
    unhardened = bool(flags.get("no_hardening"))
    posture = unhardened_process(f"{UNHARDENED} was given") if unhardened else harden_process()
    settings = gather(mode, flags)
    emit = for_a_log(make_emit(settings.log_format), os.environ)
    start_logging(settings.log_format, emit)
    for warning in settings.warnings:
        emit({"event": "warning", "level": "warning", "message": warning})
    if unhardened:
        emit({"event": "warning", "level": "warning", "message": _UNHARDENED_WARNING})
    # The whole house: only when a node is wanted, and its settings are right.
    from sealmesh.node.confine import confine
    from sealmesh.node.run import run

    posture = confine(settings, posture)  # before any thread
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(until_stopped(run(settings, emit, posture=posture), emit))


def for_a_log(emit: Emit, environment: Mapping[str, str]) -> Emit:
    """Leave the ticket out of what a service says: its words go to a log that others may read."""
    if not environment.get(SERVICE_VARIABLE):
        return emit

    def say(event: dict[str, object]) -> None:
        emit({name: value for name, value in event.items() if name != "ticket"})

    return say


def gather(mode: Mode, flags: Mapping[str, object]) -> Settings:
    """The settings, with a ticket that was handed over at the place where it stood.

    Raises:
        ConfigError: A setting cannot be used.
    """
    given = {name: value for name, value in flags.items() if value not in (None, False, [], ())}
    handed = receive_ticket(os.environ)
    environment = dict(os.environ)
    if handed is not None:
        origin, ticket = handed
        if origin == "flag":
            given["join"] = ticket
        else:
            environment["SEALMESH_TICKET"] = ticket.reveal()
    return load_settings(mode, flags=given, environment=environment)


async def until_stopped(node: Coroutine[Any, Any, int], emit: Emit) -> int:
    """Run a node; SIGTERM, SIGINT and a terminal that closes end it properly, by one cancellation.

    Returns:
        The node's exit code; 0 if it was stopped.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:  # a second signal must not break off the clean-up
            stopped = True
            task.cancel()

    # What was started with `nohup` is to outlive its terminal.
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        return await node
    except asyncio.CancelledError:
        if not stopped:
            raise
        emit({"event": "shutdown", "message": "stopped"})
        return EXIT_RIGHT
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], Any] | None:
    """The loop of uvloop where that is installed."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory

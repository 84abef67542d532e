"""Starts real nodes as child processes and waits for their `ready` events; used by the demo and the benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sealmesh.errors import ConfigError

#: Loading a model on a slow disk takes a while; a node that needs longer has a problem worth seeing.
READY_TIMEOUT_S: Final = 120.0


class NodeProcess:
    """One `sealmesh serve` or `sealmesh client` in a process of its own.

    Args:
        command: `serve` or `client`.
        home: Its home folder.
        arguments: Further arguments.
        environment: Added to the environment.
        interpreter: Which Python runs it; this one where none is given.
    """

    def __init__(
        self,
        command: str,
        *,
        home: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        interpreter: Path | None = None,
    ) -> None:
        self._interpreter = str(interpreter or sys.executable)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._seen: list[dict[str, Any]] = []
        ports = ("--port", "0", "--console-port", "0", "--bind", "127.0.0.1:0")
        self.log_path = home.with_name(home.name + ".log")
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.command_line(command), "--log-format", "json", "--home", str(home), *ports, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        threading.Thread(target=self._read, name=f"events of {command}", daemon=True).start()

    def command_line(self, command: str) -> list[str]:
        """What is started; benchmarks start variants."""
        return [self._interpreter, "-m", "sealmesh", command]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def seen(self) -> tuple[dict[str, Any], ...]:
        """The events that `wait_for` has passed by."""
        return tuple(self._seen)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for above
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put(json.loads(line))
        self._events.put(None)

    def wait_for(self, event: str, *, timeout_s: float = READY_TIMEOUT_S) -> dict[str, Any]:
        """Return the next event of that name, skipping others.

        Raises:
            ConfigError: The node ended, or said nothing of the kind in time; the message holds its last words.
        """
        while True:
            try:
                found = self._events.get(timeout=timeout_s)
            except queue.Empty:
                raise ConfigError(f"the node did not say {event!r} within {timeout_s:g} s{self._words()}") from None
            if found is None:
                raise ConfigError(f"the node ended before it said {event!r}{self._words()}")
            self._seen.append(found)
            if found.get("event") == event:
                return found

    def said(self) -> list[dict[str, Any]]:
        """Every event so far; `wait_for` no longer gets those that it has not had."""
        with contextlib.suppress(queue.Empty):
            while (found := self._events.get_nowait()) is not None:
                self._seen.append(found)
        return list(self._seen)

    def _words(self) -> str:
        with contextlib.suppress(OSError):
            words = self.log_path.read_text("utf-8", "replace").strip()
            if words:
                return ":\n" + words[-2000:]
        return "" if not self._seen else f"; its last event: {self._seen[-1]}"

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self, *, timeout_s: float = 15.0) -> int:
        """Ask it to end, wait, return its exit code. It is killed if it does not end in time."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._process.stdout is not None:
            self._process.stdout.close()

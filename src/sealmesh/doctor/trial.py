"""Starts victims and attackers, as the same user or as root, and gathers what came of each attack."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.doctor.attackers import ATTACKS, CORE_DUMP, CRASHED
from sealmesh.doctor.ordinary import CANNOT, give
from sealmesh.doctor.outcome import Attempt, NotTriedError, Outcome, Result
from sealmesh.doctor.victim import COMMAND, MARKER_VARIABLE

_TIMEOUT_S: Final = 30.0  # a slow disk at a cold start
_READY_TIMEOUT_S: Final = 60.0  # the first start of all compiles everything
_TOOLS_TIMEOUT_S: Final = 200.0  # each tool has its own, shorter one
_EMPTY_ENVIRONMENT: Final = ("HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")

#: What each attack is, in words.
WORDS: Final[Mapping[str, str]] = {
    "ptrace": "attach as a debugger (ptrace) and read memory",
    "proc_mem": "read /proc/PID/mem",
    "process_vm_readv": "read memory by process_vm_readv",
    "proc_environ": "read its environment, /proc/PID/environ",
    "proc_fd": "open its files through /proc/PID/fd",
    "pidfd_getfd": "take a copy of an open file by pidfd_getfd",
    "remote_exec": "run code in it by sys.remote_exec",
    "gdb": "attach gdb and write its memory to a file",
    "gcore": "make a core file of it with gcore",
    "py_spy": "read its variables with py-spy",
    "core_dump": "crash it and take the core file",
}


@dataclass(slots=True)
class Victim:
    """A started process that holds a marker.

    Attributes:
        process: It.
        marker: What it holds.
        ready: What it said when it was ready: pid, address, descriptor, posture.
        folder: Where it may write.
        words: Where its stderr goes.
    """

    process: subprocess.Popen[str]
    marker: str
    ready: Mapping[str, Any]
    folder: Path
    words: Path

    @property
    def posture(self) -> dict[str, str]:
        """Control to `on`, `off: why` or `unavailable: why`."""
        return {str(name): str(text) for name, text in self.ready["posture"].items()}

    def said(self) -> str:
        """What it wrote to stderr so far."""
        return self.words.read_text("utf-8", "replace")


def unprivileged(command: Sequence[str]) -> list[str]:
    """The command as an ordinary user runs it; unchanged where this is one."""
    if os.geteuid() != 0:
        return list(command)
    return [sys.executable, "-I", "-m", "sealmesh.doctor.ordinary", *command]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What victims and attackers get: little, and nothing of the user's secrets."""
    kept = {name: os.environ[name] for name in _EMPTY_ENVIRONMENT if name in os.environ}
    return {**kept, **(extra or {})}


@contextlib.contextmanager
def attack_folder() -> Iterator[Path]:
    """A folder for victims and attackers, which an ordinary user owns; gone afterwards, cores included."""
    folder = Path(tempfile.mkdtemp(prefix="sealmesh-doctor-"))
    try:
        give(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_victim(
    folder: Path,
    *,
    hardened: bool,
    python: str = sys.executable,
    extra: Mapping[str, str] | None = None,
    here: Path | None = None,
) -> Iterator[Victim]:
    """Start a victim and end it.

    Args:
        folder: Its home, where it may write.
        hardened: As a node is; else with none of it, and open to every tracer.
        python: The interpreter.
        extra: Added to its environment.
        here: The folder that it is started from; its home by default.

    Raises:
        NotTriedError: It did not start; the message holds its last words.
    """
    marker = f"marker-{secrets.token_hex(16)}"
    environment = clean_environment({"HOME": str(folder), **(extra or {}), MARKER_VARIABLE: marker})
    switches = [] if hardened else ["--no-hardening"]
    words = folder / f"words-{secrets.token_hex(4)}"
    with words.open("w+") as errors:
        process = subprocess.Popen(
            unprivileged([python, "-m", "sealmesh", COMMAND, str(folder), *switches]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=here or folder,
        )
        try:
            yield Victim(process, marker, _wait_ready(process, words), folder, words)
        finally:
            end(process)


def _wait_ready(process: subprocess.Popen[str], words: Path) -> Mapping[str, Any]:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    watch = threading.Timer(_READY_TIMEOUT_S, process.kill)  # what was planted may keep it from ever being ready
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    with contextlib.suppress(ValueError):
        ready = json.loads(line)
        if isinstance(ready, dict) and ready.get("event") == "ready":
            return ready
    process.kill()
    process.wait()
    said = words.read_text("utf-8", "replace").strip().splitlines()
    raise NotTriedError(f"the process to be attacked did not start: {said[-1][:200] if said else 'it said nothing'}")


def end(process: subprocess.Popen[str]) -> None:
    """Let a victim end as it should; kill it if it does not."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def attack(victim: Victim, names: Sequence[str], *, as_root: bool) -> dict[str, Outcome]:
    """Make attacks on a victim from a process of their own.

    Args:
        victim: Whom.
        names: Which of `ATTACKS`.
        as_root: As root; else as whom the victim runs as.
    """
    order = {
        "pid": victim.ready["pid"],
        "marker": victim.marker,
        "address": victim.ready["address"],
        "descriptor": victim.ready["descriptor"],
        "folder": str(victim.folder),
        "attacks": list(names),
    }
    command = [sys.executable, "-I", "-m", "sealmesh.doctor.attackers"]
    done = subprocess.run(
        command if as_root else unprivileged(command),
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        env=clean_environment({"HOME": str(victim.folder)}),
        cwd=victim.folder,
        timeout=_TOOLS_TIMEOUT_S,
        check=False,
    )
    if done.returncode == CANNOT:
        raise NotTriedError(done.stderr.strip())
    try:
        told = json.loads(done.stdout)
        return {name: Outcome(result=Result(told[name]["result"]), reason=told[name]["reason"]) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        last = done.stderr.strip().splitlines()
        raise NotTriedError(f"the attacker ended early: {last[-1][:200] if last else 'it said nothing'}") from error


def core_outcome(victim: Victim, tried: Outcome) -> Outcome:
    """What came of a crash: the system tells whoever started a process whether its memory was written out.

    That holds for a core file and for a program that is given the memory (`core_pattern` with a pipe) alike.
    """
    if tried.result is Result.NOT_TRIED or tried.reason != CRASHED:
        return tried
    handle = os.pidfd_open(victim.process.pid)
    try:
        if not select.select([handle], [], [], _TIMEOUT_S)[0]:
            return Outcome(result=Result.REFUSED, reason="it did not crash")
        died = os.waitid(os.P_PID, victim.process.pid, os.WEXITED | os.WNOWAIT)
    finally:
        os.close(handle)
    dumped = died is not None and died.si_code == os.CLD_DUMPED
    left = any(victim.marker.encode() in path.read_bytes() for path in victim.folder.glob("*core*") if path.is_file())
    if dumped or left:
        return Outcome(result=Result.WORKED)
    return Outcome(result=Result.REFUSED, reason="no core was written")


def try_on(folder: Path, *, hardened: bool, as_root: bool) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Make every attack on one victim; the last one ends it.

    Returns:
        What came of each, and the victim's own posture.
    """
    if sys.platform != "linux":
        return {name: Outcome(result=Result.NOT_TRIED, reason="it is written for Linux") for name in ATTACKS}, {}
    with running_victim(folder, hardened=hardened) as victim:
        found = attack(victim, list(ATTACKS), as_root=as_root)
        found[CORE_DUMP] = core_outcome(victim, found[CORE_DUMP])
        return found, victim.posture


def _not_tried(reason: str) -> dict[str, Outcome]:
    return {name: Outcome(result=Result.NOT_TRIED, reason=reason) for name in ATTACKS}


def self_attacks(folder: Path, *, root: bool) -> tuple[list[Attempt], dict[str, str]]:
    """Attack a process of our own as the same user, and as root if that is who this is.

    Args:
        folder: What `attack_folder` gave.
        root: Whether this is root.

    Returns:
        Every attempt, and the posture of a process that is hardened as a node is; empty where it did not start.
    """
    attempts: list[Attempt] = []
    posture: dict[str, str] = {}
    for attacker in ("same user", "root") if root else ("same user",):
        sides = []
        for hardened in (True, False):
            try:
                found, said = try_on(folder, hardened=hardened, as_root=attacker == "root")
            except NotTriedError as error:
                found, said = _not_tried(str(error)), {}
            if hardened:
                posture = posture or said
            sides.append(found)
        attempts += [
            Attempt(
                id=name,
                what=WORDS[name],
                attacker=attacker,
                hardened=sides[0][name],
                unprotected=sides[1][name],
                should_hold=attacker != "root",
            )
            for name in ATTACKS
        ]
    return attempts, posture

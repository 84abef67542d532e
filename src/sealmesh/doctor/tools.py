"""Other people's debuggers as attackers: gdb, gcore, py-spy, where they are installed. Run by `attackers`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sealmesh.doctor.outcome import NotTriedError

_TIMEOUT_S: Final = 60.0  # gdb reads the symbols of every library first; a hang is a refusal too


def find_tool(name: str) -> str:
    """Where a tool is: on the path, or beside this interpreter.

    Raises:
        NotTriedError: Nowhere.
    """
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise NotTriedError(f"{name} is not installed")
    return found


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{Path(command[0]).name} did not end in {_TIMEOUT_S:g} s") from None


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a tool said last, as one line of ASCII."""
    said = (done.stderr or done.stdout).decode("ascii", "replace").split("\n")
    return next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")[:200]


def _taken(path: Path, done: subprocess.CompletedProcess[bytes]) -> bytes:
    if not path.exists():
        raise RuntimeError(_last_words(done))
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def use_gdb(pid: int, address: int, length: int, folder: Path) -> bytes:
    """`gdb -p PID`, and have it write a span of memory to a file."""
    wanted = folder / "gdb.memory"
    dump = f"dump binary memory {wanted} {address:#x} {address + length:#x}"
    return _taken(wanted, _run(find_tool("gdb"), "-nx", "-batch", "-p", str(pid), "-ex", dump))


def use_gcore(pid: int, address: int, length: int, folder: Path) -> bytes:
    """`gcore PID`: a core file of a process that lives on."""
    del address, length
    done = _run(find_tool("gcore"), "-o", str(folder / "gcore"), str(pid))
    return _taken(folder / f"gcore.{pid}", done)


def use_py_spy(pid: int, address: int, length: int, folder: Path) -> bytes:
    """`py-spy dump --locals`: a running Python's stack and variables."""
    del address, length, folder
    done = _run(find_tool("py-spy"), "dump", "--nonblocking", "--locals", "--pid", str(pid))
    if done.returncode != 0:
        raise RuntimeError(_last_words(done))
    return done.stdout


TOOLS: Final[dict[str, Callable[[int, int, int, Path], bytes]]] = {
    "gdb": use_gdb,
    "gcore": use_gcore,
    "py_spy": use_py_spy,
}

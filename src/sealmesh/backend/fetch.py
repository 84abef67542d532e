"""Fetches one wheel with the user's own package tool, so that the user's own index settings hold.

No host is written here: `uv` or `pip` know where packages come from, through which proxy and with which
certificates. Both are held to the wheel's pinned SHA-256 before anything is unpacked; nothing is built or run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sealmesh.errors import BackendError

_TIMEOUT_S: Final = 1800.0  # 93 MB over the slowest line that we want to wait for
_TICK_S: Final = 0.25
_CREDENTIALS: Final = re.compile(r"//[^/@\s]*@")


def package_tools(folder: Path, requirements: Path) -> list[tuple[str, list[str], Path]]:
    """Return the tools at hand, best first: (name, command, where the result lies).

    Args:
        folder: Where a tool may write.
        requirements: A requirements file that names the one wheel and its hash.
    """
    tools: list[tuple[str, list[str], Path]] = []
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    uv = beside or shutil.which("uv")
    if uv is not None:
        target = folder / "uv"
        command = [
            uv, "pip", "install", "--quiet", "--no-deps", "--no-build", "--require-hashes", "--link-mode", "copy",
            "--no-cache", "--python", sys.executable, "--target", str(target), "--requirement", str(requirements),
        ]  # fmt: skip
        tools.append(("uv", command, target))
    target = folder / "pip"
    command = [
        sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(target),
        "--requirement", str(requirements),
    ]  # fmt: skip
    tools.append(("pip", command, target))
    return tools


def fetch_wheel(package: str, version: str, sha256: str, folder: Path, tick: Callable[[], None]) -> Path:
    """Fetch one wheel.

    Args:
        package: Its name.
        version: Its version.
        sha256: Of the wheel, hex.
        folder: An empty folder of ours.
        tick: Called a few times a second; what it raises ends the fetching.

    Returns:
        The wheel, or a folder with its content.

    Raises:
        BackendError: No tool could fetch it; the message says what each tool said.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    return run_tools(package_tools(folder, requirements), f"{package}=={version}", tick)


def run_tools(tools: Sequence[tuple[str, list[str], Path]], what: str, tick: Callable[[], None]) -> Path:
    """Run one tool after the other until one has fetched what is wanted.

    Raises:
        BackendError: None has.
    """
    said: list[str] = []
    for name, command, target in tools:
        failure = _run(command, tick)
        if failure is None:
            wheels = sorted(target.glob("*.whl"))
            return wheels[0] if wheels else target
        said.append(f"{name}: {failure}")
    raise BackendError(
        503,
        "model_unavailable",
        f"{what} could not be fetched ({'; '.join(said)}). Check the network and the index settings of uv or pip, "
        "or name a model of your own with --model PATH.gguf.",
    )


def environment_of_tools(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a tool: the user's own index settings, and none of ours, which hold API keys and tickets."""
    return {name: value for name, value in environment.items() if not name.startswith("SEALMESH_")}


def _run(command: list[str], tick: Callable[[], None]) -> str | None:
    """Run a command to its end; return None, or why it failed in one line."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment_of_tools(os.environ),
            text=True,
            errors="replace",
        )
    except OSError as error:
        return error.strerror or "cannot be started"
    deadline = time.monotonic() + _TIMEOUT_S
    with process:
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=_TICK_S)
                    break
                except subprocess.TimeoutExpired:
                    tick()
                    if time.monotonic() > deadline:
                        process.kill()
                        return "took too long"
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return None
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = _CREDENTIALS.sub("//", lines[-1])[:300] if lines else "no message"
    return f"{last} (exit code {process.returncode})"

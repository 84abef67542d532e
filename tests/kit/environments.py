"""Real virtual environments, made offline: this project's own wheel, installed by uv, and what it depends on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build this checkout's wheel, with what is installed already."""
    _run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("sealmesh-*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Path:
    """Make a virtual environment with sealmesh in it; return its interpreter.

    uv installs the wheel. Its dependencies come, file by file as their RECORDs list them, from the environment that
    runs the tests: there is no network here, and the files are the same ones.
    """
    # The standard library makes it: uv would fetch pip and others into it where the machine's settings say so.
    _run("-m", "venv", "--without-pip", str(folder))
    interpreter = folder / "bin" / "python"
    _uv("pip", "install", "--python", str(interpreter), "--no-index", "--no-deps", str(wheel))
    (site,) = (folder / "lib").glob("python*/site-packages")
    for name in sorted(dependencies(["sealmesh"]) - {"sealmesh"}):
        _copy(metadata.distribution(name), site)
    return interpreter


def dependencies(names: Iterable[str]) -> set[str]:
    """What a plain `pip install` of these brings along, themselves included; extras of ours are left out."""
    found: set[str] = set()
    waiting = [(name, frozenset[str]()) for name in names]
    while waiting:
        name, extras = waiting.pop()
        found.add(re.sub(r"[-_.]+", "-", name).lower())
        for line in metadata.requires(name) or ():
            wanted = Requirement(line)
            scenes = [{"extra": extra} for extra in ("", *extras)]
            if wanted.marker is not None and not any(wanted.marker.evaluate(scene) for scene in scenes):
                continue
            if re.sub(r"[-_.]+", "-", wanted.name).lower() not in found:
                waiting.append((wanted.name, frozenset(wanted.extras)))
    return found


def _copy(distribution: metadata.Distribution, site: Path) -> None:
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue  # namespace packages share a file now and then
        source = Path(str(file.locate()))
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _uv(*arguments: str) -> None:
    _run("-m", "uv", "--quiet", "--offline", "--no-cache", "--no-config", *arguments)


def _run(*arguments: str) -> None:
    """Run Python, without what a machine's settings tell it, pip and uv; what it said is in the error."""
    settings = ("PYTHON", "PIP_", "UV_", "VIRTUAL_ENV", "CONDA_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

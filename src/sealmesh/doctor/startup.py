"""The attacks on how a node is started: files and variables that make an interpreter or a loader run other code.

Each is planted for a victim, which then parses a prompt. It has worked when the planted code got the prompt, or was in
the process to the end, and the process does not say so in its posture.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sealmesh.doctor import payloads
from sealmesh.doctor.ordinary import give
from sealmesh.doctor.outcome import Attempt, NotTriedError, Outcome, Result
from sealmesh.doctor.trial import Victim, end, running_victim

_LOOKS: Final = ("isolated_start", "clean_environment", "private_pycache", "no_preload")
_COPIED: Final = "copied:"
_ALONGSIDE: Final = 2  # most of a start is waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What was planted, and how the victim is to be started to meet it.

    Attributes:
        environment: Added to the victim's.
        python: The interpreter, of an environment that the attacker could write to.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable


def plant_sitecustomize(folder: Path) -> Plant:
    """A `sitecustomize` in a folder of PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(payloads.COPY_PROMPTS)
    return Plant(environment={"PYTHONPATH": str(folder)})


def plant_sticky_sitecustomize(folder: Path) -> Plant:
    """A `sitecustomize` that keeps itself over an isolated restart, by changing how programs are started."""
    (folder / "sitecustomize.py").write_text(payloads.COPY_PROMPTS + payloads.STAY)
    return Plant(environment={"PYTHONPATH": str(folder)})


def plant_usercustomize(folder: Path) -> Plant:
    """A `usercustomize` in the user's own package folder."""
    (_user_packages(folder) / "usercustomize.py").write_text(payloads.COPY_PROMPTS)
    return Plant(environment={"PYTHONUSERBASE": str(folder)}, python=make_environment(folder, of_users=True)[0])


def plant_user_pth(folder: Path) -> Plant:
    """A `.pth` in the user's own package folder."""
    _write_pth(_user_packages(folder))
    return Plant(environment={"PYTHONUSERBASE": str(folder)}, python=make_environment(folder, of_users=True)[0])


def plant_site_pth(folder: Path) -> Plant:
    """A `.pth` among the packages that the node is installed with."""
    python, packages = make_environment(folder)
    _write_pth(packages)
    return Plant(python=python)


def plant_site_sitecustomize(folder: Path) -> Plant:
    """A `sitecustomize` among the packages that the node is installed with."""
    python, packages = make_environment(folder)
    (packages / "sitecustomize.py").write_text(payloads.COPY_PROMPTS)
    return Plant(python=python)


def plant_module(folder: Path) -> Plant:
    """A `json` in a folder of PYTHONPATH that stands in front of the real one."""
    payloads.write_shadow(folder)
    return Plant(environment={"PYTHONPATH": str(folder)})


def plant_module_here(folder: Path) -> Plant:
    """A `json` in the folder that the node is started from."""
    payloads.write_shadow(folder)
    return Plant()


def plant_compiled(folder: Path) -> Plant:
    """Compiled code beside a source of sealmesh that is not what the source says."""
    python, packages = make_environment(folder, copied=True)
    payloads.write_compiled(packages / "sealmesh" / "doctor" / "victim.py")
    return Plant(python=python)


def plant_compiled_prefix(folder: Path) -> Plant:
    """A folder of compiled code, named by PYTHONPYCACHEPREFIX."""
    module = Path(__file__).resolve().parent / "victim.py"
    name = f"{module.stem}.{sys.implementation.cache_tag}.pyc"
    payloads.write_compiled_at(module, folder / "cache" / module.parent.relative_to("/") / name)
    return Plant(environment={"PYTHONPYCACHEPREFIX": str(folder / "cache")})


def plant_startup_file(folder: Path) -> Plant:
    """A file that PYTHONSTARTUP names."""
    (folder / "startup.py").write_text(payloads.COPY_PROMPTS)
    return Plant(environment={"PYTHONSTARTUP": str(folder / "startup.py")})


def plant_preload(folder: Path) -> Plant:
    """A library that LD_PRELOAD names."""
    return Plant(environment={"LD_PRELOAD": str(payloads.build_library(folder, sticky=False))})


def plant_sticky_preload(folder: Path) -> Plant:
    """A library that LD_PRELOAD names, and that puts itself back when the process starts itself anew."""
    return Plant(environment={"LD_PRELOAD": str(payloads.build_library(folder, sticky=True))})


def _write_pth(packages: Path) -> None:
    (packages / "planted_copier.py").write_text(payloads.COPY_PROMPTS)
    (packages / "planted.pth").write_text("import planted_copier\n")


def _user_packages(base: Path) -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = base / ("lib/python/site-packages" if sys.platform == "darwin" else f"lib/{version}/site-packages")
    found.mkdir(parents=True)
    return found


def make_environment(folder: Path, *, copied: bool = False, of_users: bool = False) -> tuple[str, Path]:
    """Make a virtual environment that holds what this one does, by links, and that an attacker can write to.

    Args:
        folder: Where.
        copied: Whether sealmesh itself is copied, so that something can lie beside its sources.
        of_users: Whether it takes the packages of the system and of users too.

    Returns:
        Its interpreter and its folder of packages.
    """
    root = folder / "environment"
    packages = root / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    interpreter = root / "bin" / "python"
    interpreter.symlink_to(Path(sys.executable).resolve())
    home = Path(sys.executable).resolve().parent
    (root / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = {str(of_users).lower()}\n")
    own = Path(__file__).resolve().parents[1]
    for source in _package_entries():
        target = packages / source.name
        if not target.exists() and source.suffix != ".pth" and source.name not in ("sealmesh", "__pycache__"):
            target.symlink_to(source)
    if copied:
        shutil.copytree(own, packages / "sealmesh", ignore=shutil.ignore_patterns("__pycache__"))
    else:
        (packages / "sealmesh").symlink_to(own)
    return str(interpreter), packages


def _package_entries() -> list[Path]:
    folders = (Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]


PLANTS: Final[Mapping[str, tuple[str, Callable[[Path], Plant]]]] = {
    "sitecustomize": ("start it with a sitecustomize in PYTHONPATH", plant_sitecustomize),
    "sticky_sitecustomize": ("the same, which undoes the isolated restart", plant_sticky_sitecustomize),
    "usercustomize": ("start it with a usercustomize of the user", plant_usercustomize),
    "user_pth": ("start it with a .pth file of the user", plant_user_pth),
    "site_sitecustomize": ("start it with a sitecustomize among its packages", plant_site_sitecustomize),
    "site_pth": ("start it with a .pth file among its packages", plant_site_pth),
    "pythonpath": ("start it with a false json module in PYTHONPATH", plant_module),
    "working_folder": ("start it from a folder with a false json module", plant_module_here),
    "pyc": ("plant compiled code beside its sources", plant_compiled),
    "pycache_prefix": ("plant compiled code through PYTHONPYCACHEPREFIX", plant_compiled_prefix),
    "pythonstartup": ("start it with a PYTHONSTARTUP", plant_startup_file),
    "ld_preload": ("start it with a library in LD_PRELOAD", plant_preload),
    "sticky_preload": ("the same library, which puts itself back at a restart", plant_sticky_preload),
}


def try_plant(home: Path, plant: Callable[[Path], Plant], *, hardened: bool) -> Outcome:
    """Plant something, start a victim, give it a prompt, let it end; say what the planted code got.

    Args:
        home: The victim's home.
        plant: What to plant.
        hardened: Whether the victim is started as a node is.
    """
    with tempfile.TemporaryDirectory(prefix="sealmesh-plant-") as name:
        folder = Path(name).resolve()
        try:
            made = plant(folder)
            let_read(folder)
            with running_victim(
                home, hardened=hardened, python=made.python, extra=made.environment, here=folder
            ) as victim:
                _give_prompt(victim)
                end(victim.process)
                return _judge(victim, hardened=hardened)
        except NotTriedError as error:
            return Outcome(result=Result.NOT_TRIED, reason=str(error))


def let_read(folder: Path) -> None:
    """Let the victim read what was planted, and own it: who attacks as the same user plants files of that user."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
            give(path)


def _give_prompt(victim: Victim) -> None:
    assert victim.process.stdin is not None  # noqa: S101 - it was asked for
    assert victim.process.stdout is not None  # noqa: S101 - it was asked for
    with contextlib.suppress(OSError):
        victim.process.stdin.write(json.dumps({"prompt": victim.marker}) + "\n")
        victim.process.stdin.flush()
        victim.process.stdout.readline()


def _judge(victim: Victim, *, hardened: bool) -> Outcome:
    said = victim.said()
    copied = any(line.startswith(_COPIED) and victim.marker in line for line in said.splitlines())
    if not copied and payloads.ALIVE not in said:
        return Outcome(result=Result.REFUSED, reason="it had no effect")
    told = [f"{name}: {victim.posture[name]}" for name in _LOOKS if victim.posture.get(name, "on")[:3] == "off"]
    if hardened and told:
        return Outcome(result=Result.REPORTED, reason=f"it ran, and the posture says so ({told[0]})")
    return Outcome(result=Result.WORKED)


def startup_attacks(home: Path) -> list[Attempt]:
    """Try each way of starting a node with other people's code.

    Args:
        home: What `attack_folder` gave: the home of every victim.
    """

    def tried(name: str) -> Attempt:
        what, plant = PLANTS[name]
        return Attempt(
            id=name,
            what=what,
            attacker="same user",
            hardened=try_plant(home, plant, hardened=True),
            unprotected=try_plant(home, plant, hardened=False),
            should_hold=True,
        )

    with ThreadPoolExecutor(_ALONGSIDE) as pool:
        return list(pool.map(tried, PLANTS))

"""`sealmesh service`: a node that the machine starts by itself, under systemd or launchd."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sealmesh.cli.terminal import say
from sealmesh.cli.units import LABEL, NAME, Plan, launchd_plist, systemd_unit
from sealmesh.config.load import default_home
from sealmesh.errors import ConfigError

#: What a machine proves itself with, and the group that the device usually belongs to.
_DEVICES: Final = {"/dev/tpmrm0": "tss"}
_COMMANDS: Final = ("serve", "client")
#: Folders in which people's files lie.
_HOMES: Final = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this machine a service needs; tests make another one.

    Attributes:
        darwin: Whether launchd starts services here.
        root: What stands for `/` in the paths of units.
        user: The person's home folder.
        uid: Of this process.
        run: Runs a command, and returns its exit code and what it printed.
        managed: Whether a service manager runs here now.
        group_exists: Whether there is a group of that name.
    """

    darwin: bool
    root: Path
    user: Path
    uid: int
    run: Callable[[Sequence[str]], tuple[int, str]]
    managed: bool
    group_exists: Callable[[str], bool] = field(default=lambda _: False)


def this_machine() -> Machine:
    """The machine that this process runs on."""
    darwin = sys.platform == "darwin"
    return Machine(
        darwin=darwin,
        root=Path("/"),
        user=Path.home(),
        uid=os.geteuid(),
        run=_run,
        managed=darwin or Path("/run/systemd/system").is_dir(),
        group_exists=_group_exists,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for, as words of the command line."""

    command: str = "serve"
    user: bool = False
    config: Path | None = None
    ticket: Path | None = None
    run_as: str = ""


def install(wish: Wish, *, dry_run: bool, machine: Machine | None = None) -> int:
    """Write the unit and start the service; with `dry_run` print what would be written.

    Raises:
        ConfigError: No service manager runs here, a file cannot be used, or a command failed.
    """
    machine = machine or this_machine()
    plan = make_plan(wish, machine)
    path = unit_path(wish.user, machine)
    content = launchd_plist(plan) if machine.darwin else systemd_unit(plan).encode()
    if dry_run:
        say(f"{path} would be:")
        sys.stdout.write(content.decode())
        return 0
    _require_manager(wish.user, machine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)  # no secret is in it, and the service manager reads it
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})") from error
    for words in _start_commands(wish.user, path, machine):
        _must(words, machine)
    say(f"{path} is in place and the node is starting: see it with `sealmesh service status`")
    return 0


def remove(*, user: bool, machine: Machine | None = None) -> int:
    """Stop the service and take its unit away; the node's home stays.

    Raises:
        ConfigError: There is none, or it cannot be taken away.
    """
    machine = machine or this_machine()
    path = unit_path(user, machine)
    if not path.exists():
        raise ConfigError(f"no service is installed here: there is no {path}")
    _require_manager(user, machine)
    for words in _stop_commands(user, path, machine):
        machine.run(words)  # one that does not run is to be removed too
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed ({error.strerror})") from error
    if not machine.darwin:
        _must(_systemctl(user, "daemon-reload"), machine)
    say("removed; the node's keys and state are still in its home")
    return 0


def status(*, user: bool, machine: Machine | None = None) -> int:
    """Say whether a service is installed and runs. Exit code 0 if it runs, else 1."""
    machine = machine or this_machine()
    path = unit_path(user, machine)
    if not path.exists():
        print(f"not installed: there is no {path}")
        return 1
    if machine.darwin:
        code, words = machine.run(["launchctl", "print", f"{_domain(user, machine)}/{LABEL}"])
        state = next((line.strip() for line in words.splitlines() if line.strip().startswith("state = ")), "")
        running, shown = code == 0 and state == "state = running", state.removeprefix("state = ") or "not loaded"
    else:
        code, words = machine.run(_systemctl(user, "is-active", NAME))
        running, shown = code == 0, words.strip() or "unknown"
    print(f"{shown}: {path}")
    return 0 if running else 1


# --- what is to be done --------------------------------------------------------------------------------------------


def make_plan(wish: Wish, machine: Machine) -> Plan:
    """From what was asked for to what is to run.

    Raises:
        ConfigError: A file is missing or not private, or nobody is named to run it.
    """
    if wish.command not in _COMMANDS:
        raise ConfigError(f"a service runs {' or '.join(_COMMANDS)}")
    ticket = None if wish.ticket is None else wish.ticket.expanduser().absolute()
    config = None if wish.config is None else wish.config.expanduser().absolute()
    if ticket is not None:
        check_private(ticket)
    if config is not None and not config.is_file():
        raise ConfigError(f"{config} is no file")
    if machine.darwin and not wish.user:
        _check_user(wish.run_as)
    devices = [name for name in _DEVICES if (machine.root / name.lstrip("/")).exists()] if not machine.darwin else []
    groups = [_DEVICES[name] for name in devices if machine.group_exists(_DEVICES[name])]
    interpreter = Path(sys.executable)
    needed = [interpreter, Path(sys.prefix), *([config] if config else [])]
    home = _home_of(wish, machine)
    for path in (*needed, home, *([ticket] if ticket else [])):
        if not str(path).isprintable():  # a line break would be a line of the unit
            raise ConfigError(
                f"no service manager reads a path like {str(path)!r}; rename it, or copy the file elsewhere"
            )
    return Plan(
        interpreter=interpreter,
        command=wish.command,
        system=not wish.user,
        home=home,
        config=config,
        ticket=ticket,
        run_as=wish.run_as,
        groups=tuple(groups),
        devices=tuple(devices),
        reads_home=any(str(one).startswith(tuple(f"{home}/" for home in _HOMES)) for one in needed),
    )


def check_private(path: Path) -> None:
    """Refuse a ticket that others can read: whoever has it can join the mesh.

    Raises:
        ConfigError: It is no file, or others can read it.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no file")
    if found.st_mode & 0o077:
        raise ConfigError(f"others can read {path}, and so join the mesh; run: chmod 600 {path}")


def unit_path(user: bool, machine: Machine) -> Path:
    """Where the service manager looks."""
    if machine.darwin:
        folder = machine.user / "Library/LaunchAgents" if user else machine.root / "Library/LaunchDaemons"
        return folder / f"{LABEL}.plist"
    folder = machine.user / ".config/systemd/user" if user else machine.root / "etc/systemd/system"
    return folder / f"{NAME}.service"


def _home_of(wish: Wish, machine: Machine) -> Path:
    if wish.user or not machine.darwin:
        return default_home()  # a system service under systemd has its state folder instead
    return Path(pwd.getpwnam(wish.run_as).pw_dir) / "Library/Application Support/sealmesh"


def _check_user(name: str) -> None:
    if not name:
        raise ConfigError("launchd needs to know who runs it: name an ordinary user with --run-as")
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"--run-as: there is no user {name!r}") from None
    if uid == 0:
        raise ConfigError("--run-as: the node needs no root; name an ordinary user")


def _require_manager(user: bool, machine: Machine) -> None:
    if not machine.managed:
        raise ConfigError("systemd does not run here; look at the unit with --dry-run, and install it where it does")
    if not user and machine.uid != 0:
        raise ConfigError("a service of the whole machine is installed by root: use sudo, or --user for your own")


def _systemctl(user: bool, *words: str) -> list[str]:
    return ["systemctl", *(["--user"] if user else []), *words]


def _domain(user: bool, machine: Machine) -> str:
    return f"gui/{machine.uid}" if user else "system"


def _start_commands(user: bool, path: Path, machine: Machine) -> list[list[str]]:
    if machine.darwin:
        return [["launchctl", "bootstrap", _domain(user, machine), str(path)]]
    return [_systemctl(user, "daemon-reload"), _systemctl(user, "enable", "--now", NAME)]


def _stop_commands(user: bool, path: Path, machine: Machine) -> list[list[str]]:
    if machine.darwin:
        return [["launchctl", "bootout", _domain(user, machine), str(path)]]
    return [_systemctl(user, "disable", "--now", NAME)]


def _must(words: Sequence[str], machine: Machine) -> None:
    code, said = machine.run(words)
    if code != 0:
        raise ConfigError(f"`{' '.join(words)}` failed: {said.strip()[-400:] or f'exit code {code}'}")


def _run(words: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(list(words), capture_output=True, text=True, check=False)
    except OSError as error:
        return 127, f"{words[0]}: {error.strerror}"
    return done.returncode, done.stdout + done.stderr


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True

"""All set-up checks of one home, in the order in which they are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sealmesh.backend.models import default_cache_dir
from sealmesh.config.load import load_settings
from sealmesh.config.settings import Mode, Settings
from sealmesh.doctor import network
from sealmesh.doctor.checks import (
    Check,
    check_clock_plausible,
    check_disk_space,
    check_model_file,
    check_tpm_access,
    guarded,
    ok,
    problem,
    read_clocks,
    warning,
)
from sealmesh.errors import ConfigError, SealmeshError
from sealmesh.node.home import Home


def check_home_private(home: Path) -> Check:
    """Whether the home is this user's alone, and each file in it. Nothing in it is read."""
    if not home.exists():
        return ok("home", f"{home} is made at the first start, for this user alone")
    found = home.stat()
    if found.st_uid != os.geteuid():
        return problem("home", f"{home} belongs to another user", "run as that user, or choose another with --home")
    if found.st_mode & 0o022:
        return problem("home", f"others can write to {home}, and so replace the keys in it", f"chmod 700 {home}")
    open_files = []
    for path in sorted(home.rglob("*")):
        seen = path.lstat()
        secret = (
            path.is_file() and path.name not in ("config.toml", "policy.toml") and path.parent in (home, home / "run")
        )
        if secret and seen.st_mode & 0o077:
            open_files.append(path.name)
    if open_files:
        names = ", ".join(open_files[:3])
        return problem("home", f"others can read {names} in {home}", "chmod 600 it, or delete it if others did read it")
    if found.st_mode & 0o055:
        return warning("home", f"others can look into {home}; its files are closed to them", f"chmod 700 {home}")
    return ok("home", f"{home} is this user's alone")


def check_settings_load(home: Path | None) -> tuple[Settings | None, Check]:
    """Whether the configuration can be used; what it says is needed by the other checks."""
    try:
        settings = load_settings(Mode.SERVE, flags={"home": str(home) if home else None})
    except ConfigError as error:
        return None, problem("settings", str(error), "mend what it names")
    if settings.warnings:
        return settings, warning("settings", "; ".join(settings.warnings), "see docs/reference/config.md")
    return settings, ok("settings", "they can be used")


def run_checks(home: Path, status: Callable[[], Mapping[str, Any]]) -> list[Check]:
    """Look at everything. Takes as long as hashing the model's file.

    Args:
        home: The node's folder.
        status: Asks the running node; raises ConfigError where none can be asked.
    """
    settings, first = check_settings_load(home)
    running = _is_running(home)
    seen = _status_of(status) if running else None
    checks = [first, guarded("home", lambda: check_home_private(home))]
    if settings is not None:
        checks += _of_settings(settings, home, running=running)
    return [
        *checks,
        guarded("ipv6", network.check_ipv6_socket),
        guarded("firewall", network.check_firewall),
        guarded("clock", lambda: check_clock_plausible(read_clocks(), seen)),
        guarded("tpm", check_tpm_access),
        guarded("peers", lambda: network.check_peer_paths(seen)),
    ]


def _of_settings(settings: Settings, home: Path, *, running: bool) -> list[Check]:
    cache = default_cache_dir()
    reference = None if settings.backend is not None else settings.models[0]
    return [
        *network.check_ports(settings, last_udp=_last_port(home), running=running),
        guarded("model", lambda: check_model_file(reference, cache)),
        guarded("disk", lambda: check_disk_space({"home": home, "models": cache})),
    ]


def _is_running(home: Path) -> bool:
    try:
        return home.is_dir() and Home(home).run_state() is not None
    except ConfigError:
        return False


def _status_of(status: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any] | None:
    try:
        return status()
    except SealmeshError:
        return None


def _last_port(home: Path) -> int:
    try:
        return Home(home).last_port() if home.is_dir() else 0
    except ConfigError:
        return 0

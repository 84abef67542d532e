"""All controls of one process, in order: first what needs to know nothing, later what needs the node's folders.

`harden_process` comes before any thread and before any secret is read; `confine_process` once the settings are known
and still before any thread. Both give what was found, control by control.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sealmesh.hardening import environment
from sealmesh.hardening.posture import Control, Finding, Platform, Posture, off, on

#: The posture of this process once it is hardened. A filter is never stacked twice.
_hardened: list[Posture] = []


def platform_here() -> Platform | None:
    """The platform that this process runs on; None where no control is known."""
    return {"linux": Platform.LINUX, "darwin": Platform.MACOS}.get(sys.platform)


def controls_here() -> tuple[Control, ...]:
    """The controls that exist on this platform, in their order."""
    here = platform_here()
    return tuple(control for control in Control if here is not None and here in control.platform)


def harden_process(*, removed: Sequence[str] = ()) -> Posture:
    """Put every control in force that needs to know nothing of the node; a second call only gives what was found.

    Args:
        removed: The variables that the restart took out.
    """
    if not _hardened:
        looked = _look(removed)  # libraries first, before ours are loaded
        match platform_here():
            case Platform.LINUX:
                from sealmesh.hardening import linux

                found = (*linux.apply_linux(), *linux.report_linux())
            case Platform.MACOS:
                from sealmesh.hardening import macos  # starts programs: half of what starting up costs

                found = (*macos.apply_macos(), *macos.report_macos())
            case _:
                found = ()
        _hardened.append(Posture((*looked, *found)))
    return _hardened[0]


def confine_process(
    posture: Posture, folders: Iterable[Path], *, note: str = "", runs_a_model: bool = False
) -> Posture:
    """Let this process write only under these folders, make no code, and try the memory for keys.

    Args:
        posture: What `harden_process` gave.
        folders: Those of the node; each exists.
        note: What is worth knowing about them.
        runs_a_model: Whether the libraries of an accelerator may be loaded.
    """
    from sealmesh.hardening.memory import hide_key_pages

    hide_key_pages()
    found = [look_at_key_memory()]
    if platform_here() is Platform.LINUX:
        from sealmesh.hardening import linux
        from sealmesh.hardening.landlock import apply_landlock

        found += [apply_landlock(folders, note=note), linux.apply_mdwe(runs_a_model=runs_a_model)]
    return posture.merged(found)


def unhardened_process(reason: str) -> Posture:
    """The posture of a process that puts nothing in force, for developers: what is looked at is looked at all the same.

    Args:
        reason: Why, as the posture says it.
    """
    looked = [*_look(()), look_at_key_memory()]
    match platform_here():
        case Platform.LINUX:
            from sealmesh.hardening import linux

            looked += [linux.look_at_tracer(), *linux.report_linux()]
        case Platform.MACOS:
            from sealmesh.hardening import macos

            looked += macos.report_macos()
        case _:
            pass
    found = {finding.control: finding for finding in looked}
    return Posture(tuple(found.get(control) or off(control, reason) for control in controls_here()))


def look_at_key_memory() -> Finding:
    """Whether a page for keys can be kept out of swap now: tried."""
    from sealmesh.hardening.memory import LockedBytes  # loads a library, after the libraries were looked at

    page = LockedBytes(32)
    page.wipe()
    if page.hidden:
        return on(Control.KEY_MEMORY, "memfd_secret: not even root reads it through /proc")
    if page.locked:
        return on(Control.KEY_MEMORY)
    return off(Control.KEY_MEMORY, "the system's limit on locked memory is spent")


def _look(removed: Sequence[str]) -> tuple[Finding, ...]:
    findings = (
        environment.look_at_environment(os.environ, removed),
        environment.look_at_start(sys.path),
        environment.look_at_pycache(),
    )
    if platform_here() is Platform.LINUX:
        return (*findings, environment.look_at_libraries(removed))
    return findings

"""Becomes an ordinary user and runs a command: `python -I -m sealmesh.doctor.ordinary COMMAND…`, started by root.

What an ordinary user can do to a node of its own cannot be tried as root, whom nothing stops. A Python that lies where
only root may go (a folder like /root) would be out of reach then: in a mount namespace of this process alone, such a
folder is covered by an empty one that holds just what the command needs, at the same paths.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sealmesh.doctor.outcome import NotTriedError

#: nobody's number wherever it has one; no account is needed, only that it is not root's.
NOBODY: Final = 65534
_NEW_MOUNTS: Final = 0x00020000  # CLONE_NEWNS
_BIND: Final = 0x1000 | 0x4000  # MS_BIND | MS_REC
_PRIVATE: Final = 0x40000 | 0x4000  # MS_PRIVATE | MS_REC
_SET_SECUREBITS: Final = 28  # <linux/prctl.h>
_NO_ROOT: Final = 0x3  # SECBIT_NOROOT and its lock: exec gives user 0 nothing
_CAPABILITY_VERSION: Final = 0x20080522  # <linux/capability.h>, version 3
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode() for word in (source, target, kind)]
    if _LIBC.mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def needed_folders() -> list[Path]:
    """The folders that a Python of ours needs: the interpreter's, its environment's, and those of the packages."""
    package = Path(__file__).resolve().parents[2]
    found = {Path(folder).resolve() for folder in (sys.prefix, sys.base_prefix, sys.base_exec_prefix)}
    return sorted(found | {package, Path(sys.executable).parent, Path(sys.executable).resolve().parent})


def closed_folder(path: Path) -> Path | None:
    """The topmost folder on the way to `path` that others may not pass through; None where all is open."""
    for folder in (*reversed(path.parents), path):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH or (folder == path and not mode & stat.S_IROTH):
            return folder
    return None


def _open_handles(paths: list[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        yield path, os.open(path, os.O_PATH | os.O_DIRECTORY)


def uncover(paths: list[Path]) -> None:
    """Make folders reachable for everybody, in a mount namespace of this process alone.

    Raises:
        OSError: This root may not mount (a container).
    """
    closed = {path: folder for path in paths if (folder := closed_folder(path)) is not None}
    if not closed:
        return
    if _LIBC.unshare(_NEW_MOUNTS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _mount("none", "/", "", _PRIVATE)
    handles = list(_open_handles(list(closed)))  # before their folders are covered
    for folder in sorted(set(closed.values())):
        _mount("tmpfs", str(folder), "tmpfs", 0, "mode=0755")
    for path, handle in handles:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", str(path), "", _BIND)
        os.close(handle)


def has_other_users(maps: Path = Path("/proc/self/uid_map")) -> bool:
    """Whether root can become somebody else: in a user namespace of one user (`unshare -r`) there is nobody else.

    Args:
        maps: Which users there are: first one inside, first one outside, how many.
    """
    try:
        lines = [[int(word) for word in line.split()] for line in maps.read_text().splitlines()]
    except (OSError, ValueError):
        return True  # no user namespaces here
    return any(first <= NOBODY < first + count for first, _, count in lines)


def change_user() -> None:
    """Become nobody, who owns nothing.

    Raises:
        OSError: This root may not.
    """
    uncover(needed_folders())
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def drop_capabilities() -> None:
    """Keep the number 0 and none of root's rights, over exec too. That is what makes a user an ordinary one.

    Raises:
        OSError: The kernel refuses it.
    """
    if _LIBC.prctl(_SET_SECUREBITS, ctypes.c_ulong(_NO_ROOT), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _LIBC.capset(head, nothing) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_ordinary() -> None:
    """Give up being root, for good.

    Raises:
        NotTriedError: It cannot be done here.
    """
    with contextlib.suppress(OSError, ValueError):  # so that a crash may leave a core, if nothing forbids it
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.umask(0o022)
    try:
        change_user() if has_other_users() else drop_capabilities()
    except OSError as error:
        raise NotTriedError(f"root cannot become an ordinary user here ({error.strerror})") from error


def give(path: Path) -> None:
    """Make a file or folder the ordinary user's that victims and attackers are; nothing to do where this is one."""
    if os.geteuid() == 0 and has_other_users():
        os.chown(path, NOBODY, NOBODY)


def main() -> None:
    """Run the command as an ordinary user; exit code 125 where that cannot be."""
    command = sys.argv[1:]
    try:
        become_ordinary()
        os.execv(command[0], command)  # noqa: S606 - our own command line
    except (NotTriedError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CANNOT)


CANNOT: Final = 125


if __name__ == "__main__":
    main()

"""What the start left behind: variables, start files and libraries that could have put code into this process.

A hostile preload or sitecustomize has run before any line of ours, in the first start. Here the second, isolated one
looks at itself and says what is there (ATTESTATION.md, Posture).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sealmesh.hardening.posture import Control, Finding, off, on, unavailable
from sealmesh.hardening.reexec import NO_PYCACHE, is_dangerous, is_isolated

#: Start files that tools write as a matter of course: an editable install of ours, and setuptools.
_USUAL_START_FILES: Final = frozenset({"_editable_impl_sealmesh.pth", "distutils-precedence.pth", "_virtualenv.pth"})
#: Libraries that an interpreter has before it has imported anything of ours, by the beginnings of their names.
_USUAL_LIBRARIES: Final = (
    "ld-", "libc.", "libc-", "libm.", "libm-", "libdl.", "libdl-", "libpthread", "librt.", "librt-", "libutil",
    "libpython", "libffi", "libgcc_s", "libz.", "libexpat", "libcrypt.", "libcrypto", "libssl", "liblzma", "libbz2",
)  # fmt: skip
_SYSTEM_FOLDERS: Final = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
_SHOWN_NAMES: Final = 3


def look_at_environment(environment: Mapping[str, str], removed: Sequence[str]) -> Finding:
    """Whether a variable that chooses code is left.

    Args:
        environment: Of this process.
        removed: What the restart took out.
    """
    left = sorted(name for name in environment if is_dangerous(name))
    if left:
        return off(Control.CLEAN_ENVIRONMENT, f"{_some(left)} is set")
    return on(Control.CLEAN_ENVIRONMENT, f"taken out: {_some(removed)}" if removed else "")


def look_at_start(folders: Iterable[str]) -> Finding:
    """Whether start files were kept from running, and which unusual ones lie there.

    Args:
        folders: Where packages are.
    """
    if not is_isolated():
        return off(Control.ISOLATED_START, "the interpreter was started with its start files and variables")
    loaded = [name for name in ("sitecustomize", "usercustomize") if name in sys.modules]
    if loaded:
        return off(Control.ISOLATED_START, f"{loaded[0]} was loaded")
    waiting = start_files(folders)
    return on(Control.ISOLATED_START, f"not run: {_some(waiting)}" if waiting else "")


def start_files(folders: Iterable[str]) -> list[str]:
    """The names of files that a start which is not isolated would run, without the usual ones."""
    found: set[str] = set()
    for folder in folders:
        try:
            names = [path.name for path in Path(folder).iterdir()]
        except OSError:
            continue
        found.update(name for name in names if name.endswith(".pth") and name not in _USUAL_START_FILES)
        found.update(name for name in names if name.partition(".")[0] in ("sitecustomize", "usercustomize"))
    return sorted(found)


def look_at_pycache() -> Finding:
    """Whether the only compiled code is what root keeps of the interpreter's own library."""
    prefix = sys.pycache_prefix
    if prefix is None:
        return off(Control.PRIVATE_PYCACHE, "compiled code is read from beside the sources")
    if prefix != NO_PYCACHE:
        return off(Control.PRIVATE_PYCACHE, "compiled code is read from a folder that others may write to")
    return on(Control.PRIVATE_PYCACHE)


def look_at_libraries(
    removed: Sequence[str], *, maps: Path = Path("/proc/self/maps"), preload: Path = Path("/etc/ld.so.preload")
) -> Finding:
    """Whether a library is in this process that nothing in it asked for. Look early, before libraries of ours.

    Args:
        removed: What the restart took out.
        maps: What is mapped.
        preload: What the system's loader puts into every process.
    """
    try:
        named = preload.read_text("utf-8", "replace").split()
    except FileNotFoundError:
        named = []
    except OSError as error:
        return unavailable(Control.NO_PRELOAD, f"{preload} cannot be read ({error.strerror})")
    if named:
        return off(Control.NO_PRELOAD, f"{preload} names {_some(named)}")
    try:
        mapped = maps.read_text("utf-8", "surrogateescape")
    except OSError as error:
        return unavailable(Control.NO_PRELOAD, f"{maps} cannot be read ({error.strerror})")
    strange = strange_libraries(mapped, {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix})
    if strange:
        return off(Control.NO_PRELOAD, f"loaded, and nothing asked for it: {_some(strange)}")
    preloads = [name for name in removed if name in ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES")]
    if preloads:
        return on(Control.NO_PRELOAD, f"gone since the restart; what {preloads[0]} named has run before it")
    return on(Control.NO_PRELOAD)


def strange_libraries(maps: str, prefixes: Iterable[str]) -> list[str]:
    """The files mapped as code that belong neither to the interpreter nor to the system's usual libraries.

    Args:
        maps: The text of `/proc/PID/maps`.
        prefixes: Where the interpreter and its libraries lie.
    """
    homes = tuple(f"{os.path.realpath(prefix)}/" for prefix in prefixes)
    executable = os.path.realpath(sys.executable)
    found: dict[str, None] = {}
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
            continue
        path = fields[5]
        folder, _, name = path.rpartition("/")
        if path == executable:
            continue
        # The interpreter's own extension modules, not whatever lies under /usr: a prefix is often /usr itself.
        if path.startswith(homes) and (f"/python{sys.version_info[0]}" in folder or name.startswith("libpython")):
            continue
        usual = name.startswith(_USUAL_LIBRARIES) and any(
            folder == home or folder.startswith(f"{home}/") for home in _SYSTEM_FOLDERS
        )
        if not usual:
            found[path] = None
    return list(found)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more

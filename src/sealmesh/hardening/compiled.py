"""Compiled code: where it may come from in an isolated start.

Compiled code is run without a look at its source, so who can write a `.pyc` chooses the program, and no measurement
sees it. A cache that this user can write to, each of the user's programs can write to. So the interpreter is started
with a cache folder that cannot be, and compiles every package from its source. Only the interpreter's own library may
come compiled, and only where root alone can write to all of it: it is most of what a start loads before it is hardened.

This module is loaded before the library may be read, so it imports only what is built in.
"""

import marshal
import os
import stat
import sys

# What `importlib.machinery` and `importlib.util` pass on; they would load, and so compile, half of the library first.
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from _imp import extension_suffixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import PathEntryFinder
    from types import CodeType

_ROOT = 0
_OTHERS_WRITE = 0o022
_PACKAGES = ("site-packages", "dist-packages")


class LibraryLoader(SourceFileLoader):
    """Takes a module of the interpreter's library compiled where root wrote it for this very source."""

    owner = _ROOT

    def get_code(self, fullname: str) -> "CodeType | None":
        """The code of a module, compiled from its source where there is nothing better."""
        return read_compiled(self.get_filename(fullname), self.owner) or super().get_code(fullname)


def use_compiled_library(library: str = os.path.dirname(os.__file__), *, owner: int = _ROOT, top: str = "/") -> bool:
    """Let the interpreter's library come compiled from its own folder, if root alone can write there.

    Args:
        library: The folder of the library.
        owner: Who must own it.
        top: Up to where.

    Returns:
        Whether it does.
    """
    library = os.path.abspath(library)
    if not is_of_the_system(library, owner, top):
        return False
    LibraryLoader.owner = owner
    finder = FileFinder.path_hook((ExtensionFileLoader, extension_suffixes()), (LibraryLoader, SOURCE_SUFFIXES))

    def find(path: str) -> "PathEntryFinder":
        if not is_below(path, library):
            raise ImportError(path)  # for the next one
        return finder(path)

    sys.path_hooks.insert(0, find)
    sys.path_importer_cache.clear()
    return True


def is_below(path: str, library: str) -> bool:
    """Whether a folder is the library's, and holds no packages that somebody installed."""
    inside = path == library or path.startswith(library + os.sep)
    return inside and not any(part in _PACKAGES for part in path[len(library) :].split(os.sep))


def is_of_the_system(folder: str, owner: int = _ROOT, top: str = "/") -> bool:
    """Whether root alone can put something into a folder: it and all above it are root's, links resolved."""
    path = os.path.realpath(folder)
    while True:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISDIR(found.st_mode) or not _is_only(found, owner):
            return False
        if path in (top, "/"):
            return True
        path = os.path.dirname(path)


def _is_only(found: os.stat_result, owner: int) -> bool:
    return found.st_uid == owner and not found.st_mode & _OTHERS_WRITE


def read_compiled(source: str, owner: int = _ROOT) -> "CodeType | None":
    """The compiled code beside a source; None where there is none that root wrote for it [PEP 552].

    Args:
        source: A file of the library.
        owner: Who must have written it.
    """
    folder, name = os.path.split(source)
    folder = os.path.join(folder, "__pycache__")
    path = os.path.join(folder, f"{name.rpartition('.')[0]}.{sys.implementation.cache_tag}.pyc")
    try:
        if not _is_only(os.lstat(folder), owner) or not _is_only(os.lstat(path), owner):
            return None
        described = os.stat(source)
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    numbers = (0, int(described.st_mtime) & 0xFFFFFFFF, described.st_size & 0xFFFFFFFF)
    head = MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in numbers)
    if content[: len(head)] != head:
        return None
    try:
        code: CodeType = marshal.loads(content[len(head) :])  # noqa: S302 - the interpreter would, with less of a look
    except (EOFError, ValueError, TypeError):
        return None
    return code

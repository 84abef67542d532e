"""The memory of another process, read from outside as who seizes it would; Linux only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE = 4096
_UNREADABLE = ("[vvar]", "[vsyscall]", "[vvar_vclock]")


def _mappings(pid: int, permission: str) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_ = line.split()
            if permission not in permissions or line.endswith(_UNREADABLE):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue
            yield data


def occurrences(pid: int, needle: bytes) -> int:
    """Count where bytes lie in the memory of a child process.

    Raises:
        PermissionError: This system does not let a parent read its child's memory.
    """
    return sum(data.count(needle) for data in _mappings(pid, "r"))


def find_secret(pid: int, is_it: Callable[[bytes], bool]) -> bytes | None:
    """Search the memory that a child process may write for 32 bytes that look random and are the secret.

    Raises:
        PermissionError: This system does not let a parent read its child's memory.
    """
    for data in _mappings(pid, "rw"):
        for offset in range(0, len(data) - 31, 8):  # no allocator gives out less aligned memory
            piece = data[offset : offset + 32]
            if len(set(piece)) >= 21 and is_it(piece):  # of 32 random bytes about 30 differ
                return piece
    return None


def pages_for_keys(pid: int) -> Iterator[bytes]:
    """The pages that are left out of core dumps and of forks (`dd`, `wf`), as those of `LockedBytes` are.

    Raises:
        PermissionError: This system does not let a parent read its child's memory.
    """
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text())
        for mapping in mappings:
            flags = re.search(r"(?m)^VmFlags: (.*)$", mapping)
            if flags is None or not {"dd", "wf"} <= set(flags[1].split()):
                continue
            start, end = (int(part, 16) for part in mapping.split()[0].split("-"))
            for address in range(start, end, PAGE):
                memory.seek(address)
                yield memory.read(PAGE)

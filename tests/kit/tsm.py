"""A kernel's configfs-tsm in memory, with its rules (Linux, Documentation/ABI/testing/configfs-tsm-report).

`inblob` is written at once and has 1 to 64 bytes; each write counts in `generation`; `outblob` before any write is
EINVAL, and EWOULDBLOCK where somebody wrote while the hardware worked; `auxblob` is there only with some providers;
a name is made once.
"""

from __future__ import annotations

import errno
import os
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class FakeKernel:
    """A guest of some kind.

    Attributes:
        sign: Makes a report over the data that was written.
        provider: What the module calls itself; None for a kernel without such a module.
        aux: What the host of the guest adds; None for a provider without it.
        intruder: Called while the hardware works, with the request: another process that writes too.
        refuses: What every request fails with; 0 for none.
    """

    sign: Callable[[bytes], bytes]
    provider: str | None = "sev_guest"
    aux: bytes | None = None
    intruder: Callable[[str], None] = lambda _: None
    refuses: int = 0
    there: bool = True
    requests: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    made: int = 0

    def exists(self) -> bool:
        return self.there

    def make(self, name: str) -> None:
        if self.refuses:
            raise error(self.refuses)
        if self.provider is None:
            raise error(errno.ENXIO)
        if name in self.requests:
            raise error(errno.EEXIST)
        self.made += 1
        self.requests[name] = (0, b"")

    def write(self, name: str, attribute: str, content: bytes) -> None:
        if attribute != "inblob":
            raise error(errno.EACCES)
        if not 0 < len(content) <= 64:
            raise error(errno.EINVAL)
        self.requests[name] = (self.requests[name][0] + 1, content)

    def read(self, name: str, attribute: str) -> bytes:
        if name not in self.requests:
            raise error(errno.ENOENT)
        generation, data = self.requests[name]
        match attribute:
            case "generation":
                return f"{generation}\n".encode()
            case "provider":
                return f"{self.provider}\n".encode()
            case "outblob":
                if not data:
                    raise error(errno.EINVAL)
                self.intruder(name)
                if self.requests[name][0] != generation:
                    raise error(errno.EWOULDBLOCK)
                return self.sign(data)
            case "auxblob" if self.aux is not None:
                return self.aux
        raise error(errno.ENOENT)

    def remove(self, name: str) -> None:
        del self.requests[name]


def certificate_table(*rows: tuple[uuid.UUID, bytes], big_endian: bool = False) -> bytes:
    """The table that a host adds to a report: rows, a row of zeros, contents."""
    offset = (len(rows) + 1) * 24
    head = content = b""
    for name, certificate in rows:
        head += (name.bytes if big_endian else name.bytes_le) + struct.pack("<II", offset, len(certificate))
        content += certificate
        offset += len(certificate)
    return head + bytes(24) + content

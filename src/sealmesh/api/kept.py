"""Answers of the Responses API that apps may go on from: in this node's memory only, and not for long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sealmesh.limits import RESPONSE_KEPT_MAX, RESPONSES_KEPT_BYTES, RESPONSES_KEPT_MAX, RESPONSES_KEPT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer and all that led to it.

    Attributes:
        model: Which model gave it; another one's requests do not go on from it.
        owner: Digest of the API key that asked for it, or b"".
        root: Id of the conversation's first answer.
        items: The conversation so far, items of a JSON list: one text, or two, for each turn.
        body: The Response object as the app got it.
        last_used: Seconds of a clock that never jumps.
    """

    model: str
    owner: bytes
    root: str
    items: tuple[bytes, ...] = field(repr=False)
    body: bytes = field(repr=False)
    last_used: float

    @property
    def size(self) -> int:
        """Bytes that it may take; what it shares with earlier turns is counted again."""
        return len(self.body) + sum(map(len, self.items))


class ResponseStore:
    """Answers to go on from: bounded in number, bytes and time, and gone with the process.

    Args:
        now: Seconds of a clock that never jumps.
        count_max: Answers kept at once; the one used longest ago goes first.
        bytes_max: Bytes of all together.
        each_max: Bytes of one; a larger one is not kept.
        lifetime_s: Seconds since its last use.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        count_max: int = RESPONSES_KEPT_MAX,
        bytes_max: int = RESPONSES_KEPT_BYTES,
        each_max: int = RESPONSE_KEPT_MAX,
        lifetime_s: float = RESPONSES_KEPT_S,
    ) -> None:
        self.now = now
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._each_max = each_max
        self._lifetime_s = lifetime_s
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, identifier: str, kept: Kept) -> bool:
        """Keep one; False if it is too large. Makes room by dropping what was used longest ago."""
        self.drop_old()
        if kept.size > min(self._each_max, self._bytes_max):
            return False
        self._kept[identifier] = kept
        self.size += kept.size
        while len(self._kept) > self._count_max or self.size > self._bytes_max:
            self._drop(next(iter(self._kept)))
        return True

    def find(self, identifier: str, *, owner: bytes) -> Kept | None:
        """Return what was kept for this owner, which is a use of it; None if it is not there any more."""
        self.drop_old()
        kept = self._kept.get(identifier)
        if kept is None or kept.owner != owner:
            return None
        used = self._kept[identifier] = replace(kept, last_used=self.now())
        self._kept.move_to_end(identifier)
        return used

    def delete(self, identifier: str, *, owner: bytes) -> bool:
        """Forget one of this owner's; False if there is none."""
        kept = self._kept.get(identifier)
        if kept is None or kept.owner != owner:
            return False
        self._drop(identifier)
        return True

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.size = 0

    def drop_old(self) -> None:
        """Forget what was not used for its lifetime. They stand in the order of their last use."""
        ends = self.now() - self._lifetime_s
        while self._kept and next(iter(self._kept.values())).last_used <= ends:
            self._drop(next(iter(self._kept)))

    def _drop(self, identifier: str) -> None:
        self.size -= self._kept.pop(identifier).size

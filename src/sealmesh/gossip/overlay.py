"""Who keeps a link with whom: a few random members each, so that a large mesh hangs together and nobody is its centre.

One rule for the node (node/joining.py) and for the simulator; whoever calls it dials (docs/spec/records.md, Exchange).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sealmesh.identity.keys import Random
from sealmesh.limits import NEIGHBOURS, NEIGHBOURS_MAX


class Step(NamedTuple):
    """Whom to begin to keep a link with, and whom to try no more; links that are up stay."""

    keep: tuple[bytes, ...]
    forget: tuple[bytes, ...]


class Neighbours:
    """The members that this node keeps links with [RE-29].

    Args:
        random: Source of random bytes, for choosing them.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._kept: dict[bytes, int] = {}  # to the number of steps for which it has been away

    @property
    def kept(self) -> tuple[bytes, ...]:
        """Whom this node keeps a link with, up or not."""
        return tuple(self._kept)

    def step(self, linked: Collection[bytes], known: Iterable[bytes]) -> Step:
        """Look again; to be called now and then, once a round or so.

        Args:
            linked: Every member that there is a link with, whoever dialled.
            known: Every other member that says where it can be reached, and is not leaving.
        """
        linked, known = set(linked), set(known)
        forget = [peer for peer in self._kept if peer not in known]
        for peer in forget:
            del self._kept[peer]
        for peer in self._kept:
            self._kept[peer] = 0 if peer in linked else self._kept[peer] + 1
        keep: list[bytes] = []
        # Who is dialled here was dialled by nobody yet: one that dials too makes no second link.
        left = sorted(known - linked - set(self._kept))
        lacking = NEIGHBOURS - len(linked)
        while lacking > 0 and left:
            lacking -= 1
            keep.append(left.pop(int.from_bytes(self._random(8), "big") % len(left)))
            if len(self._kept) >= NEIGHBOURS_MAX:
                gone = max(self._kept, key=lambda peer: self._kept[peer])
                del self._kept[gone]
                forget.append(gone)
            self._kept[keep[-1]] = 0
        return Step(keep=tuple(keep), forget=tuple(forget))

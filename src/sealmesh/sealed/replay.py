"""Replay tags: a host knows each request that was sealed to a key of its, as long as it holds that key."""

from __future__ import annotations

import enum

from sealmesh.limits import REPLAY_TAGS_MAX


class Insertion(enum.Enum):
    """What came of a tag."""

    NEW = "new"
    SEEN = "seen"
    FULL = "full"
    CLOSED = "closed"  # the key is wiped; a tag can neither be found nor kept


class ReplayTags:
    """The tags of one key. Nothing is ever evicted: who could fill it could otherwise make room for a replay [EX-48].

    Args:
        maximum: How many fit.
    """

    __slots__ = ("_closed", "_maximum", "_tags")

    def __init__(self, *, maximum: int = REPLAY_TAGS_MAX) -> None:
        self._maximum = maximum
        self._tags: set[bytes] = set()
        self._closed = False

    def insert(self, tag: bytes) -> Insertion:
        """Look a tag up and keep it, in one step [EX-41].

        Args:
            tag: From `suites.replay_tag`, of a request whose HEAD has authenticated.
        """
        if self._closed:
            # A request opened before its key was wiped may show its HEAD only now. It cannot be told from its own
            # replay any more, so it is refused [EX-49].
            return Insertion.CLOSED
        if tag in self._tags:
            return Insertion.SEEN
        if len(self._tags) >= self._maximum:
            return Insertion.FULL
        self._tags.add(tag)
        return Insertion.NEW

    def close(self) -> None:
        """Forget all tags and take no more: for when the key is wiped."""
        self._closed = True
        self._tags = set()

    def __len__(self) -> int:
        return len(self._tags)

    def __repr__(self) -> str:
        return f"<ReplayTags {len(self._tags)} of {self._maximum}{' closed' if self._closed else ''}>"

"""The keys that a host opens with now: those of the current epoch, the next one, and for a while the previous one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealmesh.errors import LocalProtocolError
from sealmesh.limits import CLOCK_SKEW_S, EPOCH_GRACE_S, REPLAY_TAGS_MAX
from sealmesh.sealed.replay import ReplayTags
from sealmesh.sealed.suites import HostKey, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKeys:
    """The inference keys of one epoch.

    Attributes:
        keys: One for each suite that the epoch's statement names.
        epoch_digest: SHA-256 of the epoch statement's bytes, 32 bytes.
        not_before: Start of the epoch, Unix seconds.
        not_after: End of the epoch, Unix seconds.
    """

    keys: tuple[HostKey, ...]
    epoch_digest: bytes
    not_before: float
    not_after: float

    @property
    def public(self) -> Mapping[Suite, bytes]:
        """Suite to public key."""
        return {key.suite: key.public for key in self.keys}

    def wipe(self) -> None:
        """Destroy the private keys."""
        for key in self.keys:
            key.wipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """A key that may be opened with now, and what belongs to it."""

    key: HostKey
    epoch_digest: bytes
    tags: ReplayTags


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    epoch: EpochKeys
    held: dict[tuple[bytes, int], HeldKey]


class KeyRing:
    """All keys a host holds. One ring, and so one set of replay tags a key, belongs to one process [EX-43].

    Args:
        tags_max: Replay tags kept a key.
    """

    __slots__ = ("_entries", "_tags_max")

    def __init__(self, *, tags_max: int = REPLAY_TAGS_MAX) -> None:
        self._entries: list[_Entry] = []
        self._tags_max = tags_max

    def add(self, epoch: EpochKeys) -> None:
        """Take in the keys of an epoch, current or to come.

        Raises:
            LocalProtocolError: A key is held already (its replay tags would start anew), is wiped, or the epoch's
                window is empty, or its digest is no digest.
        """
        if len(epoch.epoch_digest) != 32 or not epoch.not_before < epoch.not_after:
            raise LocalProtocolError("an epoch needs a window and the digest of its statement")
        names = [(key.key_id, int(key.suite)) for key in epoch.keys]
        held = {name for entry in self._entries for name in entry.held}
        if not names or len({suite for _, suite in names}) != len(names) or held.intersection(names):
            raise LocalProtocolError("an epoch needs one fresh key for each of its suites")
        if any(key.wiped for key in epoch.keys):
            raise LocalProtocolError("a wiped key cannot be held")
        self._entries.append(
            _Entry(
                epoch,
                {
                    name: HeldKey(key=key, epoch_digest=epoch.epoch_digest, tags=ReplayTags(maximum=self._tags_max))
                    for name, key in zip(names, epoch.keys, strict=True)
                },
            )
        )

    def find(self, key_id: bytes, suite: int, now: float) -> HeldKey | None:
        """Return the key of a hint, if it may be opened with now; also wipes what has ended.

        Args:
            key_id: 8 bytes, as received.
            suite: As received.
            now: Unix seconds.
        """
        self.expire(now)
        for entry in self._entries:
            held = entry.held.get((key_id, suite))
            if held is not None and opens_at(entry.epoch, now):
                return held
        return None

    def expire(self, now: float) -> int:
        """Wipe the keys of epochs whose grace has passed, and their replay tags; return how many epochs went.

        Call it on a timer as well: a host that nobody asks must not keep an old key [EX-52].
        """
        ended = [entry for entry in self._entries if now >= entry.epoch.not_after + EPOCH_GRACE_S]
        for entry in ended:
            self._destroy(entry)
        return len(ended)

    def wipe(self) -> None:
        """Destroy everything: at shutdown, after sleep, and when a clock was moved."""
        for entry in list(self._entries):
            self._destroy(entry)

    def _destroy(self, entry: _Entry) -> None:
        self._entries.remove(entry)
        for held in entry.held.values():
            held.tags.close()
        entry.epoch.wipe()

    @property
    def epochs(self) -> tuple[EpochKeys, ...]:
        """What is held, oldest first."""
        return tuple(sorted((entry.epoch for entry in self._entries), key=lambda epoch: epoch.not_before))

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._entries)} epochs>"


def opens_at(epoch: EpochKeys, now: float) -> bool:
    """Whether an epoch's keys may be opened with: from a clock's skew before it to the grace after it [EX-42]."""
    return epoch.not_before - CLOCK_SKEW_S <= now < epoch.not_after + EPOCH_GRACE_S

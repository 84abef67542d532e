"""Which record of each owner counts, and what is remembered so that no older one ever comes back.

Only records of admitted members enter. A record is replaced by a newer one of its owner and by nothing else: not by
what others say, not by time going on, not by leaving and coming back (docs/spec/records.md).
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sealmesh.errors import VerificationError
from sealmesh.gossip.record import (
    AHEAD_FACTOR,
    EXPIRED_FACTOR,
    KEYS_FACTOR,
    SUMMARY_FACTOR,
    VERSION_FACTOR,
    KeysPart,
    Summary,
    outline_untrusted,
    parse_keys_untrusted,
    parse_summary_untrusted,
    record_digest,
)
from sealmesh.identity.admission import Admitted
from sealmesh.identity.signed import SignatureMemo
from sealmesh.limits import (
    CLIENT_SUMMARY_LIFETIME_S,
    KEYS_LIFETIME_S,
    KEYS_PART_MAX,
    PEERS_MAX,
    SEQUENCE_MEMORY_S,
    SUMMARY_MAX,
)

BUCKETS: Final = 256
_NOBODYS_FAULT: Final = frozenset({VERSION_FACTOR, EXPIRED_FACTOR, AHEAD_FACTOR})


class Outcome(enum.Enum):
    """What became of a record that was offered."""

    NEW = "new"
    NEWER = "newer"
    KNOWN = "known"
    OLDER = "older"
    EQUIVOCATING = "equivocating"
    IGNORED = "ignored"

    @property
    def changed(self) -> bool:
        """Whether the table holds something else now (a flag of equivocation counts)."""
        return self in (Outcome.NEW, Outcome.NEWER, Outcome.EQUIVOCATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A record that counts now.

    Attributes:
        data: The summary's wire form as received; passed on unchanged.
        digest: SHA-256 of it.
        summary: What it says, verified.
        credentials: What its owner shows for its membership, as received.
        admitted: What these were judged to be.
        seen_at: Unix seconds at which this node first had it.
        equivocating: The owner signed two different records with one sequence.
    """

    data: bytes
    digest: bytes
    summary: Summary
    credentials: bytes
    admitted: Admitted
    seen_at: float
    equivocating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysEntry:
    """A keys part that counts now: wire form as received, digest, what it says (its evidence unverified)."""

    data: bytes
    digest: bytes
    keys: KeysPart


@dataclass(slots=True, kw_only=True)
class _Memory:
    """The highest sequence seen of one kind of part, kept past the part's own end."""

    sequence: int = 0
    digest: bytes = b""
    until: float = 0.0

    def raise_to(self, sequence: int, digest: bytes, until: float) -> None:
        self.sequence, self.digest = sequence, digest
        self.until = max(self.until, until)


@dataclass(slots=True, kw_only=True)
class _Owner:
    """All that is known of one endpoint. `entry` is None once its record ended; the memories stay."""

    serial: bytes
    summaries: _Memory
    keys_parts: _Memory
    entry: Entry | None = None
    keys: KeysEntry | None = None
    equivocating: bool = False
    barred: bool = False

    def forgettable(self, now: float) -> bool:
        return self.entry is None and self.summaries.until <= now and self.keys_parts.until <= now


class RecordTable:
    """The records of one mesh as one node holds them.

    Args:
        capacity: How many owners are held and remembered at most.
        memo: Signatures that held already [RE-11].
    """

    def __init__(self, *, capacity: int = PEERS_MAX, memo: SignatureMemo | None = None) -> None:
        self._memo = memo
        self._capacity = capacity
        self._owners: dict[bytes, _Owner] = {}
        self._by_bucket: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]  # endpoint id -> digest, live ones
        self._bucket_digests: list[bytes | None] = [None] * BUCKETS  # None: to be computed
        self._per_grant: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._by_bucket)

    def get(self, endpoint_id: bytes) -> Entry | None:
        """Return the record of that owner that counts, or None."""
        owner = self._owners.get(endpoint_id)
        return owner.entry if owner is not None else None

    def keys(self, endpoint_id: bytes, now: float) -> KeysEntry | None:
        """Return the newest keys part of that owner, or None if there is none or it has expired."""
        owner = self._owners.get(endpoint_id)
        if owner is None or owner.entry is None or owner.keys is None or now >= owner.keys.keys.expires:
            return None
        return owner.keys

    def entries(self) -> Iterator[Entry]:
        """Yield every record that counts, those of owners that said goodbye included."""
        return (owner.entry for owner in list(self._owners.values()) if owner.entry is not None)

    def equivocating(self, endpoint_id: bytes) -> bool:
        """Say whether that owner was seen to sign two different records with one sequence."""
        owner = self._owners.get(endpoint_id)
        return owner is not None and owner.equivocating

    def highest_sequence(self, endpoint_id: bytes) -> int:
        """Return the highest sequence remembered of that owner's summaries; 0 if nothing is."""
        owner = self._owners.get(endpoint_id)
        return owner.summaries.sequence if owner is not None else 0

    # --- taking records ---------------------------------------------------------------------------------------------

    def add_untrusted(self, data: bytes, credentials: bytes, admitted: Admitted, now: float) -> Outcome:
        """Offer a summary of a member.

        Args:
            data: The summary's wire form, as received.
            credentials: The owner's encoded credentials, as received.
            admitted: What `AdmissionPolicy.admit_untrusted` made of them for the summary's owner.
            now: Unix seconds.

        Returns:
            What became of it. A digest is known only once its signature was checked.

        Raises:
            VerificationError: No honest node would have passed it on: malformed, not signed by its owner, not for these
                credentials, or with a role that they do not grant.
        """
        endpoint_id = admitted.endpoint_id
        owner = self._owners.get(endpoint_id)
        digest = record_digest(data)
        # 1. Exactly the bytes that are held were checked before [RE-11].
        if owner is not None and owner.entry is not None and owner.entry.digest == digest:
            return Outcome.KNOWN
        # 2. What is older than what was ever seen is not worth a signature check [RE-12].
        _, outline = outline_untrusted(data, maximum=SUMMARY_MAX, factor=SUMMARY_FACTOR)
        if outline.endpoint_id != endpoint_id:
            raise VerificationError(SUMMARY_FACTOR, "the credentials beside it are of another endpoint")
        if owner is not None and outline.sequence < owner.summaries.sequence:
            return Outcome.OLDER
        # 3. Form, times, signature; what only a clock refuses is nobody's fault [RE-7] [RE-9].
        try:
            summary = parse_summary_untrusted(data, now, self._memo)
        except VerificationError as error:
            if error.factor in _NOBODYS_FAULT:
                return Outcome.IGNORED
            raise
        # 4. The owner meant these credentials, and they grant what it says it is [RE-10].
        self._check_credentials_untrusted(summary, credentials, admitted)
        # 5. Room [RE-17].
        if owner is None:
            if not self._make_room(admitted.serial):
                return Outcome.IGNORED
            owner = _Owner(serial=admitted.serial, summaries=_Memory(), keys_parts=_Memory())
            self._owners[endpoint_id] = owner
            self._per_grant[admitted.serial] += 1
        # 6. Newer, or the same sequence with other bytes [RE-12] [RE-13].
        memory = owner.summaries
        outcome = Outcome.NEW if owner.entry is None else Outcome.NEWER
        if summary.sequence == memory.sequence and digest != memory.digest:
            # The flag stays for as long as the owner is remembered: signing again does not clear it.
            outcome = Outcome.OLDER if owner.equivocating and digest > memory.digest else Outcome.EQUIVOCATING
            self._flag(owner)
            if digest > memory.digest:
                return outcome
        memory.raise_to(summary.sequence, digest, _memory_until(summary, now))
        entry = Entry(
            data=data,
            digest=digest,
            summary=summary,
            credentials=credentials,
            admitted=admitted,
            seen_at=now,
            equivocating=owner.equivocating,
        )
        if owner.serial != admitted.serial:  # the owner joined again, under another grant
            self._uncount(owner.serial)
            self._per_grant[admitted.serial] += 1
            owner.serial = admitted.serial
        owner.barred = False
        self._put(owner, entry)
        return outcome

    def add_keys_untrusted(self, data: bytes, now: float) -> Outcome:
        """Offer a keys part, fetched from its owner or from anybody.

        Args:
            data: The keys part's wire form, as received.
            now: Unix seconds.

        Returns:
            What became of it; IGNORED for an owner without a record here.

        Raises:
            VerificationError: No honest node would have passed it on: malformed, or not signed by its owner.
        """
        _, outline = outline_untrusted(data, maximum=KEYS_PART_MAX, factor=KEYS_FACTOR)
        owner = self._owners.get(outline.endpoint_id)
        if owner is None or owner.entry is None:
            return Outcome.IGNORED
        digest = record_digest(data)
        if owner.keys is not None and owner.keys.digest == digest:
            return Outcome.KNOWN
        memory = owner.keys_parts
        # The summary names the least sequence that still counts, so that no older keys part is passed off [RE-15].
        if outline.sequence < max(memory.sequence, owner.entry.summary.keys_sequence):
            return Outcome.OLDER
        try:
            keys = parse_keys_untrusted(data, now)
        except VerificationError as error:
            if error.factor in _NOBODYS_FAULT:
                return Outcome.IGNORED
            raise
        outcome = Outcome.NEW if owner.keys is None else Outcome.NEWER
        if keys.sequence == memory.sequence and digest != memory.digest:
            outcome = Outcome.OLDER if owner.equivocating and digest > memory.digest else Outcome.EQUIVOCATING
            self._flag(owner)
            if digest > memory.digest:
                return outcome
        memory.raise_to(keys.sequence, digest, now + KEYS_LIFETIME_S + SEQUENCE_MEMORY_S)
        owner.keys = KeysEntry(data=data, digest=digest, keys=keys)
        return outcome

    def _check_credentials_untrusted(self, summary: Summary, credentials: bytes, admitted: Admitted) -> None:
        """Refuse credentials that the owner did not name in its summary, and roles that these do not grant [RE-10].

        Raises:
            VerificationError: So a relay cannot put older or lesser credentials of the same owner beside its record.
        """
        if record_digest(credentials) != summary.credentials_digest:
            raise VerificationError(SUMMARY_FACTOR, "not the credentials that the summary names")
        if summary.roles & ~admitted.roles:
            raise VerificationError(
                SUMMARY_FACTOR,
                "a role that its credentials do not grant",
                expected=",".join(admitted.roles.names),
                got=",".join(summary.roles.names),
            )

    # --- losing records ---------------------------------------------------------------------------------------------

    def expire(self, now: float) -> list[bytes]:
        """Drop what has expired and forget what was remembered long enough [RE-14].

        Returns:
            The endpoint ids whose record ended.
        """
        ended: list[bytes] = []
        for endpoint_id, owner in list(self._owners.items()):
            if owner.keys is not None and now >= owner.keys.keys.expires:
                owner.keys = None
            if owner.entry is not None and now >= owner.entry.summary.expires:
                self._end(endpoint_id, owner)
                ended.append(endpoint_id)
            if owner.forgettable(now):
                self._forget(endpoint_id)
        return ended

    def recheck(self, check: Callable[[Admitted], None]) -> list[bytes]:
        """Drop the records of owners that are members no more [RE-16].

        Args:
            check: Raises VerificationError for those who are out, as `AdmissionPolicy.check` does.

        Returns:
            The endpoint ids whose record ended.
        """
        ended: list[bytes] = []
        for endpoint_id, owner in list(self._owners.items()):
            if owner.entry is None:
                continue
            try:
                check(owner.entry.admitted)
            except VerificationError:
                owner.barred = True
                self._end(endpoint_id, owner)
                ended.append(endpoint_id)
        return ended

    def _end(self, endpoint_id: bytes, owner: _Owner) -> None:
        owner.entry = None
        owner.keys = None
        bucket = bucket_of(endpoint_id)
        self._by_bucket[bucket].pop(endpoint_id, None)
        self._bucket_digests[bucket] = None

    def _forget(self, endpoint_id: bytes) -> None:
        owner = self._owners.pop(endpoint_id)
        self._end(endpoint_id, owner)
        self._uncount(owner.serial)

    def _uncount(self, serial: bytes) -> None:
        self._per_grant[serial] -= 1
        if not self._per_grant[serial]:
            del self._per_grant[serial]

    def _flag(self, owner: _Owner) -> None:
        owner.equivocating = True
        if owner.entry is not None:
            owner.entry = dataclasses.replace(owner.entry, equivocating=True)

    def _put(self, owner: _Owner, entry: Entry) -> None:
        owner.entry = entry
        endpoint_id = entry.admitted.endpoint_id
        bucket = bucket_of(endpoint_id)
        self._by_bucket[bucket][endpoint_id] = entry.digest
        self._bucket_digests[bucket] = None

    def _make_room(self, serial: bytes) -> bool:
        """See that one more owner under that grant has room; who holds one ticket cannot crowd out the others [RE-17].

        A full table gives up an owner of the grant with the most owners, if that has at least two more than the
        newcomer's; first one whose record has ended, then the one that came last.
        """
        if len(self._owners) < self._capacity:
            return True
        crowded, count = max(self._per_grant.items(), key=lambda item: (item[1], item[0]))
        if count < self._per_grant[serial] + 2:
            return False
        # From the one that came last: a crowd that grows displaces itself, not those that were there before it.
        crowd = [endpoint_id for endpoint_id in reversed(self._owners) if self._owners[endpoint_id].serial == crowded]
        self._forget(next((endpoint_id for endpoint_id in crowd if self._owners[endpoint_id].entry is None), crowd[0]))
        return True

    # --- comparing tables -------------------------------------------------------------------------------------------

    def bucket_digests(self) -> tuple[bytes, ...]:
        """Return the digest of each of the 256 buckets, 16 bytes each: the middle of the hash tree [RE-18]."""
        for index, digest in enumerate(self._bucket_digests):
            if digest is None:
                self._bucket_digests[index] = _digest_of(self._by_bucket[index])
        return tuple(digest for digest in self._bucket_digests if digest is not None)

    def root(self) -> bytes:
        """Return one digest of the whole table, 32 bytes: equal tables are known by it [RE-18]."""
        return hashlib.sha256(b"\x01" + b"".join(self.bucket_digests())).digest()

    def listing(self, buckets: Sequence[int]) -> list[tuple[bytes, int, bytes]]:
        """Return (endpoint id, sequence, digest) of every record in these buckets, by endpoint id."""
        items: list[tuple[bytes, int, bytes]] = []
        for bucket in buckets:
            for endpoint_id, digest in self._by_bucket[bucket].items():
                items.append((endpoint_id, self._owners[endpoint_id].summaries.sequence, digest))
        return sorted(items)

    def wants(self, endpoint_id: bytes, sequence: int, digest: bytes) -> bool:
        """Say whether a record that somebody claims to have could tell this table something.

        A claim changes nothing here; it only makes this node ask for the record [RE-20] [RE-23].
        """
        owner = self._owners.get(endpoint_id)
        if owner is None:
            return True
        if sequence != owner.summaries.sequence:
            return sequence > owner.summaries.sequence
        return digest != owner.summaries.digest or (owner.entry is None and owner.barred)


def bucket_of(endpoint_id: bytes) -> int:
    """Return the bucket of an endpoint: its first byte [RE-18]."""
    return endpoint_id[0]


def _digest_of(bucket: dict[bytes, bytes]) -> bytes:
    if not bucket:
        return bytes(16)
    content = b"".join(endpoint_id + bucket[endpoint_id] for endpoint_id in sorted(bucket))
    return hashlib.sha256(b"\x00" + content).digest()[:16]


def _memory_until(summary: Summary, now: float) -> float:
    """Return until when a sequence is remembered.

    PROTOCOL says: the record's lifetime and 120 s after it was seen. That is not enough where the newer record has the
    shorter life: a node that saw only a goodbye of one minute would take the owner's hour-long record of before. So it
    is the longest lifetime that any earlier record can have, counted from the newer one's issue [RE-14].
    """
    own = now + (summary.expires - summary.issued)
    return max(own, summary.issued + CLIENT_SUMMARY_LIFETIME_S) + SEQUENCE_MEMORY_S

"""How records spread: peers, messages, time and randomness in; what to send, and what changed, out.

A round every 10 s compares tables with 5 random peers, and equal tables cost one digest. What an owner changes is
pushed at once. Nothing that a peer says is believed: a record enters by its owner's signature and credentials alone
(docs/spec/records.md, Exchange).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, assert_never

from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.gossip.actions import Action, BlessedChanged, Changed, Misbehaved, Overtaken, PolicyChanged, Send
from sealmesh.gossip.messages import (
    Buckets,
    Listing,
    Message,
    Notices,
    Record,
    Records,
    Root,
    Want,
    decode_untrusted,
    encode,
)
from sealmesh.gossip.record import SUMMARY_FACTOR, outline_untrusted, record_digest
from sealmesh.gossip.table import BUCKETS, Entry, Outcome, RecordTable
from sealmesh.identity.admission import AdmissionPolicy, Admitted, Factor
from sealmesh.identity.keys import Random
from sealmesh.limits import (
    BLESSED_RECEIVED_BURST,
    BLESSED_RECEIVED_PER_S,
    GOSSIP_FANOUT,
    GOSSIP_INTERVAL_S,
    GOSSIP_PARTED_MAX,
    GOSSIP_PUSH_FANOUT,
    GOSSIP_PUSH_INTERVAL_S,
    GOSSIP_RECEIVED_BURST,
    GOSSIP_RECEIVED_PER_S,
    GOSSIP_RECORDS_PER_MESSAGE,
    GOSSIP_SENT_BURST,
    GOSSIP_SENT_PER_S,
    NOTICES_INTERVAL_S,
    PEERS_MAX,
    SUMMARY_MAX,
)

if TYPE_CHECKING:  # its library is loaded only where somebody's list is believed
    from sealmesh.attestation.blessed import BlessedKeeper

log = logging.getLogger("sealmesh.gossip")

_T = TypeVar("_T")

#: A member that passes such a record on may only know another time, another list or a newer issuer than this node
#: [RE-28].
_NOBODYS_FAULT: Final = frozenset(
    {
        Factor.WRONG_MESH,
        Factor.WRONG_ISSUER,
        Factor.VERSION,
        Factor.NOT_YET_VALID,
        Factor.EXPIRED,
        Factor.REVOKED_SERIAL,
        Factor.REVOKED_ENDPOINT,
    }
)


class _Allowance:
    """Bytes (or messages) that may pass now: a burst, and then so many a second."""

    __slots__ = ("_at", "_burst", "_left", "_lent_s", "_per_s", "_refused_at")

    def __init__(self, burst: int, per_s: int, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = float(burst), now
        self._refused_at, self._lent_s = now, 0.0

    def take(self, count: int, now: float) -> bool:
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if count > self._left:
            self._refused_at, self._lent_s = now, (count - self._left) / self._per_s
            return False
        self._left -= count
        return True

    def used_up(self, now: float) -> bool:
        """Whether what was refused last would be refused still."""
        return 0 <= now - self._refused_at < self._lent_s


@dataclass(slots=True, kw_only=True)
class _Peer:
    """What is kept of one connected peer."""

    sent: _Allowance
    received: _Allowance
    lists: _Allowance  # of builds that are verified for it
    notices_digest: bytes = b""  # of the notices that it was sent last
    notices_at: float = 0.0
    blessed: bytes = b""  # which list of builds it was sent last
    blessed_at: float = 0.0


class GossipCore:
    """Keeps this node's table like its peers'. Pure: a driver moves the bytes (mesh/driver.py).

    Args:
        own_id: This node's endpoint id, 32 bytes.
        random: Source of random bytes, for choosing peers.
        policy: Who is a member; notices that arrive are offered to it.
        blessed: The list of blessed builds; None where this node trusts nobody's, and so passes none on [BL-10].
        capacity: How many owners the table holds at most.
    """

    def __init__(
        self,
        own_id: bytes,
        *,
        random: Random,
        policy: AdmissionPolicy,
        blessed: BlessedKeeper | None = None,
        capacity: int = PEERS_MAX,
    ) -> None:
        self.own_id = own_id
        self.policy = policy
        self.blessed = blessed
        self.table = RecordTable(capacity=capacity, memo=policy.memo)
        self._random = random
        self._peers: dict[bytes, _Peer] = {}
        self._parted: dict[bytes, _Peer] = {}  # the one that left longest ago comes first
        self._own_sequence = 0
        self._next_round = 0.0

    # --- what the driver calls --------------------------------------------------------------------------------------

    def connected(self, peer: bytes, now: float) -> list[Action]:
        """A member is connected: tell it of this node and compare tables once [RE-25].

        Args:
            peer: Its endpoint id, as the connection proved it and admission let it in.
            now: Unix seconds.
        """
        # Who comes back goes on with what was left: to connect again buys nothing [RE-26].
        before = self._peers.pop(peer, None) or self._parted.pop(peer, None)
        self._peers[peer] = _Peer(
            sent=before.sent if before else _Allowance(GOSSIP_SENT_BURST, GOSSIP_SENT_PER_S, now),
            received=before.received if before else _Allowance(GOSSIP_RECEIVED_BURST, GOSSIP_RECEIVED_PER_S, now),
            lists=before.lists if before else _Allowance(BLESSED_RECEIVED_BURST, BLESSED_RECEIVED_PER_S, now),
        )
        actions = self._send_notices(peer, now) + self._send_blessed(peer, now)
        own = self.table.get(self.own_id)
        if own is not None:
            actions += self._send(peer, Records(records=(_record(own),), push=True), now)
        if len(self.table) <= 1:
            # Joining: to list the nothing that one has, in all buckets, pulls the whole table in one round trip.
            everything = tuple(range(BUCKETS))
            listing = Listing(buckets=everything, items=tuple(self.table.listing(everything)))
            actions += self._send(peer, listing, now)
        elif self.own_id < peer:  # one of the two begins
            actions += self._send(peer, self._root(), now)
        return actions

    def disconnected(self, peer: bytes) -> None:
        """The peer is gone. Its record stays for as long as it counts: losing a connection changes nothing [RE-23]."""
        state = self._peers.pop(peer, None)
        if state is not None:
            self._parted[peer] = state
            if len(self._parted) > GOSSIP_PARTED_MAX:
                del self._parted[next(iter(self._parted))]

    def receive_untrusted(self, peer: bytes, message: bytes, now: float) -> list[Action]:
        """Take one message (without the length prefix). Never raises: what is wrong shows as `Misbehaved`.

        Args:
            peer: Who sent it, as the connection proved it.
            message: As received.
            now: Unix seconds.
        """
        state = self._peers.get(peer)
        if state is None:
            return []
        # Who sends more than it could have had from us under the same rule is no honest peer [RE-26].
        if not state.received.take(len(message), now):
            return [Misbehaved(peer=peer, reason="sends more than any honest peer")]
        try:
            parsed = decode_untrusted(message)
        except RemoteProtocolError as error:
            return [Misbehaved(peer=peer, reason=error.reason)]
        match parsed:
            case Root():
                return self._on_root(peer, parsed, now)
            case Buckets() | Listing() | Want() if state.sent.used_up(now):
                # A few bytes ask for the whole table: not even looked up for who would not be sent it [RE-26].
                return []
            case Buckets():
                return self._on_buckets(peer, parsed, now)
            case Listing():
                return self._on_listing(peer, parsed, now)
            case Want():
                wanted = (self.table.get(endpoint_id) for endpoint_id in parsed.endpoint_ids)
                return self._send_records(peer, [entry for entry in wanted if entry is not None], now)
            case Records():
                return self._on_records(peer, parsed, now)
            case Notices():
                return self._on_notices(peer, parsed, now)
            case _:
                assert_never(parsed)

    def tick(self, now: float) -> list[Action]:
        """Let time pass: drop what has ended and, when a round is due, compare with some peers [RE-24].

        Call it each second.
        """
        actions: list[Action] = [Changed(endpoint_id=endpoint_id) for endpoint_id in self.table.expire(now)]
        # A clock that was set back must not silence this node until it has caught up.
        if now < self._next_round <= now + GOSSIP_INTERVAL_S:
            return actions
        self._next_round = now + GOSSIP_INTERVAL_S
        actions += self._recheck(now)
        for peer in self._choose(list(self._peers), GOSSIP_FANOUT):
            actions += self._send(peer, self._root(), now)
        return actions

    def publish(self, data: bytes, credentials: bytes, now: float) -> list[Action]:
        """Put this node's own summary in force and tell every connected peer at once [RE-21].

        Args:
            data: From `Summary.sign`, with a sequence above every earlier one.
            credentials: This node's encoded credentials, named by the summary.
            now: Unix seconds.

        Raises:
            VerificationError: This node is a member no more (its grant has expired, or was revoked).
            LocalProtocolError: The summary would be refused by everybody.
        """
        admitted = self.policy.admit_untrusted(credentials, self.own_id, now)
        try:
            outcome = self.table.add_untrusted(data, credentials, admitted, now)
        except VerificationError as error:
            raise LocalProtocolError(f"this node's own record cannot be published: {error}") from error
        entry = self.table.get(self.own_id)
        if outcome not in (Outcome.NEW, Outcome.NEWER) or entry is None:
            raise LocalProtocolError(f"this node's own record cannot be published: it is {outcome.value}")
        self._own_sequence = entry.summary.sequence
        actions: list[Action] = [Changed(endpoint_id=self.own_id)]
        for peer in self._peers:
            actions += self._send(peer, Records(records=(_record(entry),), push=True), now)
        return actions

    def policy_changed(self, now: float) -> list[Action]:
        """The policy was given something new on this node itself: apply it and tell every connected peer."""
        actions: list[Action] = [PolicyChanged(), *self._recheck(now)]
        for peer in self._peers:
            actions += self._send_notices(peer, now)
        return actions

    def blessed_changed(self, now: float) -> list[Action]:
        """This node itself was given a newer list of builds: apply it and tell every connected peer [BL-10]."""
        actions: list[Action] = [BlessedChanged()]
        for peer in self._peers:
            actions += self._send_blessed(peer, now)
        return actions

    # --- what peers say ---------------------------------------------------------------------------------------------

    def _on_root(self, peer: bytes, message: Root, now: float) -> list[Action]:
        actions = self._compare_notices(peer, message.notices_digest, now)
        if self.blessed is not None and self.blessed.lacks(message.blessed):
            actions += self._send_blessed(peer, now)
        if message.digest != self.table.root():
            answer = Buckets(digests=self.table.bucket_digests(), notices_digest=self._notices_digest())
            actions += self._send(peer, answer, now)
        return actions

    def _on_buckets(self, peer: bytes, message: Buckets, now: float) -> list[Action]:
        actions = self._compare_notices(peer, message.notices_digest, now)
        ours = self.table.bucket_digests()
        differing = tuple(index for index in range(BUCKETS) if ours[index] != message.digests[index])
        if differing:
            listing = Listing(buckets=differing, items=tuple(self.table.listing(differing)))
            actions += self._send(peer, listing, now)
        return actions

    def _on_listing(self, peer: bytes, message: Listing, now: float) -> list[Action]:
        """Ask for what could be news, and send what the peer lacks or has older [RE-20]."""
        claimed = {endpoint_id: (sequence, digest) for endpoint_id, sequence, digest in message.items}
        wanted = tuple(item[0] for item in message.items if self.table.wants(*item))
        missing: list[Entry] = []
        for endpoint_id, sequence, digest in self.table.listing(message.buckets):
            theirs = claimed.get(endpoint_id)
            if theirs is None or theirs[0] < sequence or (theirs[0] == sequence and theirs[1] != digest):
                entry = self.table.get(endpoint_id)
                if entry is not None:
                    missing.append(entry)
        actions: list[Action] = []
        if wanted:
            actions += self._send(peer, Want(endpoint_ids=wanted), now)
        return actions + self._send_records(peer, missing, now)

    def _on_records(self, peer: bytes, message: Records, now: float) -> list[Action]:
        actions: list[Action] = []
        pushed: list[Entry] = []
        for record in message.records:
            try:
                outcome, endpoint_id, last_change = self._take_untrusted(record, now)
            except VerificationError as error:
                actions.append(Misbehaved(peer=peer, reason=str(error)))
                break
            if not outcome.changed:
                continue
            actions.append(Changed(endpoint_id=endpoint_id))
            entry = self.table.get(endpoint_id)
            if endpoint_id == self.own_id and self.table.highest_sequence(endpoint_id) > self._own_sequence:
                actions.append(Overtaken(sequence=self.table.highest_sequence(endpoint_id)))
            # Who changes every moment is not carried on at every moment; the rounds bring the newest [RE-21].
            if message.push and entry is not None and now - last_change >= GOSSIP_PUSH_INTERVAL_S:
                pushed.append(entry)
        if pushed:
            others = [other for other in self._peers if other != peer]
            for other in self._choose(others, GOSSIP_PUSH_FANOUT):
                actions += self._send_records(other, pushed, now, push=True)
        return actions

    def _take_untrusted(self, record: Record, now: float) -> tuple[Outcome, bytes, float]:
        """Offer one record to the table, if its owner is a member [RE-10] [RE-16].

        Returns:
            What became of it, its owner, and when that owner's record last changed here (Unix seconds, 0 never).

        Raises:
            VerificationError: No honest node would have passed it on.
        """
        _, outline = outline_untrusted(record.summary, maximum=SUMMARY_MAX, factor=SUMMARY_FACTOR)
        endpoint_id = outline.endpoint_id
        held = self.table.get(endpoint_id)
        last_change = held.seen_at if held is not None else 0.0
        if held is not None and held.digest == record_digest(record.summary):
            return Outcome.KNOWN, endpoint_id, last_change
        if outline.sequence < self.table.highest_sequence(endpoint_id):
            return Outcome.OLDER, endpoint_id, last_change
        try:
            admitted = self._admit_untrusted(held, record.credentials, endpoint_id, now)
        except VerificationError as error:
            if error.factor in _NOBODYS_FAULT:
                return Outcome.IGNORED, endpoint_id, last_change
            raise
        return self.table.add_untrusted(record.summary, record.credentials, admitted, now), endpoint_id, last_change

    def _admit_untrusted(self, held: Entry | None, credentials: bytes, endpoint_id: bytes, now: float) -> Admitted:
        """Judge the credentials beside a record; the very bytes that were judged before need only be in force still.

        Raises:
            VerificationError: The owner is not a member.
        """
        if held is not None and held.credentials == credentials:
            self.policy.check(held.admitted, now)
            return held.admitted
        return self.policy.admit_untrusted(credentials, endpoint_id, now)

    def _on_notices(self, peer: bytes, message: Notices, now: float) -> list[Action]:
        """Offer the issuer's word to the policy, and pass on what was new [RE-22]."""
        changed = False
        actions: list[Action] = []
        # Each by itself: who joined under a later issuer cannot place what its forerunners signed, and must take the
        # list of revocations beside it all the same.
        for successor in message.successors:
            try:
                changed |= self.policy.offer_successor_untrusted(successor)
            except VerificationError as error:
                log.info("refused a successor statement: %s", error)
        try:
            if message.revocations:
                changed |= self.policy.offer_revocations_untrusted(message.revocations, now)
        except VerificationError as error:
            log.info("refused a list of revocations: %s", error)
            if error.factor == Factor.REVOCATIONS_SIGNATURE:
                actions.append(Misbehaved(peer=peer, reason=str(error)))
        if message.blessed:
            actions += self._on_blessed(peer, message.blessed, now)
        if changed:
            actions.append(PolicyChanged())
            actions += self._recheck(now)
            for other in self._peers:
                if other != peer:
                    actions += self._send_notices(other, now)
        return actions

    def _on_blessed(self, peer: bytes, data: bytes, now: float) -> list[Action]:
        """Take a list of builds if it holds and is newer, and only then pass it on [BL-10]."""
        if self.blessed is None or data == self.blessed.data:
            return []
        if not self._peers[peer].lists.take(1, now):
            return []  # each costs as many signature checks as the trust has keys, and none that fails is a fault
        try:
            if not self.blessed.offer_untrusted(data, now):
                return []
        except VerificationError as error:
            # Whom this node trusts is its own choice: a list of others is no fault of who passes it on.
            log.info("refused a list of builds: %s", error)
            return []
        actions: list[Action] = [BlessedChanged()]
        for other in self._peers:
            if other != peer:
                actions += self._send_blessed(other, now)
        return actions

    # --- what the above share ----------------------------------------------------------------------------------------

    def _recheck(self, now: float) -> list[Action]:
        ended = self.table.recheck(lambda admitted: self.policy.check(admitted, now))
        return [Changed(endpoint_id=endpoint_id) for endpoint_id in ended]

    def _root(self) -> Root:
        held = b"" if self.blessed is None else self.blessed.held
        return Root(digest=self.table.root(), notices_digest=self._notices_digest(), blessed=held)

    def _notices_digest(self) -> bytes:
        digest = hashlib.sha256(len(self.policy.revocations_data).to_bytes(4, "big") + self.policy.revocations_data)
        for successor in self.policy.successors_data:
            digest.update(len(successor).to_bytes(4, "big") + successor)
        return digest.digest()

    def _compare_notices(self, peer: bytes, digest: bytes, now: float) -> list[Action]:
        return self._send_notices(peer, now) if digest != self._notices_digest() else []

    def _send_notices(self, peer: bytes, now: float) -> list[Action]:
        """Send what the issuer said, unless there is nothing or the peer had the same a moment ago [RE-24]."""
        if not self.policy.revocations_data and not self.policy.successors_data:
            return []
        state, digest = self._peers[peer], self._notices_digest()
        if state.notices_digest == digest and 0 <= now - state.notices_at < NOTICES_INTERVAL_S:
            return []
        notices = Notices(revocations=self.policy.revocations_data, successors=self.policy.successors_data)
        sent = self._send(peer, notices, now)
        if sent:  # else the next round tries again, not the next minute
            state.notices_digest, state.notices_at = digest, now
        return sent

    def _send_blessed(self, peer: bytes, now: float) -> list[Action]:
        """Send the list of builds, unless there is none or the peer had the same a moment ago [BL-10]."""
        if self.blessed is None or not self.blessed.data:
            return []
        state, held = self._peers[peer], hashlib.sha256(self.blessed.data).digest()
        if state.blessed == held and 0 <= now - state.blessed_at < NOTICES_INTERVAL_S:
            return []
        sent = self._send(peer, Notices(blessed=self.blessed.data), now)
        if sent:
            state.blessed, state.blessed_at = held, now
        return sent

    def _send_records(self, peer: bytes, entries: Sequence[Entry], now: float, *, push: bool = False) -> list[Action]:
        actions: list[Action] = []
        for start in range(0, len(entries), GOSSIP_RECORDS_PER_MESSAGE):
            some = entries[start : start + GOSSIP_RECORDS_PER_MESSAGE]
            sent = self._send(peer, Records(records=tuple(map(_record, some)), push=push), now)
            if not sent:
                break  # the rest would not pass either, and costs time to write
            actions += sent
        return actions

    def _send(self, peer: bytes, message: Message, now: float) -> list[Action]:
        """Return the sending of one message, or nothing where the peer has had its share [RE-26]."""
        data = encode(message)
        if not self._peers[peer].sent.take(len(data), now):
            return []
        return [Send(peer=peer, message=data)]

    def _choose(self, items: Iterable[_T], count: int) -> list[_T]:
        """Return `count` of the items at random, or all of them."""
        left = list(items)
        if len(left) <= count:
            return left
        chosen: list[_T] = []
        for _ in range(count):
            chosen.append(left.pop(int.from_bytes(self._random(8), "big") % len(left)))
        return chosen


def _record(entry: Entry) -> Record:
    return Record(summary=entry.data, credentials=entry.credentials)

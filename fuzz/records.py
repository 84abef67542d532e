"""Records: both parts, the table, and everything that a peer sends on a records stream."""

from __future__ import annotations

from fuzz.harness import Harness, Target, holds, vectors

from kit.people import NOW, People, Randomness
from sealmesh.errors import RemoteProtocolError, VerificationError
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.messages import Buckets, Listing, Notices, Record, Records, Root, Want, decode_untrusted, encode
from sealmesh.gossip.record import (
    KEYS_FACTOR,
    SUMMARY_FACTOR,
    outline_untrusted,
    parse_keys_untrusted,
    parse_summary_untrusted,
)
from sealmesh.gossip.table import RecordTable
from sealmesh.identity.admission import make_revocations
from sealmesh.limits import KEYS_PART_MAX, SUMMARY_MAX

_PEOPLE = People()
_MEMBER = _PEOPLE.member()
_RECORD, _KEYS = _MEMBER.record(), _MEMBER.keys()
_ADMITTED = _PEOPLE.policy().admit_untrusted(_MEMBER.shown, _MEMBER.id, NOW)
_REVOCATIONS = make_revocations(_PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)])
_REFUSES = (VerificationError,)
_MESSAGES = [
    encode(message)
    for message in (
        Root(digest=bytes(32), notices_digest=bytes(32)),
        Buckets(digests=(bytes(16),) * 256, notices_digest=bytes(32)),
        Listing(buckets=tuple(range(256)), items=((_MEMBER.id, 5, bytes(32)),)),
        Want(endpoint_ids=(_MEMBER.id,)),
        Records(records=(Record(summary=_RECORD, credentials=_MEMBER.shown),), push=True),
        Notices(revocations=_REVOCATIONS.encode(), successors=()),
    )
]


def _into_table(data: bytes) -> None:
    table = RecordTable()
    table.add_untrusted(data, _MEMBER.shown, _ADMITTED, NOW)
    holds(all(entry.data == _RECORD for entry in table.entries()))


def _keys_into_table(data: bytes) -> None:
    table = RecordTable()
    table.add_untrusted(_RECORD, _MEMBER.shown, _ADMITTED, NOW)
    table.add_keys_untrusted(data, NOW)


def _core(data: bytes) -> None:
    """A core raises nothing: what is wrong becomes an action. Nothing false enters its table."""
    core = GossipCore(bytes(range(32)), random=Randomness("core"), policy=_PEOPLE.policy())
    peer = bytes(32)
    core.connected(peer, NOW)
    core.receive_untrusted(peer, data, NOW)
    holds(all(entry.data == _RECORD for entry in core.table.entries()))
    holds(core.policy.revocations_data in (b"", _REVOCATIONS.encode()))


def _round_trip(data: bytes) -> None:
    message = decode_untrusted(data)
    holds(decode_untrusted(encode(message)) == message)


_SUMMARIES = [_RECORD, *(bytes.fromhex(one["data"]) for one in vectors("records", kind="summary"))]
_KEYS_PARTS = [_KEYS, *(bytes.fromhex(one["data"]) for one in vectors("records", kind="keys"))]
_ALL_MESSAGES = [*_MESSAGES, *(bytes.fromhex(one["data"]) for one in vectors("records", kind="message"))]

HARNESS = Harness(
    summary=Target(lambda data: parse_summary_untrusted(data, NOW), _REFUSES, _SUMMARIES),
    keys_part=Target(lambda data: parse_keys_untrusted(data, NOW), _REFUSES, _KEYS_PARTS),
    summary_outline=Target(
        lambda data: outline_untrusted(data, maximum=SUMMARY_MAX, factor=SUMMARY_FACTOR), _REFUSES, _SUMMARIES
    ),
    keys_outline=Target(
        lambda data: outline_untrusted(data, maximum=KEYS_PART_MAX, factor=KEYS_FACTOR), _REFUSES, _KEYS_PARTS
    ),
    table=Target(_into_table, _REFUSES, [_RECORD]),
    keys_into_table=Target(_keys_into_table, _REFUSES, [_KEYS]),
    message=Target(_round_trip, (RemoteProtocolError,), _ALL_MESSAGES),
    core=Target(_core, (), _ALL_MESSAGES),
)

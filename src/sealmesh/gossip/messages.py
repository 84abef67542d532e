"""What two nodes say to each other on the `0x01` stream, and how it is written (docs/spec/records.md, Exchange)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias, assert_never

from google.protobuf.message import DecodeError

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.gossip._codec import records_pb2
from sealmesh.gossip.table import BUCKETS, bucket_of
from sealmesh.limits import (
    ADMISSION_MAX,
    BLESSED_LIST_MAX,
    GOSSIP_MESSAGE_MAX,
    GOSSIP_RECORDS_PER_MESSAGE,
    ISSUERS_MAX,
    PEERS_MAX,
    REVOCATIONS_MAX,
    SUMMARY_MAX,
)

DIGEST_LENGTH: Final = 32
BUCKET_DIGEST_LENGTH: Final = 16
ID_LENGTH: Final = 32
BLESSED_HELD_LENGTH: Final = 40
_SEQUENCE_LENGTH: Final = 8
_ITEM_LENGTH: Final = ID_LENGTH + _SEQUENCE_LENGTH + DIGEST_LENGTH
_BITMAP_LENGTH: Final = BUCKETS // 8

#: (endpoint id, sequence, digest) of one record.
Item: TypeAlias = tuple[bytes, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The digest of the sender's whole table, and of its notices; answered with `Buckets` where the tables differ.

    `blessed` says which list of builds the sender has: trust id ‖ u64 version, or nothing where it keeps none.
    """

    digest: bytes
    notices_digest: bytes
    blessed: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """The digests of the sender's 256 buckets; answered with a `Listing` of those that differ."""

    digests: tuple[bytes, ...]
    notices_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that the sender has in some buckets; answered with `Want` and `Records`."""

    buckets: tuple[int, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Whose records the sender asks for; answered with `Records`."""

    endpoint_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A summary and its owner's credentials, both as received."""

    summary: bytes
    credentials: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Records that were wanted, or (`push`) that have just changed and are to be passed on."""

    records: tuple[Record, ...]
    push: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """What others said, passed on.

    The issuer's list of revocations, empty if none, and successor statements from oldest to newest; or the list of
    blessed builds.
    """

    revocations: bytes = b""
    successors: tuple[bytes, ...] = ()
    blessed: bytes = b""


Message: TypeAlias = Root | Buckets | Listing | Want | Records | Notices


def encode(message: Message) -> bytes:
    """Return a message's bytes, without the stream's length prefix.

    Raises:
        LocalProtocolError: It is longer than a reader accepts.
    """
    wire = records_pb2.Gossip()
    match message:
        case Root():
            wire.root.digest = message.digest
            wire.root.notices_digest = message.notices_digest
            wire.root.blessed = message.blessed
        case Buckets():
            wire.buckets.digests = b"".join(message.digests)
            wire.buckets.notices_digest = message.notices_digest
        case Listing():
            bitmap = 0
            for bucket in message.buckets:
                bitmap |= 1 << bucket
            wire.listing.buckets = bitmap.to_bytes(_BITMAP_LENGTH, "little")
            wire.listing.items = b"".join(
                endpoint_id + sequence.to_bytes(_SEQUENCE_LENGTH, "big") + digest
                for endpoint_id, sequence, digest in message.items
            )
        case Want():
            wire.want.endpoint_ids = b"".join(message.endpoint_ids)
        case Records():
            wire.records.push = message.push
            for record in message.records:
                wire.records.records.add(summary=record.summary, credentials=record.credentials)
        case Notices():
            wire.notices.revocations = message.revocations
            wire.notices.successors.extend(message.successors)
            wire.notices.blessed = message.blessed
        case _:
            assert_never(message)
    data = wire.SerializeToString(deterministic=True)
    if len(data) > GOSSIP_MESSAGE_MAX:
        raise LocalProtocolError(f"a records message of {len(data)} bytes is over the limit of {GOSSIP_MESSAGE_MAX}")
    return data


def decode_untrusted(data: bytes) -> Message:
    """Parse one message of a peer. Records and notices in it stay unverified.

    Raises:
        RemoteProtocolError: Too long or malformed [RE-19].
    """
    _require(len(data) <= GOSSIP_MESSAGE_MAX, "a records message over its limit")
    try:
        wire = records_pb2.Gossip.FromString(data)
    except (DecodeError, ValueError, TypeError) as error:
        raise RemoteProtocolError("a records message that is none") from error
    match wire.WhichOneof("kind"):
        case "root":
            _require(len(wire.root.blessed) in (0, BLESSED_HELD_LENGTH), "a list of builds named by another length")
            return Root(
                digest=_digest(wire.root.digest, DIGEST_LENGTH),
                notices_digest=_digest(wire.root.notices_digest, DIGEST_LENGTH),
                blessed=wire.root.blessed,
            )
        case "buckets":
            digests = _digest(wire.buckets.digests, BUCKETS * BUCKET_DIGEST_LENGTH)
            return Buckets(
                digests=_cut(digests, BUCKET_DIGEST_LENGTH),
                notices_digest=_digest(wire.buckets.notices_digest, DIGEST_LENGTH),
            )
        case "listing":
            return _listing_untrusted(wire.listing.buckets, wire.listing.items)
        case "want":
            ids = wire.want.endpoint_ids
            _require(len(ids) % ID_LENGTH == 0 and len(ids) <= ID_LENGTH * PEERS_MAX, "ids of the wrong length")
            endpoint_ids = _cut(ids, ID_LENGTH)
            _require_ascending(endpoint_ids)
            return Want(endpoint_ids=endpoint_ids)
        case "records":
            _require(len(wire.records.records) <= GOSSIP_RECORDS_PER_MESSAGE, "too many records in one message")
            records = tuple(
                Record(summary=record.summary, credentials=record.credentials) for record in wire.records.records
            )
            for record in records:
                _require(len(record.summary) <= SUMMARY_MAX, "a summary over its limit")
                _require(len(record.credentials) <= ADMISSION_MAX, "credentials over their limit")
            return Records(records=records, push=wire.records.push)
        case "notices":
            _require(len(wire.notices.revocations) <= REVOCATIONS_MAX, "a list of revocations over its limit")
            _require(len(wire.notices.successors) < ISSUERS_MAX, "too many successors")
            _require(len(wire.notices.blessed) <= BLESSED_LIST_MAX, "a list of builds over its limit")
            return Notices(
                revocations=wire.notices.revocations,
                successors=tuple(wire.notices.successors),
                blessed=wire.notices.blessed,
            )
        case _:
            raise RemoteProtocolError("a records message of no known kind")


def _listing_untrusted(bitmap_bytes: bytes, data: bytes) -> Listing:
    bitmap = int.from_bytes(_digest(bitmap_bytes, _BITMAP_LENGTH), "little")
    _require(len(data) % _ITEM_LENGTH == 0 and len(data) <= _ITEM_LENGTH * PEERS_MAX, "items of the wrong length")
    items = tuple(
        (
            item[:ID_LENGTH],
            int.from_bytes(item[ID_LENGTH : ID_LENGTH + _SEQUENCE_LENGTH], "big"),
            item[ID_LENGTH + _SEQUENCE_LENGTH :],
        )
        for item in _cut(data, _ITEM_LENGTH)
    )
    _require_ascending(tuple(item[0] for item in items))
    for endpoint_id, _, _ in items:
        _require(bool(bitmap >> bucket_of(endpoint_id) & 1), "an item outside the listed buckets")
    return Listing(buckets=tuple(bucket for bucket in range(BUCKETS) if bitmap >> bucket & 1), items=items)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise RemoteProtocolError(reason)


def _digest(value: bytes, length: int) -> bytes:
    _require(len(value) == length, "a digest of the wrong length")
    return value


def _cut(data: bytes, length: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + length] for start in range(0, len(data), length))


def _require_ascending(ids: tuple[bytes, ...]) -> None:
    _require(all(left < right for left, right in pairwise(ids)), "ids that do not ascend")

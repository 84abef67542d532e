import pytest

from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.gossip._codec import records_pb2
from sealmesh.gossip.messages import Buckets, Listing, Notices, Record, Records, Root, Want, decode_untrusted, encode

ID = bytes([7]) * 32
MESSAGES = [
    Root(digest=bytes(32), notices_digest=b"\x01" * 32),
    Buckets(digests=tuple(bytes([i]) * 16 for i in range(256)), notices_digest=bytes(32)),
    Listing(buckets=(0, 7, 255), items=((bytes(32), 0, bytes(32)), (ID, 2**63, b"\x02" * 32))),
    Listing(buckets=tuple(range(256)), items=()),
    Want(endpoint_ids=(bytes(32), ID)),
    Records(records=(Record(summary=b"s", credentials=b"c"),) * 64, push=True),
    Notices(revocations=b"list", successors=(b"one", b"two")),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_back(message):
    assert decode_untrusted(encode(message)) == message


def test_the_largest_messages_fit():
    items = tuple(((i << 240).to_bytes(32, "big"), i, bytes(32)) for i in range(10_000))
    listing = Listing(buckets=tuple(range(256)), items=items)
    assert decode_untrusted(encode(listing)) == listing
    record = Record(summary=bytes(1024), credentials=bytes(1024))
    assert len(encode(Records(records=(record,) * 64, push=False))) < 1 << 20
    assert len(encode(Notices(revocations=bytes(512 * 1024), successors=(bytes(1024),) * 7))) < 1 << 20


def test_our_own_message_over_the_limit_is_our_own_mistake():
    with pytest.raises(LocalProtocolError):
        encode(Notices(revocations=bytes(1 << 20), successors=()))


def _gossip(**fields: object) -> bytes:
    return records_pb2.Gossip(**fields).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        bytes((1 << 20) + 1),
        b"\x3a\x00",  # a kind that does not exist
        encode(MESSAGES[0])[:-1],
        _gossip(root=records_pb2.Root(digest=bytes(31), notices_digest=bytes(32))),
        _gossip(root=records_pb2.Root(digest=bytes(32))),
        _gossip(buckets=records_pb2.Buckets(digests=bytes(4095), notices_digest=bytes(32))),
        _gossip(buckets=records_pb2.Buckets(digests=bytes(4096), notices_digest=b"")),
        _gossip(listing=records_pb2.Listing(buckets=bytes(31))),
        _gossip(listing=records_pb2.Listing(buckets=bytes(32), items=bytes(72))),  # outside the listed buckets
        _gossip(listing=records_pb2.Listing(buckets=b"\xff" * 32, items=bytes(71))),
        _gossip(listing=records_pb2.Listing(buckets=b"\xff" * 32, items=bytes(144))),  # twice the same
        _gossip(want=records_pb2.Want(endpoint_ids=bytes(33))),
        _gossip(want=records_pb2.Want(endpoint_ids=bytes(64))),
        _gossip(want=records_pb2.Want(endpoint_ids=ID + bytes(32))),  # not ascending
        _gossip(want=records_pb2.Want(endpoint_ids=b"".join(i.to_bytes(32, "big") for i in range(10_001)))),
        _gossip(records=records_pb2.Records(records=[records_pb2.Record()] * 65)),
        _gossip(records=records_pb2.Records(records=[records_pb2.Record(summary=bytes(1025))])),
        _gossip(records=records_pb2.Records(records=[records_pb2.Record(credentials=bytes(1025))])),
        _gossip(notices=records_pb2.Notices(revocations=bytes(512 * 1024 + 1))),
        _gossip(notices=records_pb2.Notices(successors=[b""] * 8)),
    ],
)
def test_a_malformed_message(data):
    with pytest.raises(RemoteProtocolError):
        decode_untrusted(data)

"""A05: a gossip peer rewrites, strips or rolls back another node's record.

The liar is a member with a valid connection and good credentials of its own. Each test puts it between an honest owner
and an honest reader, on a virtual clock, and looks at what the reader ends up with.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kit.gossip import Net
from kit.people import NOW, Member
from sealmesh.errors import VerificationError
from sealmesh.gossip._codec import records_pb2
from sealmesh.gossip.messages import Listing, Message, Record, Records, Want, decode_untrusted, encode
from sealmesh.gossip.record import record_digest
from sealmesh.gossip.table import Outcome, RecordTable
from sealmesh.identity.signed import Label, Signed


def _line() -> tuple[Net, bytes, bytes, bytes]:
    """An owner, a liar and a reader; all news of the owner goes through the liar."""
    net = Net()
    owner, liar, reader = (net.add() for _ in range(3))
    net.link(owner, liar)
    net.link(liar, reader)
    return net, owner, liar, reader


def _lie(net: Net, liar: bytes, change: Callable[[Record], Record | None], owner: bytes) -> None:
    """From now on the liar passes the owner's record on as `change` makes it."""

    def meddle(_sender: bytes, _receiver: bytes, message: bytes) -> list[bytes]:
        parsed = decode_untrusted(message)
        if not isinstance(parsed, Records):
            return [message]
        records = []
        for record in parsed.records:
            about = Signed.decode_untrusted(record.summary, maximum=1024).part
            changed = change(record) if owner in about else record
            if changed is not None:
                records.append(changed)
        return [encode(Records(records=tuple(records), push=parsed.push))]

    net.meddlers[liar] = meddle


def _rewrite(record: Record, **fields: object) -> records_pb2.Summary:
    message = records_pb2.Summary.FromString(Signed.decode_untrusted(record.summary, maximum=1024).part)
    for name, value in fields.items():
        if value is None:
            message.ClearField(name)
        else:
            setattr(message, name, value)
    return message


REWRITES: dict[str, dict[str, object]] = {
    "another name": {"name": "mallory"},
    "a higher sequence": {"sequence": 2**52},
    "a longer life": {"expires": int(NOW) + 3599},
    "no addresses": {"addresses": None},
    "no capabilities": {"capabilities": None},
    "no models": {"models": None},
    "older keys allowed": {"keys_sequence": 0, "name": "older"},
    "more roles": {"roles": 1},
    "goodbye": {"leaving": True},
    "another owner": {"endpoint_id": bytes(32)},
}


@pytest.mark.parametrize("fields", REWRITES.values(), ids=REWRITES.keys())
@pytest.mark.parametrize("signer", ["kept", "own"])
def test_a05_a_rewritten_or_stripped_record_never_enters(fields, signer):
    net, owner, liar, reader = _line()
    mallory: Member = net.members[liar]

    def change(record: Record) -> Record:
        part = _rewrite(record, **fields).SerializeToString(deterministic=True)
        if signer == "own":
            forged = mallory.key.sign_part(Label.SUMMARY, part)
        else:
            forged = Signed(part=part, signature=Signed.decode_untrusted(record.summary, maximum=1024).signature)
        return Record(summary=forged.encode(), credentials=record.credentials)

    _lie(net, liar, change, owner)
    net.run(30)
    assert net.cores[reader].table.get(owner) is None
    assert net.cores[reader].table.highest_sequence(owner) == 0
    assert any(who == reader and report.peer == liar for who, report in net.misbehaved)
    # And the truth is taken as soon as somebody tells it.
    net.link(owner, reader)
    net.run(1)
    assert net.sees(reader, owner) == "node"


def test_a05_a_record_that_is_held_is_not_stripped_either():
    net, owner, liar, reader = _line()
    net.run(30)
    before = net.cores[reader].table.get(owner).data

    def change(record: Record) -> Record:
        message = _rewrite(record, capabilities=None, sequence=2**52)
        forged = net.members[liar].key.sign_part(Label.SUMMARY, message.SerializeToString(deterministic=True))
        return Record(summary=forged.encode(), credentials=record.credentials)

    _lie(net, liar, change, owner)
    held = net.cores[liar].table.get(owner)
    net.inject(
        liar,
        reader,
        encode(Records(records=(change(Record(summary=held.data, credentials=held.credentials)),), push=True)),
    )
    net.run(60)
    assert net.cores[reader].table.get(owner).data == before


def test_a05_a_relay_cannot_add_bytes_around_a_signed_part():
    """Unknown fields outside the signature would give one record many digests."""
    net, owner, liar, reader = _line()
    _lie(
        net,
        liar,
        lambda record: Record(summary=record.summary + b"\x18\x01", credentials=record.credentials),
        owner,
    )
    net.run(30)
    assert net.cores[reader].table.get(owner) is None


def test_a05_a_relay_cannot_put_lesser_credentials_beside_a_record():
    net, owner, liar, reader = _line()
    lesser = net.people.ticket(lifetime_s=100).join(owner).encode()
    net.cores[reader].policy.admit_untrusted(lesser, owner, net.now)  # valid by themselves
    _lie(net, liar, lambda record: Record(summary=record.summary, credentials=lesser), owner)
    net.run(30)
    assert net.cores[reader].table.get(owner) is None
    assert any(who == reader for who, _ in net.misbehaved)


def test_a05_an_older_record_never_comes_back():
    net, owner, liar, reader = _line()
    net.run(30)
    old = net.cores[reader].table.get(owner)
    net.publish(owner, name="newer")
    net.run(1)
    assert net.sees(reader, owner) == "newer"
    rollback = encode(Records(records=(Record(summary=old.data, credentials=old.credentials),), push=True))
    for _ in range(5):
        net.inject(liar, reader, rollback)
        net.run(1)
    assert net.sees(reader, owner) == "newer"


def test_a05_an_older_record_does_not_come_back_when_the_newer_one_has_expired():
    net, owner, liar, reader = _line()
    net.run(30)
    old = net.cores[reader].table.get(owner)
    net.publish(owner, name="newer", expires=int(net.now) + 60)
    net.run(1)
    net.cut(owner, liar)
    net.run(600)
    assert net.sees(reader, owner) is None
    assert old.summary.expires > net.now
    rollback = encode(Records(records=(Record(summary=old.data, credentials=old.credentials),), push=True))
    net.inject(liar, reader, rollback)
    net.run(1)
    assert net.sees(reader, owner) is None


def test_a05_an_older_record_does_not_come_back_after_a_goodbye():
    net, owner, liar, reader = _line()
    net.run(30)
    old = net.cores[reader].table.get(owner)
    net.publish(owner, leaving=True, expires=int(net.now) + 30)
    net.run(300)
    assert old.summary.expires > net.now
    net.inject(
        liar, reader, encode(Records(records=(Record(summary=old.data, credentials=old.credentials),), push=True))
    )
    net.run(1)
    assert net.sees(reader, owner) is None


def test_a05_a_reader_that_saw_only_the_goodbye_does_not_take_what_was_before_it():
    net, owner, liar, reader = _line()
    old = net.cores[owner].table.get(owner)
    _lie(net, liar, lambda record: record if record.summary != old.data else None, owner)
    net.run(30)
    net.publish(owner, leaving=True, expires=int(net.now) + 30)
    net.run(300)
    net.inject(
        liar, reader, encode(Records(records=(Record(summary=old.data, credentials=old.credentials),), push=True))
    )
    net.run(1)
    assert net.sees(reader, owner) is None


def test_a05_hearsay_changes_nothing():
    """Claims about records, in listings, digests and wants, neither remove a record nor raise a sequence."""
    net, owner, liar, reader = _line()
    net.run(30)
    before = net.cores[reader].table.get(owner)
    claims: list[Message] = [
        Listing(buckets=tuple(range(256)), items=((owner, 2**60, bytes(32)),)),
        Listing(buckets=tuple(range(256)), items=()),
        Listing(buckets=(owner[0],), items=((owner, before.summary.sequence, bytes(32)),)),
        Want(endpoint_ids=(owner,)),
    ]
    for claim in claims:
        net.inject(liar, reader, encode(claim))
        net.run(15)
    assert net.cores[reader].table.get(owner) == before
    net.publish(owner, name="newer")
    net.run(1)
    assert net.sees(reader, owner) == "newer"


def test_a05_a_silent_liar_withholds_only_what_nobody_else_tells():
    net, owner, liar, reader = _line()
    honest = net.add()
    net.link(owner, honest)
    net.link(honest, reader)
    _lie(net, liar, lambda record: None, owner)
    net.run(30)
    assert net.sees(reader, owner) == "node"


# --- keys parts -------------------------------------------------------------------------------------------------------


def _table(net: Net, owner: bytes, **changes: object) -> tuple[RecordTable, Member]:
    member = net.members[owner]
    table = RecordTable()
    admitted = net.people.policy().admit_untrusted(member.shown, owner, net.now)
    assert table.add_untrusted(member.record(net.now, **changes), member.shown, admitted, net.now) is Outcome.NEW
    return table, member


def test_a05_a_keys_part_with_another_key_never_enters():
    net, owner, liar, _ = _line()
    table, member = _table(net, owner)
    signed = Signed.decode_untrusted(member.keys(), maximum=1 << 17)
    message = records_pb2.KeysPart.FromString(signed.part)
    message.inference_public_key = b"\x07" * 32
    part = message.SerializeToString(deterministic=True)
    forgeries = [Signed(part=part, signature=signed.signature), net.members[liar].key.sign_part(Label.KEYS, part)]
    for forgery in forgeries:
        with pytest.raises(VerificationError):
            table.add_keys_untrusted(forgery.encode(), NOW)
    assert table.keys(owner, NOW) is None


def test_a05_an_older_keys_part_never_comes_back():
    net, owner, _, _ = _line()
    table, member = _table(net, owner)
    old, new = member.keys(), member.keys()
    table.add_keys_untrusted(new, NOW)
    assert table.add_keys_untrusted(old, NOW) is Outcome.OLDER
    assert table.keys(owner, NOW).data == new


def test_a05_a_reader_that_saw_no_keys_part_yet_does_not_take_one_from_before_the_summary():
    net, owner, _, _ = _line()
    member = net.members[owner]
    old = member.keys()
    member.keys()
    table, _ = _table(net, owner, keys_sequence=member.keys_sequence)
    assert table.add_keys_untrusted(old, NOW) is Outcome.OLDER
    assert table.keys(owner, NOW) is None


def test_a05_a_summary_is_no_keys_part_and_a_keys_part_no_summary():
    net, owner, _, _ = _line()
    table, member = _table(net, owner)
    with pytest.raises(VerificationError):
        table.add_keys_untrusted(member.record(), NOW)
    admitted = net.people.policy().admit_untrusted(member.shown, owner, NOW)
    before = table.get(owner).digest
    with pytest.raises(VerificationError):
        table.add_untrusted(
            member.key.sign_part(Label.KEYS, member.summary().encode()).encode(), member.shown, admitted, NOW
        )
    assert table.get(owner).digest == before == record_digest(table.get(owner).data)

"""Admission: credentials, tickets, revocations, successors, approval, addresses, and the streams that carry them."""

from __future__ import annotations

from fuzz.harness import Harness, Target, holds, vectors

from kit.people import NOW, People, Randomness
from sealmesh.errors import RemoteProtocolError, VerificationError
from sealmesh.identity.addresses import check_address_untrusted, check_addresses_untrusted, check_relay_url_untrusted
from sealmesh.identity.admission import (
    Credentials,
    Grant,
    Membership,
    Revocations,
    SignedSuccessor,
    Ticket,
    make_revocations,
    make_successor,
)
from sealmesh.identity.approval import check_commitment_untrusted
from sealmesh.identity.keys import IssuerKey
from sealmesh.identity.signed import Label, Signed, verify_signed_untrusted
from sealmesh.mesh.admission import _parse_shown_untrusted, parse_answer_untrusted
from sealmesh.wire.framing import MessageReader, encode_message

_PEOPLE = People()
_MEMBER = _PEOPLE.member()
_TICKET = _PEOPLE.ticket().encode()
_REVOCATIONS = make_revocations(_PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)])
_SUCCESSOR = make_successor(
    _PEOPLE.issuer, IssuerKey.generate(Randomness("next")), now=NOW, predecessor_until=NOW + 1
).encode()
_REFUSES = (VerificationError,)


def _admit(data: bytes) -> None:
    admitted = _PEOPLE.policy().admit_untrusted(data, _MEMBER.id, NOW)
    holds(admitted.endpoint_id == _MEMBER.id)


def _ticket(data: bytes) -> None:
    Ticket.decode_untrusted(data.decode("latin-1"))


def _signature(data: bytes) -> None:
    """Nothing that the fuzzer writes is signed by anyone."""
    verify_signed_untrusted(data[:32], Label.KEYS, Signed(part=data[96:], signature=data[32:96]))


def _successor(data: bytes) -> None:
    _PEOPLE.policy().offer_successor_untrusted(data)
    SignedSuccessor.decode_untrusted(data).verify_untrusted(_PEOPLE.issuer.public)


def _commitment(data: bytes) -> None:
    check_commitment_untrusted(
        data[:32], member_id=b"b" * 32, newcomer_id=b"a" * 32, mesh=b"m" * 32, member_nonce=data[32:]
    )


def _addresses(data: bytes) -> None:
    text = data.decode("latin-1")
    check_addresses_untrusted(text.split(","))
    check_address_untrusted(text)


def _framing(data: bytes) -> None:
    reader = MessageReader(maximum=1 << 10)
    for start in range(0, len(data), 7):
        holds(all(len(message) <= 1 << 10 for message in reader.feed_untrusted(data[start : start + 7])))
    reader.finish_untrusted()


_CREDENTIALS = [_MEMBER.shown, *(bytes.fromhex(one["credentials"]) for one in vectors("admission", kind="admission"))]
_LISTS = [bytes.fromhex(data) for one in vectors("admission", kind="revocations") for data in one["offered"]]

HARNESS = Harness(
    admit=Target(_admit, _REFUSES, _CREDENTIALS),
    credentials=Target(Credentials.decode_untrusted, _REFUSES, _CREDENTIALS),
    grant=Target(Grant.parse_untrusted, _REFUSES, [_MEMBER.credentials.grant.part]),
    membership=Target(Membership.parse_untrusted, _REFUSES, [_MEMBER.credentials.membership.part]),
    signed=Target(lambda data: Signed.decode_untrusted(data, maximum=4096), _REFUSES, [_REVOCATIONS.encode()]),
    signature=Target(_signature, _REFUSES, [bytes(120)]),
    ticket=Target(
        _ticket, _REFUSES, [_TICKET.encode(), *(one["ticket"].encode() for one in vectors("admission", kind="ticket"))]
    ),
    revocations=Target(
        lambda data: _PEOPLE.policy().offer_revocations_untrusted(data, NOW), _REFUSES, [_REVOCATIONS.encode(), *_LISTS]
    ),
    revocations_part=Target(Revocations.parse_untrusted, _REFUSES, [_REVOCATIONS.part]),
    successor=Target(_successor, _REFUSES, [_SUCCESSOR]),
    commitment=Target(_commitment, _REFUSES, [bytes(64)]),
    addresses=Target(_addresses, _REFUSES, [b"192.0.2.1:4433", b"[2001:db8::1]:1,192.0.2.1:2"]),
    relay_url=Target(
        lambda data: check_relay_url_untrusted(data.decode("latin-1")), _REFUSES, [b"https://relay.example"]
    ),
    shown=Target(
        _parse_shown_untrusted, (RemoteProtocolError,), [b"\x05" + encode_message(_MEMBER.shown, maximum=1 << 10)]
    ),
    answer=Target(parse_answer_untrusted, (RemoteProtocolError,), [b"\x01", b"\x00wrong_mesh"]),
    framing=Target(_framing, (RemoteProtocolError,), [b"\x00\x00\x00\x01a\x00\x00\x00\x00"]),
)

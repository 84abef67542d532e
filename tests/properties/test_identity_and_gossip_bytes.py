"""Any bytes into what takes bytes of strangers: a value, or the one documented exception."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.people import NOW, People, Randomness
from sealmesh.errors import RemoteProtocolError, VerificationError
from sealmesh.gossip.actions import Misbehaved
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
from sealmesh.identity.addresses import check_address_untrusted, check_relay_url_untrusted
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
from sealmesh.wire.framing import MessageReader

PEOPLE = People()
MEMBER = PEOPLE.member()
RECORD, KEYS = MEMBER.record(), MEMBER.keys()
REVOCATIONS = make_revocations(PEOPLE.issuer, previous=None, now=NOW, endpoint_ids=[bytes(32)])
SUCCESSOR = make_successor(PEOPLE.issuer, IssuerKey.generate(Randomness("next")), now=NOW, predecessor_until=NOW + 1)
TICKET = PEOPLE.ticket().encode()
ADMITTED = PEOPLE.policy().admit_untrusted(MEMBER.shown, MEMBER.id, NOW)
MESSAGES = [
    encode(message)
    for message in (
        Root(digest=bytes(32), notices_digest=bytes(32)),
        Buckets(digests=(bytes(16),) * 256, notices_digest=bytes(32)),
        Listing(buckets=tuple(range(256)), items=((MEMBER.id, 5, bytes(32)),)),
        Want(endpoint_ids=(MEMBER.id,)),
        Records(records=(Record(summary=RECORD, credentials=MEMBER.shown),), push=True),
        Notices(revocations=REVOCATIONS.encode(), successors=(SUCCESSOR.encode(),)),
    )
]

#: Name -> (what takes the bytes, good bytes to start from, the one exception).
TAKERS: dict[str, tuple[Callable[[bytes], object], bytes, type[Exception]]] = {
    "signed": (functools.partial(Signed.decode_untrusted, maximum=4096), RECORD, VerificationError),
    "signature": (
        lambda data: verify_signed_untrusted(data[:32], Label.KEYS, Signed(part=data[96:], signature=data[32:96])),
        bytes(120),
        VerificationError,
    ),
    "grant": (Grant.parse_untrusted, MEMBER.credentials.grant.part, VerificationError),
    "membership": (Membership.parse_untrusted, MEMBER.credentials.membership.part, VerificationError),
    "credentials": (Credentials.decode_untrusted, MEMBER.shown, VerificationError),
    "admission": (
        lambda data: PEOPLE.policy().admit_untrusted(data, MEMBER.id, NOW),
        MEMBER.shown,
        VerificationError,
    ),
    "revocations part": (Revocations.parse_untrusted, REVOCATIONS.part, VerificationError),
    "revocations": (
        lambda data: PEOPLE.policy().offer_revocations_untrusted(data, NOW),
        REVOCATIONS.encode(),
        VerificationError,
    ),
    "successor": (
        lambda data: PEOPLE.policy().offer_successor_untrusted(data),
        SUCCESSOR.encode(),
        VerificationError,
    ),
    "successor statement": (
        lambda data: SignedSuccessor(
            part=data, predecessor_signature=bytes(64), successor_signature=bytes(64)
        ).verify_untrusted(PEOPLE.issuer.public),
        SUCCESSOR.part,
        VerificationError,
    ),
    "commitment": (
        lambda data: check_commitment_untrusted(
            data[:32], member_id=b"b", newcomer_id=b"a", mesh=b"m", member_nonce=data[32:]
        ),
        bytes(64),
        VerificationError,
    ),
    "summary": (lambda data: parse_summary_untrusted(data, NOW), RECORD, VerificationError),
    "keys part": (lambda data: parse_keys_untrusted(data, NOW), KEYS, VerificationError),
    "outline of a summary": (
        functools.partial(outline_untrusted, maximum=1024, factor=SUMMARY_FACTOR),
        RECORD,
        VerificationError,
    ),
    "outline of a keys part": (
        functools.partial(outline_untrusted, maximum=1 << 17, factor=KEYS_FACTOR),
        KEYS,
        VerificationError,
    ),
    "table": (
        lambda data: RecordTable().add_untrusted(data, MEMBER.shown, ADMITTED, NOW),
        RECORD,
        VerificationError,
    ),
    "keys into a table": (lambda data: _table().add_keys_untrusted(data, NOW), KEYS, VerificationError),
    **{f"message {index}": (decode_untrusted, data, RemoteProtocolError) for index, data in enumerate(MESSAGES)},
    "framing": (
        lambda data: MessageReader(maximum=1 << 20).feed_untrusted(data),
        b"\x00\x00\x00\x01a",
        RemoteProtocolError,
    ),
}


def _table() -> RecordTable:
    table = RecordTable()
    table.add_untrusted(RECORD, MEMBER.shown, ADMITTED, NOW)
    return table


@st.composite
def _changed(draw: st.DrawFn, good: bytes) -> bytes:
    """Good bytes with a few of them replaced, cut, doubled or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("replace", "cut", "put in", "double"))):
            case "replace":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "put in":
                data[at:at] = draw(st.binary(max_size=12))
            case "double":
                data += data[at:]
    return bytes(data)


def _refusal(take: Callable[[str], object], text: str) -> VerificationError | None:
    try:
        take(text)
    except VerificationError as error:
        return error
    return None


@pytest.mark.parametrize("name", TAKERS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_bytes_give_a_value_or_the_one_exception(name, data):
    take, good, expected = TAKERS[name]
    content = data.draw(st.one_of(st.binary(max_size=300), _changed(good)))
    with contextlib.suppress(expected):
        take(content)


@settings(deadline=None, max_examples=200)
@given(text=st.one_of(st.text(max_size=80), st.text(max_size=30).map(lambda t: TICKET[:60] + t + TICKET[60:])))
def test_any_text_is_a_ticket_or_not(text):
    error = _refusal(Ticket.decode_untrusted, text)
    assert error is None or text.strip() not in str(error) or len(text.strip()) < 12


@settings(deadline=None, max_examples=200)
@given(text=st.one_of(st.text(max_size=80), st.from_regex(r"\[?[0-9a-f.:%]{0,20}\]?:[0-9]{0,6}", fullmatch=True)))
def test_any_text_is_an_address_or_not(text):
    for check in (check_address_untrusted, check_relay_url_untrusted):
        error = _refusal(check, text)
        assert error is None or error.factor == "address"


@pytest.mark.parametrize("good", MESSAGES, ids=range(len(MESSAGES)))
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_message_gives_actions_and_nothing_false_enters(good, data):
    own = PEOPLE.member()
    core = GossipCore(own.id, random=Randomness("core"), policy=PEOPLE.policy())
    peer = bytes(32)
    core.connected(peer, NOW)
    actions = core.receive_untrusted(peer, data.draw(st.one_of(st.binary(max_size=300), _changed(good))), NOW)
    assert all(not isinstance(action, Misbehaved) or action.peer == peer for action in actions)
    for entry in core.table.entries():
        assert entry.data == RECORD
    assert core.policy.revocations_data in (b"", REVOCATIONS.encode())


@settings(deadline=None, max_examples=100)
@given(order=st.permutations(range(6)), faces=st.booleans())
def test_whatever_the_order_all_tables_hold_the_same(order, faces):
    """Six records of one owner, two of them perhaps with one sequence: every order ends at the same one."""
    sequences = [1, 2, 3, 4, 5, 5] if faces else [1, 2, 3, 4, 5, 6]
    records = _records(tuple(sequences))
    tables = []
    for indices in (order, range(6)):
        table = RecordTable()
        for index in indices:
            table.add_untrusted(records[index], MEMBER.shown, ADMITTED, NOW)
        tables.append(table)
    assert tables[0].root() == tables[1].root()
    assert tables[0].equivocating(MEMBER.id) is faces


@functools.cache
def _records(sequences: tuple[int, ...]) -> list[bytes]:
    return [MEMBER.record(sequence=sequence, name=f"{index}") for index, sequence in enumerate(sequences)]

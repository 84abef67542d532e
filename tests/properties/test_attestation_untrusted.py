"""Any bytes give a value or the one exception that the function documents."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from sealmesh.attestation.challenge import (
    Challenge,
    GetKeys,
    check_own_nonce_untrusted,
    encode_answer,
    encode_request,
    parse_answer_untrusted,
    parse_request_untrusted,
)
from sealmesh.attestation.envelope import Envelope, Record, Role, check_plain_cbor_untrusted
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import EpochStatement, HostStatement
from sealmesh.attestation.vendors.base import EvidenceInput
from sealmesh.attestation.vendors.software import TYPE, make_record, verify_software_untrusted
from sealmesh.errors import ConfigError, RemoteProtocolError, SealmeshError, VerificationError
from sealmesh.identity.signed import Signed

HOST = ProvenHost()
ANSWER = HOST.answer()
STATEMENT = HOST.statement()
EPOCH = HOST.epoch()
PROOF = SavedProof(
    endpoint_id=HOST.endpoint_id,
    verifier_id=VERIFIER_ID,
    nonce=NONCE,
    path=ANSWER.path,
    saved_at=NOW,
    host_statement=ANSWER.host_statement,
    envelope=ANSWER.envelope,
    epoch=EPOCH,
).encode()
POLICY = b'minimum = "pinned"\n[tpm]\npcrs = {0 = ["ab"]}\n[[exception]]\nkey = "ab"\ntier = "none"\nuntil = 2027-01-01'


def check_nonce(path: bytes) -> None:
    check_own_nonce_untrusted(b"r" * 32, path, nonce=NONCE, verifier_id=VERIFIER_ID)


def check_software(data: bytes) -> None:
    record = Record(type=TYPE, data=data, role=Role.EVIDENCE)
    verify_software_untrusted(
        EvidenceInput(
            record=record,
            envelope=Envelope(records={"a": record}),
            binding=b"b" * 32,
            statement=STATEMENT,
            endpoint_id=HOST.endpoint_id,
            policy=Policy(),
            now=NOW,
        )
    )


#: Function, a good input to start from, and the one exception.
FUNCTIONS: dict[str, tuple[Callable[[bytes], object], bytes, type[SealmeshError]]] = {
    "host statement": (HostStatement.parse_untrusted, STATEMENT.encode(), VerificationError),
    "epoch statement": (EpochStatement.parse_untrusted, EPOCH.part, VerificationError),
    "envelope": (Envelope.parse_untrusted, ANSWER.envelope, VerificationError),
    "plain cbor": (check_plain_cbor_untrusted, ANSWER.envelope, VerificationError),
    "saved proof": (SavedProof.parse_untrusted, PROOF, VerificationError),
    "own nonce": (check_nonce, b"\x00" + b"s" * 32, VerificationError),
    "software key": (check_software, make_record(HOST.endpoint_key, b"b" * 32).data, VerificationError),
    "request": (parse_request_untrusted, encode_request(Challenge(nonce=NONCE)), RemoteProtocolError),
    "keys request": (parse_request_untrusted, encode_request(GetKeys(endpoint_id=NONCE)), RemoteProtocolError),
    "answer": (parse_answer_untrusted, encode_answer(ANSWER), RemoteProtocolError),
    "policy": (parse_policy_untrusted, POLICY, ConfigError),
}


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes that are nearly good: cut, with some replaced, removed or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        removed = draw(st.integers(0, 4))
        data[at : at + removed] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(data=st.data())
def test_any_bytes_give_a_value_or_the_one_exception(name: str, data: st.DataObject) -> None:
    function, good, error = FUNCTIONS[name]
    hostile = data.draw(st.one_of(st.binary(max_size=400), damaged(good)))
    with contextlib.suppress(error):
        function(hostile)


cbor = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.datetimes(timezones=st.just(datetime.UTC)),
        st.decimals(),
        st.uuids(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


@given(content=cbor)
def test_any_cbor_gives_an_envelope_or_the_one_exception(content: object) -> None:
    data = cbor2.dumps(content)
    with contextlib.suppress(VerificationError):
        Envelope.parse_untrusted(data)


@given(data=st.data())
def test_no_damaged_answer_verifies(data: st.DataObject) -> None:
    # Not the envelope: a label in it may be any text, and is nobody's word for anything.
    field = data.draw(st.sampled_from(["host_statement", "path"]))
    good: bytes = getattr(ANSWER, field)
    hostile = data.draw(damaged(good))
    lying = dataclasses.replace(ANSWER, **{field: hostile})
    if hostile == good:
        return
    with pytest.raises(VerificationError):
        judge(HOST, lying)


@given(data=st.data())
def test_no_damaged_epoch_statement_verifies(data: st.DataObject) -> None:
    part = data.draw(damaged(EPOCH.part))
    signature = data.draw(st.one_of(st.just(EPOCH.signature), st.binary(max_size=70), damaged(EPOCH.signature)))
    if (part, signature) == (EPOCH.part, EPOCH.signature):
        return
    with pytest.raises(VerificationError):
        judge(HOST).host_for(Signed(part=part, signature=signature), NOW)


@given(count=st.integers(1, 40), at=st.integers(0, 39), lie=st.integers(0, 400))
def test_a_flipped_bit_in_a_path_is_noticed(count: int, at: int, lie: int) -> None:
    answer = HOST.answer(others=count)
    if not answer.path:
        return
    path = bytearray(answer.path)
    path[lie % len(path)] ^= 1 << (at % 8)
    with pytest.raises(VerificationError):
        judge(HOST, dataclasses.replace(answer, path=bytes(path)))

"""Host and epoch statements: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost
from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.attestation.statement import EpochStatement, HostStatement, binding, statement_digest
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.identity.signed import Label, Signed
from sealmesh.limits import EPOCH_STATEMENT_MAX, HOST_STATEMENT_MAX


@pytest.fixture
def host() -> ProvenHost:
    return ProvenHost()


def test_host_statement_reads_as_it_was_written(host: ProvenHost) -> None:
    statement = host.statement(root=b"r" * 32, measurement=b"m" * 32)
    assert HostStatement.parse_untrusted(statement.encode()) == statement


def test_epoch_statement_reads_as_it_was_written(host: ProvenHost) -> None:
    signed = host.epoch()
    statement = EpochStatement.parse_untrusted(signed.part)
    assert statement.encode() == signed.part
    assert (statement.epoch, statement.not_before, statement.not_after) == (1, NOW, NOW + 300)
    assert {suite: len(key) for suite, key in statement.keys.items()} == {1: 32, 2: 1216}


def test_posture_is_written_in_one_order(host: ProvenHost) -> None:
    one = host.statement(posture={"a": "on", "b": "off"}).encode()
    other = host.statement(posture={"b": "off", "a": "on"}).encode()
    assert one == other


def test_binding_is_what_the_spec_says(host: ProvenHost) -> None:
    import hashlib

    statement = host.statement().encode()
    assert binding(statement) == hashlib.sha256(b"sealmesh/1 evidence\x00" + statement).digest()
    assert statement_digest(statement) == hashlib.sha256(statement).digest()


BAD_HOST_STATEMENTS = {
    "version": {"version": 2},
    "no version": {"version": 0},
    "endpoint id": {"endpoint_id": b"e" * 31},
    "statement key": {"statement_key": b"s" * 33},
    "measurement": {"measurement": b"m" * 31},
    "too many controls": {"posture": [pb.Control(name=str(one), state="on") for one in range(33)]},
    "control twice": {"posture": [pb.Control(name="a", state="on"), pb.Control(name="a", state="off")]},
    "long control": {"posture": [pb.Control(name="a", state="x" * 129)]},
    "backend": {"backend": "elsewhere"},
    "too many accelerators": {"accelerators": ["a"] * 17},
    "long accelerator": {"accelerators": ["é" * 65]},
    "too many models": {"model_digests": [b"d" * 32] * 17},
    "short model digest": {"model_digests": [b"d" * 31]},
    "no lifetime": {"expires_ms": round(NOW * 1000)},
    "backwards": {"expires_ms": round(NOW * 1000) - 1},
    "lives too long": {"expires_ms": round(NOW * 1000) + 3_600_001},
    "root": {"challenge_root": b"r" * 31},
}


@pytest.mark.parametrize("changes", BAD_HOST_STATEMENTS.values(), ids=BAD_HOST_STATEMENTS)
def test_malformed_host_statement_is_refused(host: ProvenHost, changes: dict[str, object]) -> None:
    message = pb.HostStatement.FromString(host.statement().encode())
    for name, value in changes.items():
        message.ClearField(name)
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(VerificationError, match="host_statement"):
        HostStatement.parse_untrusted(message.SerializeToString())


BAD_EPOCHS = {
    "version": {"version": 2},
    "endpoint id": {"endpoint_id": b""},
    "no window": {"not_after_ms": round(NOW * 1000)},
    "window too long": {"not_after_ms": round(NOW * 1000) + 300_001},
    "no keys": {"keys": []},
    "too many keys": {"keys": [pb.SuiteKey(suite=one + 1, public_key=b"k") for one in range(9)]},
    "suite twice": {"keys": [pb.SuiteKey(suite=1, public_key=b"k"), pb.SuiteKey(suite=1, public_key=b"l")]},
    "suite zero": {"keys": [pb.SuiteKey(suite=0, public_key=b"k")]},
    "suite over a byte": {"keys": [pb.SuiteKey(suite=256, public_key=b"k")]},
    "empty key": {"keys": [pb.SuiteKey(suite=1, public_key=b"")]},
    "long key": {"keys": [pb.SuiteKey(suite=1, public_key=b"k" * 2049)]},
    "digest": {"host_statement_digest": b"d" * 31},
}


@pytest.mark.parametrize("changes", BAD_EPOCHS.values(), ids=BAD_EPOCHS)
def test_malformed_epoch_statement_is_refused(host: ProvenHost, changes: dict[str, object]) -> None:
    message = pb.EpochStatement.FromString(host.epoch().part)
    for name, value in changes.items():
        message.ClearField(name)
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(VerificationError, match="epoch_statement"):
        EpochStatement.parse_untrusted(message.SerializeToString())


def test_oversized_statements_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(VerificationError, match="too long"):
        HostStatement.parse_untrusted(b"\x00" * (HOST_STATEMENT_MAX + 1))
    with pytest.raises(VerificationError, match="too long"):
        EpochStatement.parse_untrusted(b"\x00" * (EPOCH_STATEMENT_MAX + 1))


def test_a_statement_that_no_reader_would_take_is_not_written(host: ProvenHost) -> None:
    with pytest.raises(LocalProtocolError):
        host.statement(backend="elsewhere").encode()
    with pytest.raises(LocalProtocolError):
        replace(EpochStatement.parse_untrusted(host.epoch().part), keys={}).encode()


@pytest.mark.parametrize(("at", "fine"), [(-61, False), (-60, True), (0, True), (3599.9, True), (3600, False)])
def test_host_statement_holds_within_its_time(host: ProvenHost, at: float, fine: bool) -> None:
    statement = host.statement()
    if fine:
        statement.check_time(NOW + at)
        return
    with pytest.raises(VerificationError, match="freshness"):
        statement.check_time(NOW + at)


def test_epoch_statement_verifies_for_its_key_and_endpoint(host: ProvenHost) -> None:
    statement = EpochStatement.verify_untrusted(
        host.epoch(), statement_key=host.statement_key.public, endpoint_id=host.endpoint_id
    )
    assert statement.endpoint_id == host.endpoint_id


def test_signature_for_another_purpose_is_no_epoch_signature(host: ProvenHost) -> None:
    part = host.epoch().part
    signed = Signed(part=part, signature=host.statement_key.sign(Label.RECEIPT, part))
    with pytest.raises(VerificationError, match="did not sign"):
        EpochStatement.verify_untrusted(signed, statement_key=host.statement_key.public, endpoint_id=host.endpoint_id)


def test_keys_of_a_statement_cannot_be_changed_after_parsing(host: ProvenHost) -> None:
    statement = EpochStatement.parse_untrusted(host.epoch().part)
    with pytest.raises(TypeError):
        statement.keys[1] = b"other"  # type: ignore[index]

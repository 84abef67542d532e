import dataclasses

import pytest

from kit.people import NOW, People
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.gossip._codec import records_pb2
from sealmesh.gossip.record import (
    Model,
    next_sequence,
    parse_keys_untrusted,
    parse_summary_untrusted,
)
from sealmesh.identity.admission import Role
from sealmesh.identity.signed import Label, Signed

MEMBER = People().member()


def _summary_factor(data: bytes, now: float = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        parse_summary_untrusted(data, now)
    return caught.value.factor


def _keys_factor(data: bytes, now: float = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        parse_keys_untrusted(data, now)
    return caught.value.factor


def _signed(label: Label, message: records_pb2.Summary | records_pb2.KeysPart) -> bytes:
    return MEMBER.key.sign_part(label, message.SerializeToString(deterministic=True)).encode()


def _summary_message() -> records_pb2.Summary:
    return records_pb2.Summary.FromString(MEMBER.summary().encode())


def _keys_message() -> records_pb2.KeysPart:
    return records_pb2.KeysPart.FromString(Signed.decode_untrusted(MEMBER.keys(), maximum=1 << 17).part)


def test_a_summary_comes_back():
    summary = MEMBER.summary(relay_url="https://relay.example", keys_sequence=7, leaving=True)
    assert parse_summary_untrusted(summary.sign(MEMBER.key), NOW) == summary


def test_a_keys_part_comes_back():
    keys = parse_keys_untrusted(MEMBER.keys(), NOW)
    assert keys.sign(MEMBER.key) is not None
    assert parse_keys_untrusted(keys.sign(MEMBER.key), NOW) == keys
    assert keys.epoch_statements == (b"current", b"next")
    assert keys.security_posture == {"core_dumps": "off"}


def test_the_fields_of_the_keys_part_have_the_numbers_of_the_protocol():
    fields = records_pb2.KeysPart.DESCRIPTOR.fields_by_number
    assert fields[36].name == "inference_public_key"
    assert fields[37].name == "security_posture"
    assert fields[38].name == "hardware_attestation_blob"
    assert fields[39].name == "epoch_statements"


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [(0, 1.5, 1500), (1499, 1.5, 1500), (1500, 1.5, 1501), (9000, 1.5, 9001)],
)
def test_a_sequence_goes_up_though_the_clock_does_not(last, now, expected):
    assert next_sequence(last, now) == expected


def test_sequences_can_be_used_up():
    with pytest.raises(LocalProtocolError):
        next_sequence(2**53, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_id": bytes(31)},
        {"sequence": 0},
        {"sequence": 2**53 + 1},
        {"expires": int(NOW)},
        {"expires": int(NOW) - 1},
        {"expires": int(NOW) + 3601},
        {"expires": 2**63},
        {"roles": 0},
        {"roles": 8},
        {"addresses": ["192.0.2.1:1"] * 9},
        {"addresses": ["example.org:1"]},
        {"relay_url": "file:///x"},
        {"node_version": "v" * 33},
        {"node_version": "1\n2"},
        {"name": "é" * 65},
        {"name": "\x1b[2J"},
        {"name": "a\x9b2J"},
        {"name": "a\x00b"},
        {"capabilities": ["a"] * 17},
        {"capabilities": [""]},
        {"capabilities": ["Sealed:1"]},
        {"capabilities": ["sealed:1\n"]},
        {"capabilities": ["s" * 33]},
        {"keys_sequence": 2**60},
        {"credentials_digest": bytes(31)},
        {"models": [records_pb2.Model(name="")]},
        {"models": [records_pb2.Model(name="m" * 129)]},
        {"models": [records_pb2.Model(name="m\x1b")]},
        {"models": [records_pb2.Model(name="m", digest=b"x")]},
        {"models": [records_pb2.Model(name="m"), records_pb2.Model(name="m")]},
        {"models": [records_pb2.Model(name=f"{i}") for i in range(17)]},
    ],
)
def test_a_malformed_summary_is_refused_though_its_owner_signed_it(changes):
    message = _summary_message()
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    assert _summary_factor(_signed(Label.SUMMARY, message)) == "summary"


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_id": bytes(31)},
        {"sequence": 0},
        {"expires": int(NOW) + 901},
        {"expires": int(NOW)},
        {"inference_public_key": bytes(31)},
        {"hardware_attestation_blob": bytes(64 * 1024 + 1)},
        {"host_statement": bytes(8 * 1024 + 1)},
        {"epoch_statements": [b""] * 4},
        {"epoch_statements": [bytes(4097)]},
        {"security_posture": {f"{i}": "on" for i in range(65)}},
        {"security_posture": {"k" * 65: "on"}},
        {"security_posture": {"k": "v" * 513}},
        {"security_posture": {"k": "\x1b[2J"}},
        {"security_posture": {"k\n": "on"}},
    ],
)
def test_a_malformed_keys_part_is_refused_though_its_owner_signed_it(changes):
    message = _keys_message()
    for name, value in changes.items():
        if isinstance(value, dict):
            getattr(message, name).clear()
            getattr(message, name).update(value)
        elif isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    assert _keys_factor(_signed(Label.KEYS, message)) == "keys_part"


def test_sizes():
    names = [Model(name=f"{index:02}" + "m" * 60) for index in range(16)]
    summary = MEMBER.summary(models=tuple(names))
    room = 1024 - len(MEMBER.key.sign_part(Label.SUMMARY, summary.encode()).encode())
    assert room < 0
    with pytest.raises(LocalProtocolError, match="too long"):
        summary.sign(MEMBER.key)
    assert _summary_factor(bytes(1025)) == "summary"
    assert _keys_factor(bytes(96 * 1024 + 1)) == "keys_part"
    large = MEMBER.keys(hardware_attestation_blob=bytes(64 * 1024), host_statement=bytes(8 * 1024))
    assert len(parse_keys_untrusted(large, NOW).hardware_attestation_blob) == 64 * 1024


def test_a_lifetime_of_a_day_is_for_clients_alone():
    client = People("clients").member(Role.CLIENT)
    parse_summary_untrusted(client.record(expires=int(NOW) + 86_400), NOW)
    with pytest.raises(LocalProtocolError):
        client.record(expires=int(NOW) + 86_401)
    both = People("both").member(Role.CLIENT | Role.RELAY)
    with pytest.raises(LocalProtocolError):
        both.record(expires=int(NOW) + 3601)


def test_clocks():
    data = MEMBER.record()
    parse_summary_untrusted(data, NOW - 60)
    assert _summary_factor(data, NOW - 61) == "record_issued_ahead"
    parse_summary_untrusted(data, NOW + 3599.9)
    assert _summary_factor(data, NOW + 3600) == "record_expired"
    keys = MEMBER.keys()
    assert _keys_factor(keys, NOW - 61) == "record_issued_ahead"
    assert _keys_factor(keys, NOW + 900) == "record_expired"


def test_another_version_is_nobodys_fault():
    message = _summary_message()
    message.version = 2
    assert _summary_factor(_signed(Label.SUMMARY, message)) == "record_version"


def test_signatures_hold_for_their_own_part_only():
    other = People("other").member()
    part = MEMBER.summary().encode()
    assert _summary_factor(other.key.sign_part(Label.SUMMARY, part).encode()) == "summary_signature"
    assert _summary_factor(MEMBER.key.sign_part(Label.KEYS, part).encode()) == "summary_signature"
    keys = Signed.decode_untrusted(MEMBER.keys(), maximum=1 << 17)
    assert _keys_factor(other.key.sign_part(Label.KEYS, keys.part).encode()) == "keys_signature"
    assert _keys_factor(MEMBER.key.sign_part(Label.SUMMARY, keys.part).encode()) == "keys_signature"


def test_every_flipped_bit_of_a_summary_is_refused():
    data = MEMBER.record()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(VerificationError):
            parse_summary_untrusted(bytes(changed), NOW)


def test_what_nobody_would_accept_is_not_signed():
    with pytest.raises(LocalProtocolError):
        dataclasses.replace(MEMBER.summary(), name="\n").sign(MEMBER.key)
    with pytest.raises(LocalProtocolError):
        MEMBER.summary(endpoint_id=People("x").member().id).sign(MEMBER.key)
    with pytest.raises(LocalProtocolError):
        MEMBER.keys(inference_public_key=b"x")

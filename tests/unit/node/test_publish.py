"""What a node says of itself, when it says it again, and what it does when it cannot."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kit.attested import ProvenHost
from kit.people import NOW, People
from sealmesh.backend.base import ModelInfo
from sealmesh.errors import ConfigError
from sealmesh.gossip.record import KeysPart, Summary, parse_keys_untrusted, parse_summary_untrusted
from sealmesh.host.epochs import EpochContent
from sealmesh.host.prove import StandingProof
from sealmesh.identity.admission import ALL_ROLES, Role
from sealmesh.limits import CLIENT_SUMMARY_LIFETIME_S, KEYS_LIFETIME_S, SUMMARY_LIFETIME_S
from sealmesh.node.publish import RENEW_AFTER, RETRY_S, Identity, Publisher
from sealmesh.node.stores import SequenceStore
from sealmesh.transport.base import EndpointAddress

MODEL = ModelInfo(name="echo", context_length=4096, digest=bytes(32))


class FullDisk(SequenceStore):
    """A disk that takes nothing when told so."""

    full = False

    def next(self, name: str, now: float) -> int:
        if self.full:
            raise ConfigError("no space left")
        return super().next(name, now)


class Node:
    def __init__(self, path: Path, *models: ModelInfo, roles: Role = ALL_ROLES) -> None:
        self.now = NOW
        self.said: list[bytes] = []
        self.member = People().member(roles)
        self.address = EndpointAddress(endpoint_id=self.member.id, addresses=("192.0.2.1:4433",))
        self.sequences = FullDisk(path / "sequences.json")
        self.publisher = Publisher(
            identity=Identity(
                key=self.member.key, credentials=self.member.shown, roles=self.member.roles, name="attic"
            ),
            sequences=self.sequences,
            address=lambda: self.address,
            models=models,
            posture={"key_memory": "locked"},
            capabilities=("sealed:1",),
            announce=self.said.append,
            now=lambda: self.now,
        )

    def summaries(self) -> list[Summary]:
        return [parse_summary_untrusted(data, self.now) for data in self.said]

    def keys(self) -> KeysPart:
        data = self.publisher.keys_part(self.member.id)
        assert data is not None
        return parse_keys_untrusted(data, self.now)

    def make_keys(self, number: int = 1) -> None:
        host = ProvenHost()
        statement = host.statement(self.now).encode()
        self.publisher.take_proof(StandingProof(host_statement=statement, envelope=host.envelope(statement)))
        self.publisher.take_epochs(
            EpochContent(statements=(host.epoch(self.now, number=number),), inference_public_key=bytes(32))
        )


@pytest.fixture
def host(tmp_path: Path) -> Node:
    return Node(tmp_path, MODEL)


def test_a_summary_says_who_where_and_what(host: Node) -> None:
    host.publisher.renew_summary()
    (summary,) = host.summaries()
    assert summary.endpoint_id == host.member.id
    assert summary.addresses == host.address.addresses
    assert (summary.name, summary.capabilities, summary.leaving) == ("attic", ("sealed:1",), False)
    assert [(model.name, model.context_length) for model in summary.models] == [("echo", 4096)]
    assert summary.credentials_digest == hashlib.sha256(host.member.shown).digest()
    assert summary.expires - summary.issued == SUMMARY_LIFETIME_S


def test_a_client_s_summary_lives_longer(tmp_path: Path) -> None:
    client = Node(tmp_path, roles=Role.CLIENT)
    client.publisher.renew_summary()
    (summary,) = client.summaries()
    assert summary.expires - summary.issued == CLIENT_SUMMARY_LIFETIME_S
    assert summary.models == ()


def test_a_host_that_serves_nothing_for_a_while_can_say_so(tmp_path: Path) -> None:
    host = Node(tmp_path)
    host.publisher.renew_summary()
    (summary,) = host.summaries()
    assert summary.expires - summary.issued == SUMMARY_LIFETIME_S


def test_a_summary_is_renewed_at_half_its_life_and_when_the_node_moves(host: Node) -> None:
    host.publisher.advance()
    host.publisher.advance()
    assert len(host.said) == 1
    host.now += SUMMARY_LIFETIME_S * RENEW_AFTER - 1
    host.publisher.advance()
    assert len(host.said) == 1
    host.now += 1
    host.publisher.advance()
    assert len(host.said) == 2
    host.address = EndpointAddress(endpoint_id=host.member.id, addresses=("198.51.100.1:1",))
    host.publisher.advance()
    summaries = host.summaries()
    assert summaries[-1].addresses == ("198.51.100.1:1",)
    sequences = [summary.sequence for summary in summaries]
    assert sequences == sorted(set(sequences))


def test_leaving_is_a_record_that_ends_the_earlier_ones(host: Node) -> None:
    host.publisher.renew_summary()
    host.publisher.renew_summary(leaving=True)
    first, last = host.summaries()
    assert last.leaving
    assert last.sequence > first.sequence


@pytest.mark.parametrize("ahead", [1, 1_000, 1_000_000, 123_456_789])
def test_what_others_hold_from_an_earlier_run_is_overtaken(host: Node, ahead: int) -> None:
    host.publisher.renew_summary()
    for _ in range(5):
        held = host.summaries()[-1].sequence + ahead
        host.publisher.overtaken(held)
        host.publisher.advance()
        assert host.summaries()[-1].sequence > held


def test_keys_are_there_once_proof_and_epochs_are(host: Node) -> None:
    assert host.publisher.keys_part(host.member.id) is None
    host.make_keys()
    keys = host.keys()
    assert keys.endpoint_id == host.member.id
    assert len(keys.epoch_statements) == 1
    assert keys.security_posture == {"key_memory": "locked"}
    assert host.publisher.keys_part(bytes(32)) is None
    host.publisher.renew_summary()
    assert host.summaries()[-1].keys_sequence == keys.sequence


def test_keys_are_renewed_with_each_epoch_and_at_half_their_life_and_end(host: Node) -> None:
    host.make_keys()
    first = host.keys()
    host.make_keys(2)
    second = host.keys()
    assert second.sequence > first.sequence
    assert second.epoch_statements != first.epoch_statements
    host.now += KEYS_LIFETIME_S * RENEW_AFTER
    host.publisher.advance()
    assert host.keys().sequence > second.sequence
    host.now += KEYS_LIFETIME_S
    assert host.publisher.keys_part(host.member.id) is None


def test_a_clock_that_is_set_back_does_not_leave_records_of_the_future(host: Node) -> None:
    host.make_keys()
    host.publisher.advance()
    host.now -= 10_000
    host.publisher.advance()
    assert parse_summary_untrusted(host.said[-1], host.now).issued == int(host.now)
    assert host.keys().issued == int(host.now)
    said = len(host.said)
    host.publisher.advance()
    assert len(host.said) == said


def test_a_full_disk_stops_no_node_that_runs(host: Node, caplog: pytest.LogCaptureFixture) -> None:
    host.make_keys()
    host.publisher.advance()
    before = host.keys()
    host.sequences.full = True
    host.now += SUMMARY_LIFETIME_S * RENEW_AFTER
    host.publisher.take_epochs(EpochContent(statements=(), inference_public_key=bytes(32)))
    host.publisher.advance()
    assert len(host.said) == 1
    assert "could not be renewed" in caplog.text
    warnings = len(caplog.records)
    host.publisher.advance()  # not again each second
    assert len(caplog.records) == warnings
    host.sequences.full = False
    host.now += RETRY_S
    host.make_keys(3)
    host.publisher.advance()
    assert len(host.said) == 2
    assert host.keys().sequence > before.sequence


def test_a_full_disk_at_the_start_is_said(host: Node) -> None:
    host.sequences.full = True
    with pytest.raises(ConfigError):
        host.publisher.renew_summary()
    with pytest.raises(ConfigError):
        host.make_keys()
    assert host.said == []

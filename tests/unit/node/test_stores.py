"""Sequences, seen suites and pins over restarts."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from sealmesh.attestation.pins import Pin
from sealmesh.attestation.vendors.tpm.credential import Activation, Credential
from sealmesh.client.remembered import PinBook, SuiteMemory
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.limits import PEERS_MAX
from sealmesh.node.files import write_json
from sealmesh.node.stores import ActivationStore, KeyMemory, PinEntry, PinStore, SeenSuites, SequenceStore

NOW = 1_764_000_000.0
A, B = b"\x0a" * 32, b"\x0b" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.json"


# --- sequences -----------------------------------------------------------------------------------------------------


def test_a_sequence_is_the_clock_or_one_more_than_the_last(path: Path) -> None:
    store = SequenceStore(path)
    assert store.next("summary", NOW) == int(NOW * 1000)
    assert store.next("summary", NOW) == int(NOW * 1000) + 1
    assert store.next("keys", NOW) == int(NOW * 1000)


def test_a_sequence_rises_over_restarts_and_a_clock_set_back(path: Path) -> None:
    first = SequenceStore(path).next("summary", NOW)
    assert SequenceStore(path).next("summary", NOW - 10_000) == first + 1


def test_a_sequence_is_on_the_disk_before_it_is_used(path: Path) -> None:
    sequence = SequenceStore(path).next("summary", NOW)
    assert json.loads(path.read_text()) == {"summary": sequence}


def test_a_sequence_that_cannot_be_stored_is_not_given_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    store = SequenceStore(folder / "store.json")
    folder.rmdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        store.next("summary", NOW)


# --- seen suites ---------------------------------------------------------------------------------------------------


def test_the_best_suite_is_remembered_over_restarts_and_never_sinks(path: Path) -> None:
    store = SeenSuites(path)
    assert store.best_suite(A) == 0
    store.note_suite(A, 2)
    store.note_suite(A, 1)
    store.note_suite(B, 1)
    again = SeenSuites(path)
    assert (again.best_suite(A), again.best_suite(B), len(again)) == (2, 1, 2)


def test_a_full_list_forgets_nobody(path: Path) -> None:
    write_json(path, {number.to_bytes(32, "big").hex(): 1 for number in range(PEERS_MAX)})
    store = SeenSuites(path)
    store.note_suite(A, 2)
    assert store.best_suite(A) == 0
    assert len(store) == PEERS_MAX
    first = (0).to_bytes(32, "big")
    store.note_suite(first, 2)
    assert SeenSuites(path).best_suite(first) == 2


def test_a_list_of_suites_that_is_full_takes_everybody_else_for_one_that_had_a_key(path: Path) -> None:
    """[PL-4]"""
    store = SeenSuites(path)
    assert not store.may_have_had_key(A)
    store.note_suite(A, 1)
    assert (store.may_have_had_key(A), store.may_have_had_key(B)) == (True, False)
    write_json(path, {number.to_bytes(32, "big").hex(): 1 for number in range(PEERS_MAX)})
    assert SeenSuites(path).may_have_had_key(B)


# --- who had a key -------------------------------------------------------------------------------------------------


def test_who_had_a_key_is_remembered_over_restarts(path: Path) -> None:
    """[PL-4]"""
    store = KeyMemory(path)
    assert not store.had_key(A)
    store.note(A)
    store.note(A)
    again = KeyMemory(path)
    assert (again.had_key(A), again.had_key(B), len(again)) == (True, False, 1)


def test_a_full_list_takes_everybody_for_one_that_had_a_key(path: Path) -> None:
    write_json(path, {number.to_bytes(32, "big").hex(): True for number in range(PEERS_MAX)})
    store = KeyMemory(path)
    assert store.had_key(A)
    store.note(A)
    assert len(store) == PEERS_MAX


def test_a_key_that_cannot_be_stored_counts_in_this_run(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    store = KeyMemory(folder / "keyed.json")
    folder.rmdir()
    store.note(A)
    assert store.had_key(A)


# --- pins ----------------------------------------------------------------------------------------------------------


def test_pins_are_made_replaced_and_taken_away(path: Path) -> None:
    store = PinStore(path)
    store.add(PinEntry(endpoint_id=A, fingerprint=b"\x01" * 32, by="first-use", at=NOW))
    by_hand = PinEntry(endpoint_id=A, fingerprint=b"\x02" * 32, by="hand", at=NOW)
    store.add(by_hand)
    assert list(PinStore(path)) == [by_hand]
    assert PinStore(path).get(A) == by_hand
    assert store.remove(A)
    assert not store.remove(A)
    assert len(PinStore(path)) == 0


def test_first_use_pins_once_and_never_over_a_hand(path: Path) -> None:
    store = PinStore(path, now=lambda: NOW)
    assert store.find_pin(A) is None
    store.pin_first_use(A, b"\x01" * 32)
    store.pin_first_use(A, b"\x02" * 32)
    assert PinStore(path).find_pin(A) == Pin(fingerprint=b"\x01" * 32, by_hand=False)
    store.add(PinEntry(endpoint_id=B, fingerprint=b"\x03" * 32, by="hand", at=NOW))
    store.pin_first_use(B, b"\x04" * 32)
    assert PinStore(path).find_pin(B) == Pin(fingerprint=b"\x03" * 32, by_hand=True)


def test_the_stores_are_what_the_verifier_wants(path: Path) -> None:
    suites: SuiteMemory = SeenSuites(path)
    pins: PinBook = PinStore(path)
    assert (suites.best_suite(A), pins.find_pin(A)) == (0, None)


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (SequenceStore, {"summary": "1"}),
        (SequenceStore, {"summary": True}),
        (SequenceStore, {"summary": -1}),
        (SeenSuites, {"zz": 1}),
        (SeenSuites, {"00": 1}),
        (SeenSuites, {A.hex(): 0}),
        (SeenSuites, {A.hex(): 256}),
        (KeyMemory, {A.hex(): False}),
        (KeyMemory, {"zz": True}),
        (PinStore, {A.hex(): {}}),
        (PinStore, {A.hex(): {"fingerprint": "00", "by": "hand", "at": 1}}),
        (PinStore, {A.hex(): {"fingerprint": "00" * 32, "by": "somebody", "at": 1}}),
        (PinStore, {"xx": {"fingerprint": "00" * 32, "by": "hand", "at": 1}}),
    ],
)
def test_a_damaged_store_is_refused(
    path: Path, kind: type[SequenceStore | SeenSuites | KeyMemory | PinStore], document: object
) -> None:
    write_json(path, document)
    with pytest.raises(ConfigError, match="is damaged"):
        kind(path)


# --- activations ------------------------------------------------------------------------------------------------------


def activation(which: str) -> Activation:
    secret = hashlib.sha256(which.encode()).digest()
    credential = Credential(id_object=b"i", encrypted_secret=b"s")
    return Activation(credential=credential, name=f"{which} name".encode(), endorsement=which.encode(), secret=secret)


def test_an_activation_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "activations.json"
    store = ActivationStore(path)
    for which in ("one", "two"):
        store.settle_untrusted(activation(which), activation(which).secret, NOW)
    again = ActivationStore(path)
    assert again.entries() == store.entries()
    assert again.holds(b"one", b"one name", NOW + 1000)
    assert not again.holds(b"one", b"two name", NOW)
    assert not again.holds(b"one", b"one name", NOW + 86_400)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert activation("one").secret.hex() not in path.read_text()
    # What has ended is written down no more.
    again.settle_untrusted(activation("three"), activation("three").secret, NOW + 90_000)
    assert [endorsement for endorsement, _, _ in ActivationStore(path).entries()] == [b"three"]


def test_a_wrong_answer_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "activations.json"
    store = ActivationStore(path)
    with pytest.raises(VerificationError):
        store.settle_untrusted(activation("one"), bytes(32), NOW)
    assert store.entries() == ()
    assert not path.exists()


def test_a_clock_that_was_set_back_gives_a_memory_no_longer_life(tmp_path: Path) -> None:
    path = tmp_path / "activations.json"
    ActivationStore(path).settle_untrusted(activation("one"), activation("one").secret, NOW)
    assert not ActivationStore(path).holds(b"one", b"one name", NOW - 86_400)


@pytest.mark.parametrize(
    "content", ['{"zz": {"00": 1}}', '{"00": []}', '{"00": {"00": "soon"}}', '{"00": {"00": null}}']
)
def test_damaged_activations_are_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "activations.json"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(ConfigError, match="asked again"):
        ActivationStore(path)

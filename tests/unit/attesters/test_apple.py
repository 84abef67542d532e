"""A Mac's chips, by objects that answer as Apple's documentation says. No Mac has run this."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from kit.mac import Keychain
from sealmesh.attesters.apple import AppAttestKey, SecureEnclaveKey, app_id, load_framework
from sealmesh.errors import AttesterError, AttesterUnavailableError


def test_the_key_is_made_once_and_signs() -> None:
    keychain = Keychain()
    public, signature = SecureEnclaveKey(keychain).public(), SecureEnclaveKey(keychain).sign(b"message")
    assert keychain.made == 1
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    key.verify(signature, b"message", ec.ECDSA(hashes.SHA256()))


def test_a_keychain_that_is_locked_makes_no_second_key() -> None:
    keychain = Keychain()
    keychain.status = -25308
    with pytest.raises(AttesterError, match="-25308"):
        SecureEnclaveKey(keychain).public()
    assert keychain.made == 0


def test_a_chip_that_makes_no_key() -> None:
    keychain = Keychain()
    keychain.error = "errSecMissingEntitlement"
    with pytest.raises(AttesterError, match="errSecMissingEntitlement"):
        SecureEnclaveKey(keychain).sign(b"message")


def test_the_apps_name_is_that_of_its_signature() -> None:
    keychain = Keychain()
    assert app_id(keychain) == "TEAM.org.app"
    keychain.signing = {"kSecCodeInfoIdentifier": "python3"}
    with pytest.raises(AttesterUnavailableError, match="signed by a team"):
        app_id(keychain)


def test_another_machine_is_no_mac() -> None:
    with pytest.raises(AttesterUnavailableError, match="no Mac"):
        load_framework("Security", platform="linux")
    with pytest.raises(AttesterUnavailableError, match="extra"):
        load_framework("NoSuchFramework", platform="darwin")


class Service:
    """DCAppAttestService: answers on a thread of its own."""

    def __init__(self) -> None:
        self.supported = True
        self.keys = 0
        self.refused: set[str] = set()
        self.unreachable = False

    def isSupported(self) -> bool:
        return self.supported

    def _answer(self, take: Callable[[Any, Any], None], result: Any, error: Any = None) -> None:
        threading.Thread(target=take, args=(result, error)).start()

    def generateKeyWithCompletionHandler_(self, take: Callable[[Any, Any], None]) -> None:
        self.keys += 1
        self._answer(take, f"key {self.keys}")

    def attestKey_clientDataHash_completionHandler_(self, key: str, digest: bytes, take: Any) -> None:
        assert len(digest) == 32
        if self.unreachable:
            self._answer(take, None, SimpleNamespace(code=lambda: 4))
        elif key in self.refused:
            self._answer(take, None, "DCErrorInvalidKey")
        else:
            self._answer(take, b"attestation of " + key.encode())

    def generateAssertion_clientDataHash_completionHandler_(self, key: str, digest: bytes, take: Any) -> None:
        self._answer(take, b"assertion of " + key.encode() + b" over " + digest)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def app_key(service: Service, memory: Path, clock: Clock) -> AppAttestKey:
    return AppAttestKey(service, app="TEAM.org.app", memory=memory, random=bytes, monotonic=clock)


def test_the_same_key_answers_after_a_restart_and_before_its_certificate_ends(tmp_path: Path) -> None:
    service, clock, memory = Service(), Clock(), tmp_path / "app-attest-key"
    key = app_key(service, memory, clock)
    assert key.sign(b"d" * 32) == b"assertion of key 1 over " + b"d" * 32
    first = key.attested()
    assert (first.attestation, first.client_data_hash) == (b"attestation of key 1", hashlib.sha256(bytes(32)).digest())
    assert key.attested() is first
    clock.now += 2.6 * 86_400
    assert key.attested() is not first
    assert app_key(service, memory, clock).attested().key_id == "key 1"
    assert service.keys == 1


def test_a_key_that_apple_does_not_take_again_makes_place_for_a_new_one(tmp_path: Path) -> None:
    service, clock, memory = Service(), Clock(), tmp_path / "app-attest-key"
    memory.write_text("key 0\n")
    service.refused.add("key 0")
    assert app_key(service, memory, clock).attested().key_id == "key 1"
    assert memory.read_text() == "key 1\n"


@pytest.mark.parametrize("name", ["key 0", None])
def test_a_service_that_cannot_be_reached_costs_no_key(tmp_path: Path, name: str | None) -> None:
    """A new key would break every pin of this host, and Apple counts the keys of an app."""
    service, clock, memory = Service(), Clock(), tmp_path / "app-attest-key"
    if name is not None:
        memory.write_text(f"{name}\n")
    service.unreachable = True
    for _ in range(2):
        with pytest.raises(AttesterError) as caught:
            app_key(service, memory, clock).attested()
        assert caught.value.momentary
    service.unreachable = False
    assert app_key(service, memory, clock).attested().key_id == (name or "key 1")
    assert service.keys == (0 if name else 1)


@pytest.mark.parametrize("fault", ["folder", "bytes", "gone"])
def test_a_name_that_cannot_be_kept_or_read_is_an_error_and_no_new_key(tmp_path: Path, fault: str) -> None:
    service, memory = Service(), tmp_path / "home" / "app-attest-key"
    if fault != "gone":
        memory.parent.mkdir()
        memory.mkdir() if fault == "folder" else memory.write_bytes(b"\xff")
    for _ in range(2):
        with pytest.raises(AttesterError, match=r"cannot be (read|written)"):
            app_key(service, memory, Clock()).attested()
    assert service.keys == (2 if fault == "gone" else 0)


def test_a_mac_without_app_attest(tmp_path: Path) -> None:
    service = Service()
    service.supported = False
    with pytest.raises(AttesterUnavailableError, match="macOS 27"):
        app_key(service, tmp_path / "k", Clock()).attested()
    service.supported = True
    service.refused.add("key 1")
    with pytest.raises(AttesterError, match="DCErrorInvalidKey"):
        app_key(service, tmp_path / "k", Clock()).sign(bytes(32))

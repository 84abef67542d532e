"""Our vectors: each scenario does what its file says, and the files are what the generator writes."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from kit.sealed import HEAD, NOT_AFTER, NOT_BEFORE, NOW, Outcome, bytewise, feed_client, feed_host, make_host
from sealmesh.sealed.exchange import (
    BodyEvent,
    ClientExchange,
    EndEvent,
    ErrorEvent,
    Event,
    HeadEvent,
    HostExchange,
    PingEvent,
    Refusal,
    RefusedEvent,
    RequestHead,
    encode_refusal,
)
from sealmesh.sealed.frames import Direction, decode_frame_untrusted
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.stream import OpeningStream
from sealmesh.sealed.suites import HostKey, Suite, derive_keys, make_context, make_prefix, replay_tag

FOLDER = Path(__file__).parents[2] / "testvectors/sealed"
FILES = [path for path in sorted(FOLDER.glob("*.json")) if ".record" not in path.name]
SCENARIOS = {path.stem: json.loads(path.read_text()) for path in FILES}
REQUESTS = [name for name, content in SCENARIOS.items() if "request" in content]
ANSWERED = [name for name in REQUESTS if SCENARIOS[name]["expected"]["failure"] == "sealed error"]
RESPONSES = [name for name, content in SCENARIOS.items() if "response" in content and content["suite"] == 1]


class Scripted:
    """Randomness that is known beforehand, in the order in which it is drawn."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def __call__(self, length: int) -> bytes:
        part = self._parts.pop(0)
        assert len(part) == length
        return part


def _unhex(values: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in values.items()}


def _epoch(scenario: dict[str, Any]) -> tuple[EpochKeys, dict[str, bytes]]:
    host = _unhex(scenario["host"])
    key = HostKey.unsafe_from_seed(Suite(scenario["suite"]), host["seed"])
    digest = host["epoch_digest"]
    return EpochKeys(keys=(key,), epoch_digest=digest, not_before=NOT_BEFORE, not_after=NOT_AFTER), host


def _said(events: list[Event]) -> list[Any]:
    """Return events as the files write them, with adjacent bodies joined."""
    said: list[Any] = []
    for event in events:
        match event:
            case HeadEvent(head=RequestHead() as head):
                said.append({"head": [head.operation.method, head.operation.path]})
            case HeadEvent(head=head):
                said.append({"head": head.status})
            case BodyEvent(data=data):
                if said and isinstance(said[-1], dict) and "body" in said[-1]:
                    said[-1]["body"] += data.hex()
                else:
                    said.append({"body": data.hex()})
            case PingEvent():
                said.append("ping")
            case ErrorEvent(error=error):
                said.append({"error": [error.status, error.code, error.message, error.retry_after_s]})
            case EndEvent(trailer=t):
                said.append({"end": [t.prompt_tokens, t.completion_tokens, t.cached_tokens]})
            case RefusedEvent(code=code):
                said.append({"refused": code})
    return said


def _host(scenario: dict[str, Any]) -> HostExchange:
    epoch, host = _epoch(scenario)
    ring = KeyRing()
    ring.add(epoch)
    return HostExchange(ring, endpoint_id=host["endpoint_id"], random=bytes)


def _client(scenario: dict[str, Any]) -> ClientExchange:
    epoch, host = _epoch(scenario)
    derived, drawn = _unhex(scenario["derived"]), _unhex(scenario["client_random"])
    client = ClientExchange(
        make_host(epoch, endpoint_id=host["endpoint_id"]),
        suite=Suite(scenario["suite"]),
        now=NOW,
        random=Scripted(derived["secret"], drawn["ephemeral"], drawn["nonce"], bytes(24)),
    )
    client.send_head(HEAD)
    client.finish()
    assert client.exchange_id == derived["exchange_id"]
    return client


@pytest.mark.parametrize("name", SCENARIOS)
def test_derivation(name: str) -> None:
    scenario = SCENARIOS[name]
    epoch, host = _epoch(scenario)
    derived = _unhex(scenario["derived"])
    (key,) = epoch.keys
    assert key.public == host["public"]
    assert key.key_id == host["key_id"]
    if name in ("other-host", "other-epoch"):
        return  # made for another context, which is their point
    context = make_context(make_prefix(key.suite, key.public), host["endpoint_id"], host["epoch_digest"])
    assert context == derived["context"]
    assert key.open_untrusted(derived["encapsulation"], context) == derived["secret"]
    keys = derive_keys(derived["secret"], context, derived["encapsulation"])
    assert keys.request == derived["request_key"]
    assert keys.response == derived["response_key"]
    assert keys.exchange_id == derived["exchange_id"]
    assert keys.exporter == derived["exporter"]
    assert replay_tag(derived["secret"]) == derived["replay_tag"]


def _check_host(host: HostExchange, outcome: Outcome, expected: dict[str, Any]) -> None:
    match expected["failure"]:
        case None:
            assert outcome.error is None
        case "refusal":
            assert outcome.error is not None
            assert host.refusal == encode_refusal(expected["code"])
        case "sealed error":
            assert outcome.error is not None
            assert host.refusal is not None
            assert host.refusal[:2] == b"\xe1\x01"
        case "reset":
            assert outcome.error is not None
            assert host.refusal is None
        case other:
            pytest.fail(f"unknown failure {other}")


@pytest.mark.parametrize("name", REQUESTS)
def test_request_byte_by_byte(name: str) -> None:
    scenario = SCENARIOS[name]
    host = _host(scenario)
    outcome = feed_host(host, bytewise(bytes.fromhex(scenario["request"])))
    assert _said(outcome.events) == scenario["expected"]["released"]
    _check_host(host, outcome, scenario["expected"])


@pytest.mark.parametrize("name", REQUESTS)
def test_request_whole(name: str) -> None:
    scenario = SCENARIOS[name]
    host = _host(scenario)
    outcome = feed_host(host, [bytes.fromhex(scenario["request"])])
    _check_host(host, outcome, scenario["expected"])
    if outcome.error is None:
        assert _said(outcome.events) == scenario["expected"]["released"]


@pytest.mark.parametrize(
    "name", [name for name in REQUESTS if SCENARIOS[name]["expected"]["failure"] == "sealed error"]
)
def test_sealed_error_says_its_status(name: str) -> None:
    scenario = SCENARIOS[name]
    host = _host(scenario)
    feed_host(host, [bytes.fromhex(scenario["request"])])
    assert host.refusal is not None
    (said,) = _said(feed_client(_client(scenario), [host.refusal]).events)
    assert said["error"][0] == scenario["expected"]["code"]


@pytest.mark.parametrize("name", RESPONSES)
def test_response(name: str) -> None:
    scenario = SCENARIOS[name]
    data = bytes.fromhex(scenario["response"])
    expected = scenario["expected"]
    outcome = feed_client(_client(scenario), bytewise(data))
    assert _said(outcome.events) == expected["released"]
    assert (outcome.error is None) == (expected["failure"] is None)
    whole = feed_client(_client(scenario), [data])
    assert (whole.error is None) == (expected["failure"] is None)


def test_every_refusal_has_a_vector() -> None:
    refusals = [SCENARIOS[name] for name in SCENARIOS if name.startswith("refusal-")]
    codes = {scenario["expected"]["released"][0]["refused"] for scenario in refusals}
    assert codes == set(Refusal)


def test_suite_2_response_opens_with_its_key() -> None:
    scenario = SCENARIOS["xwing-response"]
    data = bytes.fromhex(scenario["response"])
    opening = OpeningStream(Direction.RESPONSE, bytes.fromhex(scenario["derived"]["response_key"]), data[2:26])
    kinds, position = [], 26
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        plain, _ = opening.open_untrusted(data[position + 4 : position + 4 + length])
        kinds.append(decode_frame_untrusted(plain)[0])
        position += 4 + length
    assert kinds == [4, 1, 2, 3]


def test_suite_2_is_the_hpke_that_the_specification_names() -> None:
    """Opens the recorded encapsulation by hand: X-Wing's combiner, RFC 9180's key schedule, KEM 0x647a."""
    scenario = SCENARIOS["xwing-request"]
    seed, derived = bytes.fromhex(scenario["host"]["seed"]), _unhex(scenario["derived"])
    encapsulation = derived["encapsulation"]
    mlkem, x25519 = MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
    shared_m = mlkem.decapsulate(encapsulation[:1088])
    theirs = encapsulation[1088:1120]
    shared_x = x25519.exchange(X25519PublicKey.from_public_bytes(theirs))
    ours = x25519.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(shared_m + shared_x + theirs + ours + rb"\.//^" + b"\\").digest()
    suite_id = b"HPKE" + (0x647A).to_bytes(2, "big") + (1).to_bytes(2, "big") + (3).to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite_id + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
        data = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
        return hmac.digest(prk, data + b"\x01", "sha256")[:length]

    schedule = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", derived["context"])
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", schedule, 32), expand(secret, b"base_nonce", schedule, 12)
    assert ChaCha20Poly1305(key).decrypt(nonce, encapsulation[1120:], b"") == derived["secret"]


def test_files_are_as_generated() -> None:
    spec = importlib.util.spec_from_file_location("generate_sealed", FOLDER.parent / "generate_sealed.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(generator)
        files = generator.generate()
    finally:
        del sys.modules[spec.name]
    on_disk = {path.name: path.read_text() for path in FILES}
    assert files == on_disk

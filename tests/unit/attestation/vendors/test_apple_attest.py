"""App Attest: the genuine objects of macOS 27 and iOS 14.4, home-made ones, and every change to them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given as fuzz
from hypothesis import settings
from hypothesis import strategies as st

from kit.attested import NOW
from kit.evidence import at, flipped, refusal, sample
from kit.vendor_certs import APP_ID, CDHASH, DAY, AppleMac, make_key
from sealmesh.attestation.vendors import apple_attest
from sealmesh.attestation.vendors.apple_attest import (
    Attested,
    Environment,
    MacState,
    verify_assertion_untrusted,
    verify_attestation_untrusted,
)
from sealmesh.errors import VerificationError

MACOS = json.loads(sample("apple/macos27.json"))
MAC_AT = at("2026-07-18T14:20:00+00:00")
MAC_ATTESTATION = base64.b64decode(MACOS["attestation"])
MAC_ASSERTION = base64.b64decode(MACOS["assertion"])
MAC_HASH = bytes.fromhex(MACOS["attestation_client_data_hash"])
MAC_ASSERTION_HASH = bytes.fromhex(MACOS["assertion_client_data_hash"])
MAC_CDHASH = "cb92a890915457b226fea9be778fc6a29994a2c60dfaa60371e9e264d8541306"
BOUND = hashlib.sha256(b"binding").digest()


def attest(data: bytes = MAC_ATTESTATION, **changes: object) -> Attested:
    arguments: dict[str, object] = {"client_data_hash": MAC_HASH, "app_id": MACOS["app_id"], "now": MAC_AT}
    return verify_attestation_untrusted(data, **{**arguments, **changes})  # type: ignore[arg-type]


def home(mac: AppleMac | None = None, data: bytes | None = None) -> Attested:
    mac = mac or AppleMac()
    return verify_attestation_untrusted(
        data or mac.attestation(),
        client_data_hash=mac.client_data_hash,
        app_id=APP_ID,
        now=NOW,
        root=mac.root_der,
    )


def test_the_genuine_mac_holds() -> None:
    attested = attest()
    assert (attested.environment, attested.state) == (Environment.PRODUCTION, MacState.LOCKED)
    assert attested.key_id == base64.b64decode(MACOS["key_id"])
    assert attested.ends == at("2026-07-20T14:19:47+00:00")
    assertion = verify_assertion_untrusted(MAC_ASSERTION, attested=attested, client_data_hash=MAC_ASSERTION_HASH)
    assert assertion.cdhash is not None
    assert (assertion.counter, assertion.cdhash.hex(), assertion.category) == (1, MAC_CDHASH, 6)


def test_the_leaf_lives_three_days() -> None:
    begins, ends = at("2026-07-17T14:19:47+00:00"), at("2026-07-20T14:19:47+00:00")
    assert ends - begins == 3 * DAY
    for now in (begins, ends):
        attest(now=now)
    for now in (begins - 1, ends + 1):
        with pytest.raises(VerificationError, match="vendor_chain: a certificate is not valid at this time"):
            attest(now=now)


def test_every_flipped_bit_of_the_macs_attestation_is_refused() -> None:
    # macOS sends no receipt, so that no region of the object is left out: the certificates are signed, the leaf names
    # the authenticator data, and the map around them has one form.
    for bit, other in flipped(MAC_ATTESTATION, seed=3, count=500):
        assert refusal(lambda o=other: attest(o)), bit  # type: ignore[misc]


def test_every_flipped_bit_of_the_macs_assertion_is_refused() -> None:
    attested = attest()
    for bit, other in flipped(MAC_ASSERTION, seed=4, count=10_000):
        judge = lambda o=other: verify_assertion_untrusted(o, attested=attested, client_data_hash=MAC_ASSERTION_HASH)  # type: ignore[misc] # noqa: E731
        assert refusal(judge), bit


@pytest.mark.parametrize("data", [MAC_ATTESTATION, MAC_ASSERTION])
def test_cut_and_longer_objects_are_refused(data: bytes) -> None:
    attested = attest()
    for other in (*(data[:length] for length in range(0, len(data), 7)), data + b"\x00", data + data):
        assert refusal(lambda o=other: attest(o))  # type: ignore[misc]
        assert refusal(lambda o=other: verify_assertion_untrusted(o, attested=attested, client_data_hash=BOUND))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"client_data_hash": bytes(32)}, "binding"),
        ({"app_id": "2F53L9ZR3N.ai.hellas.another"}, "code_measurement"),
        ({"root": AppleMac().root_der}, "vendor_chain"),
        ({"data": b""}, "binding"),
        ({"data": cbor2.dumps({"fmt": "packed", "attStmt": {"x5c": []}, "authData": b""})}, "binding"),
        ({"data": cbor2.dumps({"fmt": "apple-appattest", "attStmt": [], "authData": b""})}, "binding"),
        ({"data": cbor2.dumps({"fmt": "apple-appattest", "attStmt": {"x5c": [1]}, "authData": b""})}, "binding"),
        ({"data": cbor2.dumps({"fmt": "apple-appattest", "attStmt": {"x5c": []}, "authData": b""})}, "vendor_chain"),
        ({"data": cbor2.dumps({**cbor2.loads(MAC_ATTESTATION), "more": b""})}, "binding"),
        ({"data": b"\x00" * 20_000}, "binding"),
    ],
)
def test_a_refusal_names_its_factor(changes: dict[str, object], factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        attest(**changes)  # type: ignore[arg-type]
    assert caught.value.factor == factor


def test_an_assertion_binds_one_hash() -> None:
    with pytest.raises(VerificationError, match="binding"):
        verify_assertion_untrusted(MAC_ASSERTION, attested=attest(), client_data_hash=bytes(32))


def test_a_home_made_mac_holds_for_its_own_root() -> None:
    mac = AppleMac()
    attested = home(mac)
    assertion = verify_assertion_untrusted(mac.assertion(BOUND, counter=7), attested=attested, client_data_hash=BOUND)
    assert (attested.state, assertion.counter, assertion.cdhash) == (MacState.LOCKED, 7, CDHASH)


def _built(make: Callable[[AppleMac], bytes], **mac: object) -> tuple[AppleMac, bytes]:
    one = AppleMac(**mac)  # type: ignore[arg-type]
    return one, make(one)


@pytest.mark.parametrize(
    ("built", "factor"),
    [
        (_built(lambda mac: mac.attestation(nonce=bytes(32))), "binding"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data(counter=1))), "attestation_key"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data(credential=bytes(32)))), "attestation_key"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data(cose=bytes(77)))), "attestation_key"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data()[:-1])), "binding"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data()[:60])), "binding"),
        (_built(lambda mac: mac.attestation(auth_data=mac.auth_data() + b"\x00")), "binding"),
        (_built(lambda mac: mac.attestation(auth_data=b"short")), "binding"),
        (_built(lambda mac: mac.attestation(), aaguid=b"another service!"), "attestation_key"),
        (_built(lambda mac: mac.attestation(), app_id="2F53L9ZR3N.another"), "code_measurement"),
        (_built(lambda mac: mac.attestation(), key=make_key("a P-384 key")), "attestation_key"),
        (_built(lambda mac: mac.attestation(issued=NOW - 4 * DAY)), "vendor_chain"),
    ],
)
def test_each_step_of_the_procedure_refuses_alone(built: tuple[AppleMac, bytes], factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        home(*built)
    assert caught.value.factor == factor


def test_what_apple_says_of_the_mac() -> None:
    assert home(AppleMac(access=None)).state is MacState.UNSAID
    locked = AppleMac().access
    assert locked is not None
    for bit, other in flipped(locked, seed=5, count=12):
        assert home(AppleMac(access=other)).state is MacState.OTHER, bit


@pytest.mark.parametrize(
    ("mac", "counter", "factor"),
    [
        (AppleMac(), 0, "binding"),
        (AppleMac(cdhash=bytes(20)), 1, "code_measurement"),
        (AppleMac(app_id="2F53L9ZR3N.another"), 1, "code_measurement"),
    ],
)
def test_what_an_assertion_must_say(mac: AppleMac, counter: int, factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_assertion_untrusted(mac.assertion(BOUND, counter=counter), attested=home(), client_data_hash=BOUND)
    assert caught.value.factor == factor


@fuzz(st.binary(max_size=300))
@settings(max_examples=150)
def test_any_bytes_are_judged_or_refused(data: bytes) -> None:
    attested = home()
    refusal(lambda: attest(data))
    refusal(lambda: verify_assertion_untrusted(data, attested=attested, client_data_hash=BOUND))
    refusal(lambda: home(data=AppleMac().attestation(auth_data=data)))
    auth = AppleMac().auth_data()
    refusal(lambda: apple_attest._AuthData.parse_untrusted(auth[:164] + data, attested=True))

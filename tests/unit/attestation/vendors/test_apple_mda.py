"""Managed Device Attestation and Secure Enclave keys: a certificate in Apple's encodings, and what is unlike it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given as fuzz
from hypothesis import settings
from hypothesis import strategies as st

from kit.attested import NOW
from kit.evidence import BOUND, flipped, given, refusal, sample
from kit.vendor_certs import DAY, AppleMac, Issuer, make_key, sign_p256
from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import apple_enclave, apple_mda
from sealmesh.attestation.vendors.base import Finding
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawFinding, RawInput
from sealmesh.attestation.verifier import settle_tier
from sealmesh.errors import VerificationError

MAC = AppleMac(root=Issuer.root("Apple Enterprise Attestation Root CA"))
OTHER = AppleMac(root=MAC.root, key=make_key("another enclave", MAC.key.curve))


def record(bound: bytes = BOUND, *, mac: AppleMac = MAC, **chain: object) -> Record:
    signature = sign_p256(mac.key, apple_enclave.message(bound))
    return apple_mda.make_record(mac.mda_chain(**chain), mac.public, signature)  # type: ignore[arg-type]


def judge(one: Record, *, now: float = NOW, vendors: Mapping[str, object] | None = None) -> Finding:
    return apple_mda.verify_mda_untrusted(given(one, now=now, vendors=vendors), root=MAC.root_der)


def state(finding: Finding) -> Status:
    return {one.factor: one.status for one in finding.factors}[FactorId.PLATFORM_STATE]


def test_a_managed_mac_is_hardware_rooted() -> None:
    finding = judge(record())
    assert settle_tier(finding.tier, finding.factors) is Tier.HARDWARE_ROOTED
    assert (finding.code_measured, finding.operator_blind, finding.pinnable) == (False, OperatorBlind.NO, True)
    assert {one.factor for one in finding.factors if one.status is Status.PASS} == {
        FactorId.BINDING,
        FactorId.ATTESTATION_KEY,
        FactorId.VENDOR_CHAIN,
        FactorId.PLATFORM_STATE,
    }
    assert finding.fingerprint == hashlib.sha256(MAC.public).digest()
    assert finding.claims == {
        "sip": "yes",
        "secure_boot": "Full Security",
        "third_party_kernel_extensions": "no",
        "os_version": "27.0",
        "sepos_version": "27.0",
        "issued": str(int(NOW - DAY)),
    }


def test_the_key_is_named_by_its_point_or_by_its_coordinates() -> None:
    assert apple_mda.key_nonce(MAC.public) == hashlib.sha256(base64.b64encode(MAC.public)).digest()
    judge(record(freshness=hashlib.sha256(base64.b64encode(MAC.public[1:])).digest()))


@pytest.mark.parametrize(
    "changes",
    [
        {"sip": b"\x02\x01\x01"},  # disabled
        {"sip": b"\x02\x02\x08\x03"},  # in part
        {"sip": b"\x01\x01\x00"},  # a BOOLEAN is not what Apple writes
        {"sip": b"\x01\x01\xff"},
        {"sip": b"\x00"},
        {"sip": b"\x02\x01\x00\x00"},
        {"sip": b""},
        {"sip": None},
        {"boot": b"Reduced Security"},
        {"boot": b"Permissive Security"},
        {"boot": b"\x0c\x0dFull Security"},  # DER is not what Apple writes here
        {"boot": b"full security"},
        {"boot": b""},
        {"boot": None},
    ],
)
def test_a_mac_that_is_not_locked_is_self_asserted(changes: dict[str, object]) -> None:
    finding = judge(record(**changes))
    assert state(finding) is Status.FAIL
    assert settle_tier(finding.tier, finding.factors) is Tier.SELF_ASSERTED


def test_apples_word_ages() -> None:
    assert state(judge(record(age=7 * DAY))) is Status.PASS
    old = judge(record(age=7 * DAY + 1))
    assert state(old) is Status.FAIL
    assert settle_tier(old.tier, old.factors) is Tier.SELF_ASSERTED
    assert state(judge(record(age=2 * DAY), vendors={"apple": {"mda_max_age": 86_400}})) is Status.FAIL
    assert state(judge(record(age=8 * DAY), vendors={"apple": {"mda_max_age": 8 * 86_400}})) is Status.PASS


@pytest.mark.parametrize(
    ("one", "factor"),
    [
        (record(bytes(32)), "binding"),
        (record(freshness=bytes(32)), "attestation_key"),
        (record(freshness=b""), "attestation_key"),
        (record(freshness=b"\x04\x20" + apple_mda.key_nonce(MAC.public)), "attestation_key"),
        (apple_mda.make_record(MAC.mda_chain(), OTHER.public, sign_p256(OTHER.key, apple_enclave.message(BOUND))),
         "attestation_key"),
        (apple_mda.make_record(MAC.mda_chain(), MAC.public, sign_p256(OTHER.key, apple_enclave.message(BOUND))),
         "binding"),
        (apple_mda.make_record(MAC.mda_chain(), MAC.public, sign_p256(MAC.key, BOUND)), "binding"),
        (apple_mda.make_record((), MAC.public, b""), "vendor_chain"),
        (apple_mda.make_record(MAC.mda_chain(), b"\x05" + MAC.public[1:], b""), "attestation_key"),
        (apple_mda.make_record(MAC.mda_chain(), MAC.public[:-1], b""), "binding"),
        (Record(type=apple_mda.TYPE, data=b"\xa0", role=Role.EVIDENCE), "binding"),
        (Record(type=apple_mda.TYPE, data=cbor2.dumps({"chain": 1, "public_key": MAC.public}), role=Role.EVIDENCE),
         "binding"),
        (record(age=91 * DAY), "vendor_chain"),
        (record(mac=AppleMac(root=Issuer.root(MAC.root.name, seed="another"))), "vendor_chain"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_factor(one: Record, factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        judge(one)
    assert caught.value.factor == factor


def test_every_flipped_bit_of_the_record_is_refused() -> None:
    whole = record()
    for bit, other in flipped(whole.data, seed=8, count=600):
        assert refusal(lambda o=other: judge(replace(whole, data=o))), bit  # type: ignore[misc]


# --- raw files --------------------------------------------------------------------------------------------------------

CHAIN_PEM = sample("apple/mda_synthetic_chain.pem")
ROOT = read_chain_untrusted(sample("apple/mda_synthetic_root.pem"))[0]


def raw(**changes: object) -> RawFinding:
    fields = {"data": CHAIN_PEM, "policy": Policy(), "now": NOW, **changes}
    return apple_mda.judge_certificate_untrusted(RawInput(**fields), root=ROOT)  # type: ignore[arg-type]


def test_the_synthetic_sample_is_what_the_kit_makes() -> None:
    assert read_chain_untrusted(CHAIN_PEM) == MAC.mda_chain()[:2]
    assert MAC.root_der == ROOT


def test_a_certificate_alone_is_bound_by_its_nonce() -> None:
    assert (raw().bound, raw().tier_if_bound) == (False, Tier.HARDWARE_ROOTED)
    assert raw(nonce=apple_mda.key_nonce(MAC.public)).bound is True
    with pytest.raises(VerificationError, match="another nonce"):
        raw(nonce=bytes(32))


def test_a_certified_key_binds_report_data() -> None:
    roles = {"key": MAC.public, "signature": sign_p256(MAC.key, b"report data")}
    finding = raw(given=roles, report_data=b"report data")
    assert finding.bound is True
    assert raw(given={**roles, "key": base64.b64encode(MAC.public[1:]) + b"\n"}, report_data=b"report data") == finding
    for other in (
        {"given": roles, "report_data": b"other data"},
        {"given": {"key": MAC.public}, "report_data": b"report data"},
        {"given": {**roles, "key": OTHER.public}, "report_data": b"report data"},
        # Another key, with a signature of its own that holds.
        {
            "given": {"key": OTHER.public, "signature": sign_p256(OTHER.key, b"report data")},
            "report_data": b"report data",
        },
        {"given": {**roles, "key": b"?"}, "report_data": b"report data"},
        {"report_data": b"report data"},
    ):
        with pytest.raises(VerificationError):
            raw(**other)


def test_a_leaf_in_der_with_its_chain_beside_it() -> None:
    leaf, middle = read_chain_untrusted(CHAIN_PEM)
    body = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(middle) + b"-----END CERTIFICATE-----\n"
    assert raw(data=leaf, given={"chain": body}) == raw()
    with pytest.raises(VerificationError, match="vendor_chain"):
        raw(data=leaf)


def test_apples_root_refuses_the_synthetic_sample() -> None:
    with pytest.raises(VerificationError, match="vendor_chain"):
        apple_mda.RAW_KIND.judge_untrusted(RawInput(data=CHAIN_PEM, policy=Policy(), now=NOW))


# --- keys without Apple's word ------------------------------------------------------------------------------------


def enclave(bound: bytes = BOUND) -> Record:
    return apple_enclave.make_record(MAC.public, sign_p256(MAC.key, apple_enclave.message(bound)))


def test_a_secure_enclave_key_is_self_asserted_and_can_be_pinned() -> None:
    finding = apple_enclave.KIND.verify_untrusted(given(enclave()))
    assert (finding.tier, finding.pinnable) == (Tier.SELF_ASSERTED, True)
    assert {one.source for one in finding.factors} == {Source.SELF_ASSERTED}
    assert apple_enclave.KIND.ceiling is Tier.SELF_ASSERTED
    # The same key under Apple's word has the same fingerprint: a pin survives enrolment.
    assert finding.fingerprint == judge(record()).fingerprint


def test_every_flipped_bit_of_a_key_record_is_refused() -> None:
    whole = enclave()
    for bit, other in flipped(whole.data, seed=9, count=10_000):
        judge_one = lambda o=other: apple_enclave.KIND.verify_untrusted(given(replace(whole, data=o)))  # type: ignore[misc] # noqa: E731
        assert refusal(judge_one), bit


@fuzz(st.binary(max_size=300))
@settings(max_examples=150)
def test_any_bytes_are_judged_or_refused(data: bytes) -> None:
    for one in (Record(type="t", data=data, role=Role.EVIDENCE), apple_mda.make_record((data, data), MAC.public, data)):
        refusal(lambda o=one: judge(o))  # type: ignore[misc]
        refusal(lambda o=one: apple_enclave.KIND.verify_untrusted(given(o)))  # type: ignore[misc]
    roles = {"key": data, "signature": data, "chain": data}
    refusal(lambda: raw(data=data))
    refusal(lambda: raw(given=roles, report_data=data))

"""App Attest from files: the samples as their collectors wrote them, and what is no such file."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given as fuzz
from hypothesis import settings
from hypothesis import strategies as st

from kit.evidence import at, flipped, refusal, sample
from sealmesh.attestation.appraise import Outcome, appraise_raw_untrusted
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.apple_files import RAW_KIND, read_documents_untrusted
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.errors import VerificationError

MACOS = sample("apple/macos27.json")
FIELDS = json.loads(MACOS)
IOS = sample("apple/ios-14.4.yaml")
MAC_AT = at("2026-07-18T14:20:00+00:00")
NONCE = bytes.fromhex(FIELDS["assertion_client_data_hash"])
IOS_NONCE = hashlib.sha256(b"wurzelpfropf").digest()
LISTED = Policy(vendors={"apple": {"cdhashes": ("cb92a890915457b226fea9be778fc6a29994a2c60dfaa60371e9e264d8541306",)}})


def mac(data: bytes = MACOS, **more: object) -> RawInput:
    return RawInput(**{"data": data, "policy": Policy(), "now": MAC_AT, **more})  # type: ignore[arg-type]


def ios(data: bytes = IOS, **more: object) -> RawInput:
    return mac(data, **{"now": at("2021-01-23T12:13:36.016+00:00"), **more})


def status(given: RawInput) -> dict[FactorId, Status]:
    return {one.factor: one.status for one in RAW_KIND.judge_untrusted(given).factors}


def test_the_macs_sample() -> None:
    finding = RAW_KIND.judge_untrusted(mac(nonce=NONCE, app_id=FIELDS["app_id"], policy=LISTED))
    assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, True, True)
    assert finding.operator_blind is OperatorBlind.NO  # no host statement says where the model runs
    assert finding.claims["validation_category"] == "6"
    appraisal = appraise_raw_untrusted(RAW_KIND, mac(nonce=NONCE, policy=replace(LISTED, minimum=Tier.HARDWARE_ROOTED)))
    assert (appraisal.outcome, appraisal.tier) == (Outcome.VERIFIED, Tier.HARDWARE_ROOTED)


def test_without_a_nonce_it_is_bound_to_nobody() -> None:
    finding = RAW_KIND.judge_untrusted(mac())
    assert (finding.bound, finding.code_measured) == (False, False)
    appraisal = appraise_raw_untrusted(RAW_KIND, mac())
    assert (appraisal.outcome, appraisal.tier_if_bound) == (Outcome.REFUSED, Tier.HARDWARE_ROOTED)


@pytest.mark.parametrize("moment", ["2021-01-23T12:13:33.335+00:00", "2021-01-23T12:13:36.016+00:00"])
def test_the_iphones_samples_at_their_own_times(moment: str) -> None:
    finding = RAW_KIND.judge_untrusted(ios(now=at(moment), report_data=IOS_NONCE))
    assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, True, False)
    assert finding.claims["environment"] == "development"
    assert status(ios())[FactorId.PLATFORM_STATE] is status(ios())[FactorId.CODE_MEASUREMENT] is Status.ABSENT


def test_a_receipt_is_covered_by_no_signature_of_the_attestation() -> None:
    # The one region that is left out: iOS puts a receipt for Apple's own server into the object. It is not read.
    documents = read_documents_untrusted(IOS)
    data = base64.b64decode(documents[0]["attestationBase64"])
    begins = data.index(b"receipt") + len(b"receipt") + 3
    ends = data.index(b"hauthData")
    for bit, other in flipped(data, seed=6, count=400):
        refused = refusal(
            lambda o=other: RAW_KIND.judge_untrusted(  # type: ignore[misc]
                ios(o, nonce=IOS_NONCE, app_id="6MURL8TA57.de.vincent-haupert.apple-appattest-poc")
            )
        )
        assert (refused is None) == (begins <= bit // 8 < ends), bit


def test_the_devices_own_cbor() -> None:
    attestation, assertion = (base64.b64decode(FIELDS[one]) for one in ("attestation", "assertion"))
    app_id = FIELDS["app_id"]
    first = bytes.fromhex(FIELDS["attestation_client_data_hash"])
    assert RAW_KIND.judge_untrusted(mac(attestation, nonce=first, app_id=app_id)).bound is True
    roles = {"assertion": assertion, "client-data-hash": FIELDS["attestation_client_data_hash"].encode() + b"\n"}
    both = mac(attestation, given=roles, nonce=NONCE, app_id=app_id, policy=LISTED)
    assert RAW_KIND.judge_untrusted(both).code_measured is True
    for lesser in (
        replace(both, app_id=None),
        replace(both, nonce=None),
        replace(both, given={"assertion": assertion}),
    ):
        with pytest.raises(VerificationError):
            RAW_KIND.judge_untrusted(lesser)
    with pytest.raises(VerificationError, match="--nonce"):
        RAW_KIND.judge_untrusted(mac(attestation, app_id=app_id))


def changed(**fields: object) -> bytes:
    return json.dumps({**FIELDS, **fields}).encode()


@pytest.mark.parametrize(
    ("given", "factor"),
    [
        (mac(nonce=bytes(32)), "binding"),
        (mac(report_data=bytes(32)), "binding"),
        (mac(nonce=NONCE, report_data=bytes(32)), "binding"),
        (mac(nonce=NONCE[:31]), "binding"),
        (mac(app_id="2F53L9ZR3N.another"), "code_measurement"),
        (mac(now=MAC_AT + 4 * 86400), "vendor_chain"),
        (mac(changed(key_id="AAAA")), "attestation_key"),
        (mac(changed(key_id=None)), "binding"),
        (mac(changed(attestation="?")), "binding"),
        (mac(changed(attestation="\u00e9")), "binding"),
        (mac(changed(assertion=1)), "binding"),
        (mac(changed(app_id=1)), "code_measurement"),
        (mac(changed(app_id="\ud800")), "code_measurement"),
        (mac(changed(assertion_client_data_hash="zz")), "binding"),
        (mac(b"{"), "binding"),
        (mac(b"{}"), "binding"),
        (mac(MACOS + b"x"), "binding"),
        (mac(b'{"a":' * 50_000), "binding"),
        (mac(b"x" * 300_000), "binding"),
        (ios(b"---\ntype: receipt\n"), "binding"),
        (ios(IOS.replace(b"type: assertion", b"type: assertion\ntype: assertion")), "binding"),
        (ios(IOS + b"x"), "binding"),
        (ios(IOS.replace(b"teamIdentifier: 6M", b"teamIdentifier: 7M")), "code_measurement"),
    ],
)
def test_a_refusal_names_its_factor(given: RawInput, factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        RAW_KIND.judge_untrusted(given)
    assert caught.value.factor == factor


def test_a_listed_app_and_one_that_is_not() -> None:
    listed = replace(LISTED, vendors={"apple": {**LISTED.vendors["apple"], "app_ids": ("2F53L9ZR3N.another",)}})
    finding = RAW_KIND.judge_untrusted(mac(nonce=NONCE, policy=listed))
    assert finding.code_measured is False
    appraisal = appraise_raw_untrusted(RAW_KIND, mac(nonce=NONCE, policy=listed))
    assert appraisal.tier is Tier.SELF_ASSERTED


def test_documents_are_read_as_they_stand() -> None:
    text = b"---\na: 'quoted: text'\nb: |\n  one\n  two\nc: plain\nnested:\n  d: passed over\n---\na: 2\nempty:\n"
    assert read_documents_untrusted(text) == [
        {"a": "quoted: text", "b": "one\ntwo\n", "c": "plain", "nested": ""},
        {"a": "2", "empty": ""},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: 1", "---\n a: 1", "---\na", "---\na:1", "---\na: &x 1", "---\na: *x", "---\na: !!python/object:x y",
        "---\na: [1]",
        "---\na: {b: c}", '---\na: "x"', "---\na: 'x", "---\na: 'x'y'", "---\na: '", "---\na: b # c", "---\na: b: c",
        "---\n? a\n: b", "---\n- a", "---\na: >\n  x", "%YAML 1.1\n---\na: b", "---\na: 1\na: 2", "---\n\xff: b",
        "---\n" * 100 + "a: 1",
    ],
)  # fmt: skip
def test_yaml_beyond_the_samples_form_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="binding"):
        read_documents_untrusted(text.encode("latin-1"))


@fuzz(st.binary(max_size=200), st.text(max_size=100))
@settings(max_examples=150)
def test_any_bytes_are_judged_or_refused(data: bytes, text: str) -> None:
    for one in (data, b"---\n" + data, b"{" + data, b"---\n" + text.encode(), b'{"attestation":' + data + b"}"):
        refusal(lambda o=one: RAW_KIND.judge_untrusted(mac(o)))  # type: ignore[misc]

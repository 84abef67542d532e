"""A06, A04, A07, A08 for Apple: home-made roots, software keys posing as a Secure Enclave, other hosts' evidence.

Everything here has the right shapes; what it lacks is Apple's signature, or the right binding, key or time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost, judge
from kit.evidence import BOUND, at, given, sample, statement_bytes
from kit.vendor_certs import CDHASH, DAY, AppleMac, Issuer, make_key, sign_p256
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import apple_app_attest, apple_enclave, apple_mda
from sealmesh.attestation.vendors.apple_files import RAW_KIND
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.verifier import REGISTRY, HostVerdict, Verifier
from sealmesh.errors import VerificationError

MAC = AppleMac()
MDA = AppleMac(root=Issuer.root("Apple Enterprise Attestation Root CA"))
KINDS = {
    **REGISTRY,
    apple_app_attest.TYPE: apple_app_attest.KIND,
    apple_mda.TYPE: apple_mda.KIND,
    apple_enclave.TYPE: apple_enclave.KIND,
}
TRUSTING = {**KINDS, apple_app_attest.TYPE: apple_app_attest.make_kind(root=MAC.root_der)}
LISTED = Policy(vendors={"apple": {"cdhashes": (CDHASH.hex(),)}})


def app_attest(bound: bytes, *, mac: AppleMac = MAC, key=None, **leaf: object) -> Record:  # type: ignore[no-untyped-def]
    return apple_app_attest.make_record(
        app_id=mac.app_id,
        attestation=mac.attestation(**leaf),  # type: ignore[arg-type]
        client_data_hash=mac.client_data_hash,
        assertion=mac.assertion(bound, key=key),
    )


def mda(bound: bytes) -> Record:
    return apple_mda.make_record(MDA.mda_chain(), MDA.public, sign_p256(MDA.key, apple_enclave.message(bound)))


def enclave(bound: bytes) -> Record:
    return apple_enclave.make_record(MAC.public, sign_p256(MAC.key, apple_enclave.message(bound)))


def live(make, *, registry=KINDS, pin: Pin | None = None, alone: bool = True) -> HostVerdict:  # type: ignore[no-untyped-def]
    """Have the real verifier judge a live answer whose envelope holds the record that `make` gives for its binding."""
    host = ProvenHost()
    answer = host.answer()
    records = {} if alone else dict(Envelope.parse_untrusted(answer.envelope).records)
    records["apple"] = make(binding(answer.host_statement))
    verifier = Verifier(policy=LISTED, find_pin=lambda _: pin, registry=registry)
    return judge(host, replace(answer, envelope=Envelope(records=records).encode()), verifier=verifier)


@pytest.mark.parametrize("make", [app_attest, mda])
def test_a_home_made_root_with_apples_names(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(VerificationError, match="vendor_chain"):
        live(make)
    # Beside honest software evidence it does not make a host better, and is shown as failed.
    verdict = live(make, alone=False).verdict
    assert verdict.tier is Tier.SELF_ASSERTED
    assert {one.factor: one.status for one in verdict.factors}[FactorId.VENDOR_CHAIN] is Status.FAIL
    assert (verdict.code_measured, verdict.operator_blind) == (False, OperatorBlind.NO)


def test_the_same_objects_hold_where_their_root_is_trusted() -> None:
    # Otherwise the tests above could pass for another reason.
    verdict = live(app_attest, registry=TRUSTING).verdict
    assert (verdict.tier, verdict.code_measured) == (Tier.HARDWARE_ROOTED, True)
    assert verdict.operator_blind is OperatorBlind.SOFTWARE


def test_a_genuine_chain_around_a_software_key() -> None:
    # Apple's own certificates, and an assertion by a key of ours.
    genuine = json.loads(sample("apple/macos27.json"))
    record = apple_app_attest.make_record(
        app_id=genuine["app_id"],
        attestation=base64.b64decode(genuine["attestation"]),
        client_data_hash=bytes.fromhex(genuine["attestation_client_data_hash"]),
        assertion=AppleMac(app_id=genuine["app_id"]).assertion(BOUND),
    )
    with pytest.raises(VerificationError, match="the attested key did not sign this"):
        apple_app_attest.KIND.verify_untrusted(given(record, now=at("2026-07-18T14:20:00+00:00")))


def test_a_software_key_in_app_attests_place() -> None:
    with pytest.raises(VerificationError, match="the attested key did not sign this"):
        live(lambda bound: app_attest(bound, key=make_key("software", MAC.key.curve)), registry=TRUSTING)


def test_a_software_key_under_another_macs_certificate() -> None:
    software = make_key("software", MDA.key.curve)
    public = AppleMac(key=software).public
    record = apple_mda.make_record(MDA.mda_chain(), public, sign_p256(software, apple_enclave.message(BOUND)))
    with pytest.raises(VerificationError, match="does not name the key"):
        apple_mda.verify_mda_untrusted(given(record), root=MDA.root_der)


def test_a_software_key_that_says_it_is_in_a_secure_enclave() -> None:
    verdict = live(enclave).verdict
    assert (verdict.tier, verdict.code_measured) == (Tier.SELF_ASSERTED, False)
    # Somebody who pinned it gets what a pin is worth, and not more.
    pin = Pin(fingerprint=hashlib.sha256(MAC.public).digest(), by_hand=True)
    assert live(enclave, pin=pin).verdict.tier is Tier.PINNED


def test_a_key_of_another_app_on_a_genuine_mac() -> None:
    record = app_attest(BOUND)
    lie = AppleMac(app_id="2F53L9ZR3N.org.example.other")
    posing = apple_app_attest.make_record(
        app_id=MAC.app_id,
        attestation=lie.attestation(),
        client_data_hash=lie.client_data_hash,
        assertion=lie.assertion(BOUND),
    )
    kind = TRUSTING[apple_app_attest.TYPE]
    assert kind.verify_untrusted(given(record)).tier is Tier.HARDWARE_ROOTED
    with pytest.raises(VerificationError, match="another app's"):
        kind.verify_untrusted(given(posing))


@pytest.mark.parametrize("make", [app_attest, mda, enclave])
def test_a04_a07_evidence_for_another_host_statement(make) -> None:  # type: ignore[no-untyped-def]
    # The statement names endpoint and statement key: another one of either has another binding.
    verifiers = {
        app_attest: TRUSTING[apple_app_attest.TYPE].verify_untrusted,
        mda: lambda evidence: apple_mda.verify_mda_untrusted(evidence, root=MDA.root_der),
        enclave: apple_enclave.KIND.verify_untrusted,
    }
    verify = verifiers[make]
    verify(given(make(BOUND)))
    other = statement_bytes(statement_key=b"k" * 32)
    with pytest.raises(VerificationError) as caught:
        verify(given(make(BOUND), statement=other))
    assert caught.value.factor == "binding"


def test_a08_a_leaf_after_its_three_days() -> None:
    kind = TRUSTING[apple_app_attest.TYPE]
    record = app_attest(BOUND, issued=NOW - DAY)
    kind.verify_untrusted(given(record, now=NOW))
    with pytest.raises(VerificationError, match="vendor_chain"):
        kind.verify_untrusted(given(record, now=NOW + 2 * DAY + 1))


def test_a08_apples_word_on_a_mac_that_may_have_been_unlocked_since() -> None:
    old = apple_mda.make_record(
        MDA.mda_chain(age=8 * DAY), MDA.public, sign_p256(MDA.key, apple_enclave.message(BOUND))
    )
    finding = apple_mda.verify_mda_untrusted(given(old), root=MDA.root_der)
    assert {one.factor: one.status for one in finding.factors}[FactorId.PLATFORM_STATE] is Status.FAIL


def test_a08_an_assertion_that_is_older_than_one_already_seen() -> None:
    kind = apple_app_attest.make_kind(apple_app_attest.Counters(), root=MAC.root_der)

    def counted(counter: int) -> Record:
        return apple_app_attest.make_record(
            app_id=MAC.app_id,
            attestation=MAC.attestation(),
            client_data_hash=MAC.client_data_hash,
            assertion=MAC.assertion(BOUND, counter=counter),
        )

    kind.verify_untrusted(given(counted(5)))
    with pytest.raises(VerificationError, match="later assertion"):
        kind.verify_untrusted(given(counted(1)))


def test_a08_a_genuine_file_that_was_made_for_somebody_else() -> None:
    file = RawInput(data=sample("apple/macos27.json"), policy=Policy(), now=at("2026-07-18T14:20:00+00:00"))
    assert RAW_KIND.judge_untrusted(file).bound is False
    with pytest.raises(VerificationError, match="binding"):
        RAW_KIND.judge_untrusted(replace(file, nonce=hashlib.sha256(b"my own").digest()))

"""A06 (and the offline parts of A04, A07, A08) with TPMs: software in a chip's clothes, other hosts' and old quotes."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from kit.attested import NOW, ProvenHost, judge, make_random
from kit.tpm import AK_ATTRIBUTES, SHA1, Firmware, ModelTpm, Vendor, der, name_of, p256, p384, pem
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId, Status, Tier
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.attestation.vendors.tpm import KIND, RAW_KIND, TYPE, make_kind
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory, begin_activation
from sealmesh.attestation.vendors.tpm.evidence import TYPE_AK, TYPE_CA, TYPE_EK, TpmEvidence
from sealmesh.attestation.vendors.tpm.gotools import parse_attestation_untrusted
from sealmesh.attestation.vendors.tpm.quote import verify_key_untrusted
from sealmesh.attestation.verifier import Verifier
from sealmesh.errors import VerificationError

SAMPLE = (Path(__file__).parents[2] / "testvectors/evidence/gce/gce-cos-85-nonce9009.pb").read_bytes()
VENDOR = Vendor()
TRUSTING = Policy(vendors={"tpm": {"extra_roots": (pem(VENDOR.root).decode(),)}})


def chip(which: str = "chip", **options: object) -> tuple[ModelTpm, bytes]:
    firmware = Firmware(ModelTpm(which, ek=p256(f"{which} ek"), **options))  # type: ignore[arg-type]
    return firmware.tpm, firmware.boot()


def certified(tpm: ModelTpm, vendor: Vendor = VENDOR) -> dict[str, Record]:
    return {
        "ca": Record(type=TYPE_CA, data=der(vendor.issuer), role=Role.ENDORSEMENT),
        "ak": Record(type=TYPE_AK, data=der(vendor.ak(tpm)), role=Role.ENDORSEMENT),
    }


def answer_with(host: ProvenHost, tpm: ModelTpm, log: bytes = b"", **records: Record) -> ProofAnswer:
    answer = host.answer()
    return dataclasses.replace(answer, envelope=envelope(tpm, binding(answer.host_statement), log, **records))


def envelope(tpm: ModelTpm, bound: bytes, log: bytes = b"", **records: Record) -> bytes:
    record = TpmEvidence(ak_public=tpm.ak_public, parts=tpm.quote(bound), event_log=log).to_record()
    return Envelope(records={"tpm2": record, **records}).encode()


def verifier(policy: Policy = TRUSTING, **options: object) -> Verifier:
    return Verifier(policy=policy, registry={TYPE: KIND}, **options)  # type: ignore[arg-type]


def test_the_honest_host_is_taken() -> None:
    """Else every refusal below could be for any reason."""
    host, (tpm, log) = ProvenHost(), chip()
    verdict = judge(host, answer_with(host, tpm, log, **certified(tpm)), verifier=verifier()).verdict
    assert verdict.tier is Tier.HARDWARE_ROOTED


def test_a_software_key_that_says_it_is_a_chips() -> None:
    """Every structure right, every attribute claimed, every signature good: and no vendor's word."""
    host, (tpm, log) = ProvenHost(), chip()
    verdict = judge(host, answer_with(host, tpm, log), verifier=verifier()).verdict
    assert verdict.tier is Tier.SELF_ASSERTED
    status = {one.factor: one.status for one in verdict.factors}
    assert status[FactorId.VENDOR_CHAIN] is Status.ABSENT
    assert status[FactorId.ACTIVATION] is Status.ABSENT


def test_a_software_key_beside_somebodys_genuine_endorsement_key() -> None:
    """EK certificates are public: to show one is to show nothing."""
    host, (tpm, log) = ProvenHost(), chip()
    gce = (Path(__file__).parents[2] / "testvectors/evidence/gce/pca_tpm_ecc_enc_cert.pem").read_bytes()
    ek = Record(type=TYPE_EK, data=gce, role=Role.ENDORSEMENT)
    verdict = judge(host, answer_with(host, tpm, log, ek=ek), verifier=verifier()).verdict
    assert verdict.tier is Tier.SELF_ASSERTED


def test_a_software_key_cannot_be_activated_beside_somebodys_genuine_chip() -> None:
    """The chip's owner lends the chip, not for this key: the chip does not hand out the secret."""
    genuine, _ = chip()
    forger = ModelTpm("forger")
    assert genuine.ek is not None
    activation = begin_activation(
        genuine.ek.public_key(), b"d" * 32, verify_key_untrusted(forger.ak_public), make_random()
    )
    sent = activation.credential
    with pytest.raises(ValueError, match="integrity"):
        genuine.activate(sent.id_object, sent.encrypted_secret)
    memory = ActivationMemory()
    for guess in (bytes(32), b"", sent.encrypted_secret[:32]):
        with pytest.raises(VerificationError):
            memory.settle_untrusted(activation, guess, NOW)
    assert not memory.holds(b"d" * 32, name_of(forger.ak_public), NOW)
    assert make_kind(memory.holds).ceiling is Tier.HARDWARE_ROOTED


def home_made(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A root with the name, the serial number, the times and every extension of a pinned one."""
    real, key = x509.load_der_x509_certificate(load_root("tpm", name)), p384("home-made")
    builder = (
        x509.CertificateBuilder(extensions=list(real.extensions))
        .subject_name(real.subject)
        .issuer_name(real.issuer)
        .public_key(key.public_key())
        .serial_number(real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
    )
    return key, builder.sign(key, hashes.SHA384())


@pytest.mark.parametrize(
    "name", ["google_ek_ak_root.pem", "infineon_rsa_root.pem", "stm_ecc_root_01.pem", "intel_root.pem"]
)
def test_a_home_made_root_with_the_right_names(name: str) -> None:
    key, root = home_made(name)
    tpm, log = chip()
    shape = VENDOR.ak(tpm)
    leaf = (
        x509.CertificateBuilder(extensions=list(shape.extensions))
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(shape.public_key())
        .serial_number(7)
        .not_valid_before(shape.not_valid_before_utc)
        .not_valid_after(shape.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    leaf.verify_directly_issued_by(root)  # the chain is perfect; only its root is not the pinned one
    records = {
        "ak": Record(type=TYPE_AK, data=der(leaf), role=Role.ENDORSEMENT),
        "ca": Record(type=TYPE_CA, data=der(root), role=Role.ENDORSEMENT),
    }
    host = ProvenHost()
    with pytest.raises(VerificationError, match="pinned root") as refused:
        judge(host, answer_with(host, tpm, log, **records), verifier=verifier(Policy()))
    assert refused.value.factor == "vendor_chain"
    quote = tpm.quote(b"n")
    given = {
        "public": tpm.ak_public,
        "signature": quote.signature,
        "pcrs": quote.values,
        "ak": der(leaf),
        "ca": der(root),
    }
    raw = RawInput(data=quote.attest, given=given, nonce=b"n", policy=Policy(), now=NOW)
    with pytest.raises(VerificationError, match="pinned root"):
        RAW_KIND.judge_untrusted(raw)
    # The same chain is good to who trusts that root by hand: nothing else about it was wrong.
    by_hand = dataclasses.replace(raw, given=given | {"root": der(root)})
    assert RAW_KIND.judge_untrusted(by_hand).tier_if_bound is Tier.HARDWARE_ROOTED


def test_a_genuine_certificate_with_a_forgers_quote() -> None:
    """Google's certificate is public too; it is for another key."""
    real = parse_attestation_untrusted(SAMPLE)
    host, (tpm, log) = ProvenHost(), chip()
    ak = Record(type=TYPE_AK, data=real.ak_certificate, role=Role.ENDORSEMENT)
    with pytest.raises(VerificationError, match="for another key") as refused:
        judge(host, answer_with(host, tpm, log, ak=ak), verifier=verifier())
    assert refused.value.factor == "vendor_chain"


@pytest.mark.parametrize("missing", [1 << 1, 1 << 16])
def test_a_chips_key_that_signs_whatever_it_is_given(missing: int) -> None:
    """An unrestricted key of a genuine chip signs forged quotes; painted-on attributes are in another name."""
    host = ProvenHost()
    loose, log = chip(attributes=AK_ATTRIBUTES & ~missing)
    with pytest.raises(VerificationError, match="no restricted signing key"):
        judge(host, answer_with(host, loose, log, **certified(loose)), verifier=verifier())
    painted, _ = chip()  # the same key, shown with all attributes
    answer = host.answer()
    parts = loose.quote(binding(answer.host_statement))
    record = TpmEvidence(ak_public=painted.ak_public, parts=parts, event_log=log).to_record()
    shown = Envelope(records={"tpm2": record, **certified(loose)}).encode()
    with pytest.raises(VerificationError, match="names another key"):
        judge(host, dataclasses.replace(answer, envelope=shown), verifier=verifier())


def test_bytes_that_a_tpm_would_not_sign_as_its_own() -> None:
    """Data from outside that a restricted key may sign never begins with the magic."""
    host, (tpm, log) = ProvenHost(), chip()
    answer = host.answer()
    for changes in ({"magic": 0x00544347}, {"kind": 0x8017}):
        parts = tpm.quote(binding(answer.host_statement), **changes)
        record = TpmEvidence(ak_public=tpm.ak_public, parts=parts, event_log=log).to_record()
        shown = Envelope(records={"tpm2": record, **certified(tpm)}).encode()
        with pytest.raises(VerificationError, match="malformed TPM structure"):
            judge(host, dataclasses.replace(answer, envelope=shown), verifier=verifier())


def test_sha1_registers() -> None:
    host, (tpm, _) = ProvenHost(), chip()
    answer = host.answer()
    parts = tpm.quote(binding(answer.host_statement), bank=SHA1)
    record = TpmEvidence(ak_public=tpm.ak_public, parts=parts).to_record()
    shown = Envelope(records={"tpm2": record, **certified(tpm)}).encode()
    with pytest.raises(VerificationError, match="SHA-1"):
        judge(host, dataclasses.replace(answer, envelope=shown), verifier=verifier())


def test_a_pin_on_the_key_does_not_make_it_a_chips() -> None:
    host, (tpm, log) = ProvenHost(), chip()
    fingerprint = judge(host, answer_with(host, tpm, log), verifier=verifier()).fingerprint
    assert fingerprint is not None
    pinning = verifier(find_pin=lambda _: Pin(fingerprint=fingerprint, by_hand=True))
    assert judge(host, answer_with(host, tpm, log), verifier=pinning).verdict.tier is Tier.PINNED
    other, other_log = chip("other")
    assert judge(host, answer_with(host, other, other_log), verifier=pinning).verdict.tier is Tier.SELF_ASSERTED


# --- A04, A07, A08: a genuine chip's quote, for something else -------------------------------------------------------


def test_a07_another_hosts_quote() -> None:
    """A genuine chip answered for its own host; a sibling shows the quote as its own."""
    genuine, sibling, (tpm, log) = ProvenHost("genuine"), ProvenHost("sibling"), chip()
    stolen = answer_with(genuine, tpm, log, **certified(tpm)).envelope
    with pytest.raises(VerificationError, match="made for something else") as refused:
        judge(sibling, dataclasses.replace(sibling.answer(), envelope=stolen), verifier=verifier())
    assert refused.value.factor == "binding"


def test_a08_the_same_hosts_quote_for_an_earlier_nonce() -> None:
    host, (tpm, log) = ProvenHost(), chip()
    earlier = host.answer(nonce=b"\7" * 32)
    old = envelope(tpm, binding(earlier.host_statement), log, **certified(tpm))
    with pytest.raises(VerificationError, match="made for something else"):
        judge(host, dataclasses.replace(host.answer(), envelope=old), verifier=verifier())


def test_a04_a_quote_for_another_statement_key() -> None:
    host, (tpm, log) = ProvenHost(), chip()
    before = answer_with(host, tpm, log, **certified(tpm))
    host.restart("second")
    with pytest.raises(VerificationError, match="made for something else"):
        judge(host, dataclasses.replace(host.answer(), envelope=before.envelope), verifier=verifier())


def test_a08_outside_the_time_of_its_certificates() -> None:
    host, (tpm, log) = ProvenHost(), chip()
    later = 2_100_000_000.0
    answer = host.answer(now=later)
    shown = envelope(tpm, binding(answer.host_statement), log, **certified(tpm))
    with pytest.raises(VerificationError, match="not valid at this time"):
        judge(host, dataclasses.replace(answer, envelope=shown), verifier=verifier(), now=later)


def test_a08_another_nonce_on_the_real_file() -> None:
    for nonce, bound in ((b"\x90\x09", True), (b"\x90\x0a", False), (struct.pack(">H", 0x9009)[:1], False)):
        raw = RawInput(data=SAMPLE, nonce=nonce, policy=Policy(), now=NOW)
        assert RAW_KIND.judge_untrusted(raw).bound is bound

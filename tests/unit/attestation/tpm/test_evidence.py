"""A TPM's record in an envelope: what it is worth to a stranger, to who activated it, and with a vendor's word."""

from __future__ import annotations

import dataclasses

import pytest

from kit.attested import NOW, ProvenHost, judge, make_random
from kit.tpm import SHA1, Firmware, ModelTpm, Vendor, der, p256, pem, rsa_key
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement, binding
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.tpm import KIND, TYPE, make_kind
from sealmesh.attestation.vendors.tpm.certificates import Use, verify_endorsement_untrusted
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory, begin_activation
from sealmesh.attestation.vendors.tpm.evidence import TYPE_AK, TYPE_CA, TYPE_EK, TpmEvidence
from sealmesh.attestation.vendors.tpm.quote import QuoteParts, verify_key_untrusted
from sealmesh.attestation.verifier import Verifier
from sealmesh.errors import VerificationError

VENDOR = Vendor()
ROOT = pem(VENDOR.root).decode()
STATEMENT = ProvenHost().statement().encode()
BOUND = binding(STATEMENT)


def chip(which: str = "chip") -> tuple[ModelTpm, bytes]:
    firmware = Firmware(ModelTpm(which, ek=p256(f"{which} ek")))
    return firmware.tpm, firmware.boot()


def shown(tpm: ModelTpm, log: bytes = b"", *, bound: bytes = BOUND, pcrs: range = range(10)) -> Record:
    return TpmEvidence(ak_public=tpm.ak_public, parts=tpm.quote(bound, pcrs), event_log=log).to_record()


def endorsement(kind: str, data: bytes) -> Record:
    return Record(type=kind, data=data, role=Role.ENDORSEMENT)


def stapled(tpm: ModelTpm, *, ek: bool = False, ak: bool = False, issuer: bool = True) -> dict[str, Record]:
    found = {"tpm2-ca": endorsement(TYPE_CA, der(VENDOR.issuer))} if issuer else {}
    if ek:
        found["tpm2-ek"] = endorsement(TYPE_EK, der(VENDOR.ek(tpm)))
    if ak:
        found["tpm2-ak"] = endorsement(TYPE_AK, der(VENDOR.ak(tpm)))
    return found


def verify(
    record: Record, *, kind: EvidenceKind = KIND, now: float = NOW, tpm: object = None, **records: Record
) -> Finding:
    table = {"extra_roots": (ROOT,)} if tpm is None else tpm
    return kind.verify_untrusted(
        EvidenceInput(
            record=record,
            envelope=Envelope(records={"tpm2": record, **records}),
            binding=BOUND,
            statement=HostStatement.parse_untrusted(STATEMENT),
            endpoint_id=ProvenHost().endpoint_id,
            policy=Policy(vendors={"tpm": table}),  # type: ignore[dict-item]
            now=now,
        )
    )


def statuses(finding: Finding) -> dict[FactorId, Status]:
    return {one.factor: one.status for one in finding.factors}


def test_to_a_stranger_an_unactivated_key_is_self_asserted() -> None:
    tpm, log = chip()
    for records in ({}, stapled(tpm, ek=True)):
        finding = verify(shown(tpm, log), **records)
        assert finding.tier is Tier.SELF_ASSERTED
        assert statuses(finding)[FactorId.VENDOR_CHAIN] is Status.ABSENT
        activation = next(one for one in finding.factors if one.factor is FactorId.ACTIVATION)
        assert (activation.status, activation.source) == (Status.ABSENT, Source.PEER_WITNESSED)
        assert {one.source for one in finding.factors} <= {Source.SELF_ASSERTED, Source.PEER_WITNESSED}
        assert (finding.pinnable, finding.code_measured) == (True, False)


def test_with_the_vendors_word_for_the_key() -> None:
    tpm, log = chip()
    finding = verify(shown(tpm, log), **stapled(tpm, ak=True))
    assert finding.tier is Tier.HARDWARE_ROOTED
    assert set(statuses(finding).values()) == {Status.PASS}
    assert (finding.claims["secure_boot"], finding.claims["vendor"]) == ("on", "extra")
    assert (finding.code_measured, finding.operator_blind) == (False, OperatorBlind.NO)


def test_an_azure_shaped_key() -> None:
    """RSA, certified by its cloud with TCG's usage for attestation keys."""
    firmware = Firmware(ModelTpm("azure", ak=rsa_key("azure"), ek=p256("ek"), attributes=0x00050072))
    log = firmware.boot()
    finding = verify(shown(firmware.tpm, log), **stapled(firmware.tpm, ak=True))
    assert finding.tier is Tier.HARDWARE_ROOTED


def test_to_who_activated_it() -> None:
    tpm, log = chip()
    memory = ActivationMemory()
    kind = make_kind(memory.holds)
    records = stapled(tpm, ek=True)
    assert verify(shown(tpm, log), kind=kind, **records).tier is Tier.SELF_ASSERTED
    ek = verify_endorsement_untrusted(
        VENDOR.ek(tpm), use=Use.EK, supplied=[VENDOR.issuer], extra_roots=[VENDOR.root], now=NOW
    )
    activation = begin_activation(ek.key, ek.digest, verify_key_untrusted(tpm.ak_public), make_random())
    answer = tpm.activate(activation.credential.id_object, activation.credential.encrypted_secret)
    memory.settle_untrusted(activation, answer, NOW)
    finding = verify(shown(tpm, log), kind=kind, **records)
    assert finding.tier is Tier.HARDWARE_ROOTED
    assert statuses(finding)[FactorId.ACTIVATION] is Status.PASS
    # Not without the chain, not for another key beside the same chip, not a day later, not to a stranger.
    other, other_log = chip("other")
    assert verify(shown(tpm, log), kind=kind).tier is Tier.SELF_ASSERTED
    assert verify(shown(other, other_log), kind=kind, **records).tier is Tier.SELF_ASSERTED
    assert verify(shown(tpm, log), kind=kind, now=NOW + 86_400, **records).tier is Tier.SELF_ASSERTED
    assert verify(shown(tpm, log), **records).tier is Tier.SELF_ASSERTED


def test_a_chain_that_does_not_hold_is_a_refusal() -> None:
    tpm, log = chip()
    other, _ = chip("other")
    for records, words in (
        (stapled(tpm, ek=True, issuer=False), "pinned root"),
        (stapled(tpm, ak=True, issuer=False), "pinned root"),
        ({**stapled(tpm), "ak": endorsement(TYPE_AK, der(VENDOR.ak(other)))}, "another key"),
        ({**stapled(tpm), "ak": endorsement(TYPE_AK, der(VENDOR.ek(tpm)))}, "does not say"),
        ({**stapled(tpm, ak=True), "b": endorsement(TYPE_AK, der(VENDOR.ak(tpm)))}, "more certificates"),
        ({**stapled(tpm, ek=True), "b": endorsement(TYPE_EK, der(VENDOR.ek(tpm)))}, "more certificates"),
        ({str(one): endorsement(TYPE_CA, der(VENDOR.issuer)) for one in range(9)}, "more certificates"),
        ({"a": endorsement(TYPE_CA, b"nothing")}, "malformed"),
    ):
        with pytest.raises(VerificationError, match=words) as refused:
            verify(shown(tpm, log), **records)
        assert refused.value.factor == "vendor_chain"


def test_a_certificate_in_another_role_is_no_endorsement() -> None:
    tpm, log = chip()
    records = {label: dataclasses.replace(one, role=Role.REFERENCE) for label, one in stapled(tpm, ak=True).items()}
    assert verify(shown(tpm, log), **records).tier is Tier.SELF_ASSERTED


def test_outside_its_time() -> None:
    tpm, log = chip()
    for now in (1_700_000_000.0, 2_100_000_000.0):
        with pytest.raises(VerificationError, match="not valid at this time"):
            verify(shown(tpm, log), now=now, **stapled(tpm, ak=True))


def test_another_binding() -> None:
    tpm, log = chip()
    for bound in (binding(b"another statement"), b"", BOUND[:31], BOUND + b"\0"):
        with pytest.raises(VerificationError) as refused:
            verify(shown(tpm, log, bound=bound), **stapled(tpm, ak=True))
        assert refused.value.factor == "binding"


def test_the_sha1_bank() -> None:
    tpm, _ = chip()
    record = TpmEvidence(ak_public=tpm.ak_public, parts=tpm.quote(BOUND, [0], SHA1)).to_record()
    with pytest.raises(VerificationError, match="SHA-1"):
        verify(record, **stapled(tpm, ak=True))


def test_without_a_log_nothing_is_said_of_the_start() -> None:
    tpm, log = chip()
    finding = verify(shown(tpm), **stapled(tpm, ak=True))
    assert (finding.tier, statuses(finding)[FactorId.PLATFORM_STATE]) == (Tier.HARDWARE_ROOTED, Status.ABSENT)
    partly = verify(shown(tpm, log, pcrs=range(8, 10)), **stapled(tpm, ak=True))
    assert statuses(partly)[FactorId.PLATFORM_STATE] is Status.ABSENT
    assert partly.claims["secure_boot"] == "unknown"


def test_a_log_of_another_start() -> None:
    tpm, log = chip()
    tpm.extend(4, b"d" * 32)
    with pytest.raises(VerificationError) as refused:
        verify(shown(tpm, log), **stapled(tpm, ak=True))
    assert refused.value.factor == "platform_state"


def table(**entries: object) -> dict[str, object]:
    return {"extra_roots": (ROOT,), **entries}


def test_a_policy_that_requires_secure_boot() -> None:
    tpm, log = chip()
    on = verify(shown(tpm, log), tpm=table(require_secure_boot=True), **stapled(tpm, ak=True))
    assert on.tier is Tier.HARDWARE_ROOTED
    firmware = Firmware(ModelTpm(ek=p256("ek")))
    off_log = firmware.boot(secure_boot=b"\0")
    for record in (shown(firmware.tpm, off_log), shown(firmware.tpm), shown(firmware.tpm, off_log, pcrs=range(7))):
        off = verify(record, tpm=table(require_secure_boot=True), **stapled(firmware.tpm, ak=True))
        assert (off.tier, statuses(off)[FactorId.PLATFORM_STATE]) == (Tier.SELF_ASSERTED, Status.FAIL)
    assert verify(shown(firmware.tpm, off_log), **stapled(firmware.tpm, ak=True)).claims["secure_boot"] == "off"


def test_a_policy_that_lists_registers() -> None:
    tpm, log = chip()
    values = {str(pcr): (bytes(32).hex(), tpm.value(pcr).hex()) for pcr in (0, 2, 4, 7, 8, 9)}
    records = stapled(tpm, ak=True)
    complete = verify(shown(tpm, log), tpm=table(pcrs=values), **records)
    assert (complete.tier, complete.code_measured) == (Tier.HARDWARE_ROOTED, True)
    assert statuses(complete)[FactorId.CODE_MEASUREMENT] is Status.PASS
    for left_out in values:
        fewer = {name: value for name, value in values.items() if name != left_out}
        finding = verify(shown(tpm, log), tpm=table(pcrs=fewer), **records)
        assert (finding.tier, finding.code_measured) == (Tier.HARDWARE_ROOTED, False)
    for wrong in ({"4": (bytes(32).hex(),)}, {"23": (bytes(32).hex(),)}):  # another value; not quoted
        finding = verify(shown(tpm, log), tpm=table(pcrs=values | wrong), **records)
        assert (finding.tier, finding.code_measured) == (Tier.SELF_ASSERTED, False)
        assert statuses(finding)[FactorId.PLATFORM_STATE] is Status.FAIL


def test_measured_code_needs_a_rooted_key() -> None:
    tpm, log = chip()
    values = {str(pcr): (tpm.value(pcr).hex(),) for pcr in (0, 2, 4, 7, 8, 9)}
    finding = verify(shown(tpm, log), tpm=table(pcrs=values))
    assert (finding.tier, finding.code_measured) == (Tier.SELF_ASSERTED, False)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"vendors": ("acme",)}, "not pinned"),
        ({"extra_roots": ("root.pem",)}, "malformed"),
        ({"pcrs": {"24": ("00",)}}, "0 to 23"),
        ({"pcrs": {"07": ("00",)}}, "0 to 23"),
    ],
)
def test_a_policy_that_cannot_be_understood_takes_nothing(entries: dict[str, object], words: str) -> None:
    tpm, log = chip()
    with pytest.raises(VerificationError, match=words):
        verify(shown(tpm, log), tpm=table(**entries), **stapled(tpm, ak=True))


def test_a_vendor_that_is_not_taken() -> None:
    tpm, log = chip()
    finding = verify(shown(tpm, log), tpm=table(vendors=("infineon",)), **stapled(tpm, ak=True))
    assert finding.tier is Tier.HARDWARE_ROOTED  # a root of the asker's own is one by the asker's own word
    with pytest.raises(VerificationError, match="pinned root"):
        verify(shown(tpm, log), tpm={"vendors": ("infineon",)}, **stapled(tpm, ak=True))


def test_one_encoding() -> None:
    tpm, log = chip()
    record = shown(tpm, log)
    assert TpmEvidence.parse_untrusted(record.data).to_record() == record
    for data in (
        record.data + b"\0",
        record.data + b"\x32\x00",
        record.data[:-1],
        record.data + record.data,
        b"\x0a\x00",
    ):
        with pytest.raises(VerificationError) as refused:
            TpmEvidence.parse_untrusted(data)
        assert refused.value.factor == "binding"


def test_evidence_of_nothing() -> None:
    empty = TpmEvidence(ak_public=b"", parts=QuoteParts(attest=b"", signature=b"", values=b"")).to_record()
    with pytest.raises(VerificationError, match="it is cut"):
        verify(empty)


def test_the_fingerprint_is_the_keys_and_stays() -> None:
    tpm, log = chip()
    first, second = verify(shown(tpm, log)), verify(shown(tpm), **stapled(tpm, ak=True))
    assert first.fingerprint == second.fingerprint
    assert verify(shown(chip("other")[0])).fingerprint != first.fingerprint


def test_a_live_answer_of_a_host_with_a_chip() -> None:
    """Through the verifier: the tier, and every factor that it needs."""
    host = ProvenHost()
    answer = host.answer()
    tpm, log = chip()
    records = {"tpm2": shown(tpm, log, bound=binding(answer.host_statement)), **stapled(tpm, ak=True)}
    live = dataclasses.replace(answer, envelope=Envelope(records=records).encode())
    verifier = Verifier(policy=Policy(vendors={"tpm": table()}), registry={TYPE: KIND})
    verdict = judge(host, live, verifier=verifier).verdict
    assert verdict.tier is Tier.HARDWARE_ROOTED
    assert (verdict.code_measured, verdict.operator_blind) == (False, OperatorBlind.NO)

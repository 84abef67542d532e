"""Evidence of TPMs, a model's and a GCE machine's: records, structures, boot logs, certificates, files, proofs."""

from __future__ import annotations

import json
from dataclasses import replace

from fuzz.harness import TESTVECTORS, Harness, Target, holds

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge
from kit.evidence import BOUND, given
from kit.tpm import Firmware, ModelTpm, Vendor, der, p256, pem
from sealmesh.attestation.appraise import appraise_raw_untrusted, appraise_saved_untrusted
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import apple_app_attest
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.vendors.tpm import KIND, RAW_KIND, TYPE
from sealmesh.attestation.vendors.tpm.certificates import (
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory, begin_activation
from sealmesh.attestation.vendors.tpm.eventlog import parse_boot_log_untrusted
from sealmesh.attestation.vendors.tpm.evidence import TYPE_AK, TYPE_CA, TYPE_EK, TpmEvidence, verify_tpm_untrusted
from sealmesh.attestation.vendors.tpm.gotools import parse_attestation_untrusted
from sealmesh.attestation.vendors.tpm.structures import (
    parse_public_untrusted,
    parse_quote_untrusted,
    verify_signature_untrusted,
)
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.attesters.tpm.client import Tpm
from sealmesh.attesters.tpm.wire import parse_response_untrusted
from sealmesh.errors import AttesterError, VerificationError

_REFUSES = (VerificationError,)
_GCE = TESTVECTORS / "evidence/gce"
_FILE = (_GCE / "gce-cos-85-nonce9009.pb").read_bytes()
_TPM = ModelTpm(ek=p256("ek"))
_LOG = Firmware(_TPM).boot()
_QUOTE = _TPM.quote(BOUND)
_PUBLIC = parse_public_untrusted(_TPM.ak_public)
_VENDOR = Vendor()
_EK, _AK, _CA = der(_VENDOR.ek(_TPM)), der(_VENDOR.ak(_TPM)), der(_VENDOR.issuer)
_TRUSTING = Policy(vendors={"tpm": {"extra_roots": (pem(_VENDOR.root).decode(),)}})
_RECORD = TpmEvidence(ak_public=_TPM.ak_public, parts=_QUOTE, event_log=_LOG).to_record()
_RAW = RawInput(data=_FILE, nonce=b"\x90\x09", policy=_TRUSTING, now=NOW)
_MODEL = {"public": _TPM.ak_public, "signature": _QUOTE.signature, "pcrs": _QUOTE.values, "log": _LOG, "ak": _AK}


def _judge(record: Record, ek: bytes = _EK, ak: bytes = _AK, ca: bytes = _CA) -> None:
    stapled = {
        kind: Record(type=kind, data=data, role=Role.ENDORSEMENT)
        for kind, data in ((TYPE_EK, ek), (TYPE_AK, ak), (TYPE_CA, ca))
    }
    evidence = replace(given(record), envelope=Envelope(records={"one": record, **stapled}), policy=_TRUSTING)
    verify_tpm_untrusted(evidence, activated=lambda *_: True)


def _certificates(data: bytes) -> None:
    leaf, *issuers = parse_certificates_untrusted(data)
    verify_endorsement_untrusted(leaf, use=Use.EK, supplied=issuers, extra_roots=(_VENDOR.root,), now=NOW)


def _genuine(data: bytes) -> None:
    leaf, *issuers = parse_certificates_untrusted(data)
    verify_endorsement_untrusted(leaf, use=Use.AK, supplied=issuers, now=NOW)


def _activation(data: bytes) -> None:
    begun = begin_activation(_VENDOR.ek(_TPM).public_key(), bytes(32), _PUBLIC, bytes)  # type: ignore[arg-type]
    ActivationMemory().settle_untrusted(begun, data, NOW)


def _appraise(evidence: RawInput) -> None:
    """`sealmesh verify` raises nothing at all: a refusal is an answer too."""
    appraisal = appraise_raw_untrusted(RAW_KIND, evidence)
    json.dumps(appraisal.describe())
    if not appraisal.verified:
        raise VerificationError("binding", "refused, and said so")


def _save(beside: str = "") -> bytes:
    """A saved proof of a host with a TPM, and perhaps with a record of another type that is none."""
    host = ProvenHost()
    answer = host.answer()
    parts = _TPM.quote(binding(answer.host_statement))
    records = {
        "one": TpmEvidence(ak_public=_TPM.ak_public, parts=parts, event_log=_LOG).to_record(),
        "ak": Record(type=TYPE_AK, data=_AK, role=Role.ENDORSEMENT),
        "ca": Record(type=TYPE_CA, data=_CA, role=Role.ENDORSEMENT),
    }
    if beside:
        records["beside"] = Record(type=beside, data=b"\xa0", role=Role.EVIDENCE)
    return SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=Envelope(records=records).encode(),
        epoch=host.epoch(),
    ).encode()


def _saved(data: bytes) -> None:
    appraisal = appraise_saved_untrusted(data, policy=_TRUSTING.at_least(Tier.HARDWARE_ROOTED), now=NOW)
    json.dumps(appraisal.describe())
    if not appraisal.verified:
        raise VerificationError("binding", "refused, and said so")


def _attest(data: bytes) -> None:
    ca = pem(_VENDOR.issuer)
    _appraise(replace(_RAW, data=data, nonce=BOUND, given={**_MODEL, "ca": ca}))


class _Answers:
    """A chip that gives the same answer to everything."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:  # noqa: ARG002 - the contract's
        return self._answer

    def close(self) -> None:
        pass


def _asks(data: bytes) -> None:
    """Each question to such a chip: an answer, or the one error."""
    tpm, errors = Tpm(_Answers(data), random=bytes), 0
    for ask in (
        lambda: tpm.properties(0x105, 5),
        lambda: tpm.handles(0x80000000),
        lambda: tpm.nv_read(0x01C00002),
        lambda: tpm.pcr_read((0, 7)),
        lambda: tpm.quote(1, b"", (0,)),
        lambda: tpm.activate(1, 2, b"", b""),
        lambda: tpm.create_sealed(1, b"", b"x"),
        lambda: tpm.unseal(1),
    ):
        try:
            ask()
        except AttesterError:
            errors += 1
    if errors == 8:
        raise AttesterError("nothing was taken")


_GOOD = bytes.fromhex("8001 00000013 00000000 00 00000006 00000000".replace(" ", ""))

_VERIFIER = Verifier(policy=_TRUSTING, registry={TYPE: KIND})


def _certified(host_statement: bytes) -> bytes:
    record = TpmEvidence(ak_public=_TPM.ak_public, parts=_TPM.quote(binding(host_statement))).to_record()
    ak, ca = (Record(type=kind, data=data, role=Role.ENDORSEMENT) for kind, data in ((TYPE_AK, _AK), (TYPE_CA, _CA)))
    return Envelope(records={"tpm2": record, "ak": ak, "ca": ca}).encode()


def _live() -> HostVerdict:
    answer = ProvenHost().answer()
    return judge(ProvenHost(), replace(answer, envelope=_certified(answer.host_statement)), verifier=_VERIFIER)


_VERDICT = _live()
_LATER = ProvenHost().statement(NOW + 300).encode()


def _extend(data: bytes) -> None:
    extended = _VERIFIER.extend_untrusted(_VERDICT, _LATER, data, now=NOW + 301)
    holds(extended is None or extended.confirmed_at <= NOW + 301)


_TPM.clock += 300_000
_STANDING = _certified(_LATER)

HARNESS = Harness(
    extension=Target(_extend, _REFUSES, [_STANDING]),
    record=Target(lambda data: _judge(replace(_RECORD, data=data)), _REFUSES, [_RECORD.data]),
    ek=Target(lambda data: _judge(_RECORD, ek=data), _REFUSES, [_EK]),
    ak=Target(lambda data: _judge(_RECORD, ak=data), _REFUSES, [_AK]),
    ca=Target(lambda data: _judge(_RECORD, ca=data), _REFUSES, [_CA]),
    root=Target(lambda data: _appraise(replace(_RAW, given={"root": data})), _REFUSES, [der(_VENDOR.root)]),
    public=Target(parse_public_untrusted, _REFUSES, [_TPM.ak_public]),
    quote=Target(parse_quote_untrusted, _REFUSES, [_QUOTE.attest]),
    tpm_signature=Target(
        lambda data: verify_signature_untrusted(_PUBLIC, _QUOTE.attest, data), _REFUSES, [_QUOTE.signature]
    ),
    log=Target(parse_boot_log_untrusted, _REFUSES, [_LOG, parse_attestation_untrusted(_FILE).event_log]),
    certificates=Target(_certificates, _REFUSES, [pem(_VENDOR.ek(_TPM), _VENDOR.issuer), _EK]),
    genuine=Target(_genuine, _REFUSES, [(_GCE / "pca_tpm_ecc_sign_cert.pem").read_bytes()]),
    attestation=Target(parse_attestation_untrusted, _REFUSES, [_FILE]),
    file=Target(lambda data: _appraise(replace(_RAW, data=data)), _REFUSES, [_FILE]),
    attest=Target(_attest, _REFUSES, [_QUOTE.attest]),
    saved=Target(_saved, _REFUSES, [_save(), _save(beside=apple_app_attest.TYPE)]),
    activation=Target(_activation, _REFUSES, [bytes(32)]),
    chip_response=Target(parse_response_untrusted, (AttesterError,), [_GOOD, b"\x80\x02\x00\x00\x00\x0e" + bytes(8)]),
    chip_answers=Target(_asks, (AttesterError,), [_GOOD]),
)

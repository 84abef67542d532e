"""Appraisals by a stranger: saved proofs and raw files, what each context demands, and how a command ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost
from sealmesh.attestation.appraise import (
    REQUIRED,
    Appraisal,
    Context,
    Outcome,
    appraise_raw_untrusted,
    appraise_saved_untrusted,
    outcome_of,
)
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import software
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.errors import VerificationError

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "reference" / "verify.schema.json").read_text())
ANY = Policy()
HARDWARE = Policy(minimum=Tier.HARDWARE_ROOTED)


def saved(host: ProvenHost | None = None, **changes: object) -> bytes:
    host = host or ProvenHost()
    answer = host.answer(others=3)
    proof = SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    )
    return replace(proof, **changes).encode()  # type: ignore[arg-type]


def judge(data: bytes, policy: Policy = ANY, *, now: float = NOW + 86_400, at: float | None = None) -> Appraisal:
    appraisal = appraise_saved_untrusted(data, policy=policy, now=now, at=at)
    jsonschema.validate(json.loads(json.dumps(appraisal.describe())), SCHEMA)
    return appraisal


def failed(appraisal: Appraisal) -> list[str]:
    return [one.id for one in appraisal.factors if one.status is Status.FAIL]


# --- saved proofs -------------------------------------------------------------------------------------------------


def test_a_saved_proof_of_a_software_key_is_self_asserted() -> None:
    appraisal = judge(saved())
    assert appraisal.verified
    assert appraisal.tier is appraisal.tier_if_bound is Tier.SELF_ASSERTED
    assert not appraisal.code_measured
    assert appraisal.operator_blind is OperatorBlind.NO
    assert appraisal.claims["endpoint_id"] == ProvenHost().endpoint_id.hex()
    assert appraisal.claims["saved_at"] == "2027-01-15T08:00:00Z"
    assert appraisal.outcome is Outcome.VERIFIED


def test_without_a_policy_it_takes_hardware() -> None:
    appraisal = appraise_saved_untrusted(saved(), now=NOW)
    assert not appraisal.verified
    assert appraisal.tier is Tier.SELF_ASSERTED
    assert appraisal.outcome is Outcome.REFUSED
    assert "hardware-rooted" in appraisal.reasons[0]


def test_what_only_the_saver_saw_is_the_savers_word() -> None:
    sources = {one.factor: one.source for one in judge(saved()).factors if one.status is Status.PASS}
    for factor in (FactorId.ENDPOINT_ID, FactorId.FRESHNESS, FactorId.OWN_NONCE):
        assert sources[factor] is Source.SELF_ASSERTED
    assert Source.PEER_WITNESSED not in sources.values()


def other_host() -> bytes:
    return ProvenHost("other").endpoint_id


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "trailing bytes": (lambda: saved() + b"\x00", "binding"),
    "cut": (lambda: saved()[:-1], "binding"),
    "empty": (lambda: b"", "binding"),
    "another host's evidence": (lambda: saved(envelope=ProvenHost("other").answer().envelope), "binding"),
    "another host's name on it": (lambda: saved(endpoint_id=other_host()), "endpoint_id"),
    "another nonce": (lambda: saved(nonce=bytes(32)), "own_nonce"),
    "another verifier's challenge": (lambda: saved(verifier_id=bytes(32)), "own_nonce"),
    "another host's keys": (lambda: saved(epoch=ProvenHost("other").epoch()), "epoch_statement"),
    "keys that had ended": (lambda: saved(epoch=ProvenHost().epoch(NOW - 600)), "epoch_statement"),
    "saved after the statement ended": (lambda: saved(saved_at=NOW + 3600), "freshness"),
    "saved before the statement": (lambda: saved(saved_at=NOW - 61), "freshness"),
    "saved tomorrow": (lambda: saved(saved_at=NOW + 2 * 86_400), "freshness"),
    "no evidence in it": (
        lambda: saved(envelope=Envelope(records={"x": Record(type="x", data=b"", role=Role.EVIDENCE)}).encode()),
        "binding",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_proof_that_does_not_hold_is_refused_by_its_factor(case: str) -> None:
    make, factor = REFUSED[case]
    appraisal = judge(make())
    assert not appraisal.verified
    assert appraisal.tier is appraisal.tier_if_bound is Tier.NONE
    assert failed(appraisal) == [factor]
    assert appraisal.reasons[0].startswith(f"{factor}: ")
    seen = {one.factor for one in appraisal.factors}
    assert set(REQUIRED[Context.SAVED]) <= seen


def test_a_time_can_be_given() -> None:
    assert judge(saved(), at=NOW + 200).verified
    assert failed(judge(saved(), at=NOW + 3600)) == ["freshness"]  # the statement had ended
    assert failed(judge(saved(), at=NOW - 61)) == ["freshness"]  # it was not saved yet
    assert failed(judge(saved(), at=NOW + 301)) == ["epoch_statement"]


def test_the_readers_policy_decides() -> None:
    assert not judge(saved(), parse_policy_untrusted(b"max_age = 60"), at=NOW + 61).verified
    assert judge(saved(), parse_policy_untrusted(b"max_age = 60"), at=NOW + 60).verified
    assert judge(saved(), parse_policy_untrusted(b'backend = "in-process"')).verified
    assert not judge(saved(ProvenHost(suites=(1,))), parse_policy_untrusted(b'suites = ["xwing"]')).verified
    blessed = f'[measurement]\nblessed = ["{"00" * 32}"]'
    assert not judge(saved(), parse_policy_untrusted(blessed.encode())).verified
    exception = f'minimum = "confidential"\n[[exception]]\nkey = "{ProvenHost().endpoint_id.hex()}"\n'
    granted = exception + 'tier = "self-asserted"\nuntil = 2030-01-01T00:00:00Z\n'
    assert judge(saved(), parse_policy_untrusted(granted.encode())).verified
    assert not judge(saved(), parse_policy_untrusted(granted.replace("2030", "2027", 1).encode())).verified


def test_a_failed_record_lowers_the_tier_of_a_saved_proof() -> None:
    """A file with good software evidence beside hardware evidence that fails is what the software shows."""

    def refuse(_: EvidenceInput) -> Finding:
        raise VerificationError("vendor_chain", "a forged chain")

    host = ProvenHost()
    statement = SavedProof.parse_untrusted(saved(host)).host_statement
    evidence = Envelope(
        records={
            software.LABEL: software.make_record(host.endpoint_key, binding(statement)),
            "chip": Record(type="chip", data=b"x", role=Role.EVIDENCE),
        }
    ).encode()
    registry = {
        software.TYPE: software.KIND,
        "chip": EvidenceKind(verify_untrusted=refuse, ceiling=Tier.CONFIDENTIAL),
    }
    appraisal = appraise_saved_untrusted(saved(host, envelope=evidence), policy=HARDWARE, now=NOW, registry=registry)
    assert appraisal.tier is Tier.SELF_ASSERTED
    assert failed(appraisal) == ["vendor_chain"]
    assert not appraisal.verified


def test_no_bit_of_a_proof_can_be_changed_unseen() -> None:
    """Every flip is refused, but for the time, which is the saver's word, and the label inside the envelope."""
    data = saved()
    proof = SavedProof.parse_untrusted(data)
    challenge = data.index(proof.endpoint_id + proof.verifier_id)
    label = data.index(software.LABEL.encode())
    free = {*range(challenge + 96, challenge + 104), *range(label, label + len(software.LABEL))}
    unseen = []
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        appraisal = appraise_saved_untrusted(bytes(flipped), policy=ANY, now=NOW + 86_400)
        assert appraisal.tier <= Tier.SELF_ASSERTED
        if appraisal.verified and position not in free:
            unseen.append(position)
    assert unseen == []


PROOF = saved()


@given(data=st.binary(max_size=400))
def test_no_bytes_are_a_proof_and_none_escape(data: bytes) -> None:
    appraisal = judge(data)
    assert not appraisal.verified
    assert appraisal.tier is Tier.NONE


@given(cut=st.integers(0, 4000), more=st.binary(max_size=20), rest=st.booleans())
def test_a_proof_that_is_cut_or_stuffed_is_refused(cut: int, more: bytes, rest: bool) -> None:
    data = PROOF
    cut %= len(data)
    changed = data[:cut] + more + (data[cut + len(more) :] if rest else data[cut:])
    appraisal = judge(changed)
    assert appraisal.tier <= Tier.SELF_ASSERTED
    if len(changed) != len(data):
        assert not appraisal.verified


# --- raw files ----------------------------------------------------------------------------------------------------


def passed(factor: FactorId, status: Status = Status.PASS) -> Factor:
    return Factor(factor=factor, status=status, source=Source.HARDWARE, reason=f"{factor.id} was looked at")


GOOD = RawFinding(
    tier_if_bound=Tier.CONFIDENTIAL,
    bound=True,
    factors=tuple(
        passed(one)
        for one in (
            FactorId.BINDING,
            FactorId.ATTESTATION_KEY,
            FactorId.VENDOR_CHAIN,
            FactorId.PLATFORM_STATE,
            FactorId.CODE_MEASUREMENT,
        )
    ),
    code_measured=True,
    operator_blind=OperatorBlind.SOFTWARE,
    claims={"chip": "x"},
)
UNASKED = replace(GOOD, bound=False, factors=(passed(FactorId.BINDING, Status.ABSENT), *GOOD.factors[1:]))


def judge_raw(
    finding: RawFinding | VerificationError,
    policy: Policy = HARDWARE,
    *,
    nonce: bytes | None = b"n",
    unbound: bool = False,
) -> Appraisal:
    def answer(_: RawInput) -> RawFinding:
        if isinstance(finding, VerificationError):
            raise finding
        return finding

    kind = RawKind(name="sev-snp", judge_untrusted=answer)
    appraisal = appraise_raw_untrusted(kind, RawInput(data=b"x", nonce=nonce, policy=policy, now=NOW), unbound=unbound)
    jsonschema.validate(json.loads(json.dumps(appraisal.describe())), SCHEMA)
    return appraisal


def without(finding: RawFinding, *gone: FactorId) -> RawFinding:
    return replace(finding, factors=tuple(one for one in finding.factors if one.factor not in gone))


def with_status(finding: RawFinding, factor: FactorId, status: Status) -> RawFinding:
    return replace(finding, factors=(*without(finding, factor).factors, passed(factor, status)))


def test_a_bound_file_is_verified_at_its_tier() -> None:
    appraisal = judge_raw(GOOD)
    assert appraisal.verified
    assert appraisal.tier is appraisal.tier_if_bound is Tier.CONFIDENTIAL
    assert appraisal.code_measured
    assert appraisal.operator_blind is OperatorBlind.SOFTWARE
    assert appraisal.claims == {"chip": "x"}


def test_a_file_that_nothing_was_asked_of_proves_nothing() -> None:
    """Genuine evidence of another's machine, or of last year: the tier that it would have is named, no more."""
    appraisal = judge_raw(UNASKED, ANY, nonce=None)
    assert not appraisal.verified
    assert appraisal.tier is Tier.NONE
    assert appraisal.tier_if_bound is Tier.CONFIDENTIAL
    assert not appraisal.code_measured
    assert appraisal.operator_blind is OperatorBlind.NO
    assert failed(appraisal) == ["binding"]


def test_a_verifier_that_calls_it_bound_unasked_is_not_believed() -> None:
    assert not judge_raw(GOOD, nonce=None).verified


def test_unbound_is_accepted_by_name_and_shown() -> None:
    appraisal = judge_raw(UNASKED, nonce=None, unbound=True)
    assert appraisal.verified
    assert appraisal.tier is Tier.CONFIDENTIAL
    assert [one.status for one in appraisal.factors if one.factor is FactorId.BINDING] == [Status.ABSENT]


@pytest.mark.parametrize(
    "finding",
    [
        with_status(GOOD, FactorId.BINDING, Status.FAIL),
        replace(with_status(GOOD, FactorId.BINDING, Status.FAIL), bound=False),
        replace(GOOD, bound=False),
        without(GOOD, FactorId.BINDING),
        UNASKED,
        with_status(UNASKED, FactorId.BINDING, Status.ABSENT),
    ],
)
def test_a_file_that_binds_something_else_is_refused(finding: RawFinding) -> None:
    for unbound in (False, True):
        appraisal = judge_raw(finding, ANY, unbound=unbound)
        assert not appraisal.verified
        assert appraisal.tier is Tier.NONE
        assert failed(appraisal) == ["binding"]


def test_unbound_does_not_excuse_what_its_own_verifier_calls_wrong() -> None:
    wrong = with_status(UNASKED, FactorId.BINDING, Status.FAIL)
    assert not judge_raw(wrong, ANY, nonce=None, unbound=True).verified


@pytest.mark.parametrize("missing", [FactorId.VENDOR_CHAIN])
def test_a_required_factor_that_is_absent_is_a_failure(missing: FactorId) -> None:
    for finding in (without(GOOD, missing), with_status(GOOD, missing, Status.ABSENT)):
        appraisal = judge_raw(finding, ANY)
        assert not appraisal.verified
        assert appraisal.tier <= Tier.SELF_ASSERTED
        assert failed(appraisal) == [missing.id]


def test_a_tier_needs_all_of_its_factors() -> None:
    assert judge_raw(without(GOOD, FactorId.CODE_MEASUREMENT)).tier is Tier.HARDWARE_ROOTED
    assert judge_raw(with_status(GOOD, FactorId.CODE_MEASUREMENT, Status.ABSENT)).tier is Tier.HARDWARE_ROOTED
    assert not judge_raw(without(GOOD, FactorId.CODE_MEASUREMENT), Policy(minimum=Tier.CONFIDENTIAL)).verified
    lowered = judge_raw(with_status(GOOD, FactorId.PLATFORM_STATE, Status.FAIL))
    assert lowered.tier is lowered.tier_if_bound is Tier.SELF_ASSERTED
    assert not lowered.verified


def test_a_demand_for_accelerators_holds_for_files_too() -> None:
    demanding = parse_policy_untrusted(b"[gpu]\nrequired = true")
    for finding in (GOOD, with_status(GOOD, FactorId.ACCELERATORS, Status.ABSENT)):
        appraisal = judge_raw(finding, demanding)
        assert not appraisal.verified
        assert failed(appraisal) == ["accelerators"]
    assert judge_raw(with_status(GOOD, FactorId.ACCELERATORS, Status.PASS), demanding).verified


def test_evidence_that_does_not_hold_names_its_factor() -> None:
    appraisal = judge_raw(VerificationError("vendor_chain", "a home-made root"), ANY, unbound=True, nonce=None)
    assert not appraisal.verified
    assert appraisal.tier is appraisal.tier_if_bound is Tier.NONE
    assert failed(appraisal) == ["vendor_chain"]
    odd = judge_raw(VerificationError("something_else", "is wrong"), ANY)
    assert failed(odd) == ["binding"]
    assert "something_else" in odd.factors[0].reason


def test_the_worst_of_several_counts() -> None:
    good, bad = judge_raw(GOOD), judge_raw(UNASKED)
    assert outcome_of([good]) == 0
    assert outcome_of([good, bad, good]) == 1
    assert outcome_of([]) == 2


def test_the_schema_knows_just_what_the_code_knows() -> None:
    factor = SCHEMA["$defs"]["factor"]["properties"]
    assert factor["id"]["enum"] == [one.id for one in FactorId]
    assert factor["number"]["maximum"] == max(one.number for one in FactorId)
    assert factor["status"]["enum"] == [one.value for one in Status]
    assert factor["source"]["enum"] == [one.value for one in Source]
    assert SCHEMA["$defs"]["tier"]["enum"] == [one.label for one in Tier]
    assert SCHEMA["properties"]["operator_blind"]["enum"] == [one.value for one in OperatorBlind]

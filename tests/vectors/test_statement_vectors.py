"""Our vectors of statements: each scenario does what its file says, and the files are what the generator writes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sealmesh.attestation.challenge import (
    Activate,
    ActivatedAnswer,
    Challenge,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    encode_answer,
    encode_request,
    leaf,
    parse_answer_untrusted,
    parse_request_untrusted,
)
from sealmesh.attestation.envelope import Envelope, evidence_digest
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import EpochStatement, HostStatement, binding, statement_digest
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.errors import RemoteProtocolError, VerificationError
from sealmesh.identity.signed import Signed

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "testvectors/statements"
SCENARIOS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def of_kind(kind: str, *, good: bool | None = None) -> list[str]:
    return [
        name
        for name, content in SCENARIOS.items()
        if content["kind"] == kind and (good is None or (content["expected"]["failure"] is None) is good)
    ]


def read(name: str, field: str) -> bytes:
    return bytes.fromhex(SCENARIOS[name][field])


def judge(name: str) -> HostVerdict:
    return Verifier(policy=Policy()).verify_live_untrusted(
        ProofAnswer(
            host_statement=read(name, "host_statement"),
            envelope=read(name, "envelope"),
            path=read(name, "path"),
            keys=b"-",
        ),
        epochs=(Signed(part=read(name, "epoch_statement"), signature=read(name, "epoch_signature")),),
        endpoint_id=read(name, "endpoint_id"),
        nonce=read(name, "nonce"),
        verifier_id=read(name, "verifier_id"),
        now=SCENARIOS[name]["now_ms"] / 1000,
    )


@pytest.mark.parametrize("name", of_kind("live", good=True))
def test_answers_that_hold(name: str) -> None:
    scenario, verdict = SCENARIOS[name], judge(name)
    assert verdict.verdict.tier.label == scenario["expected"]["tier"]
    signed = Signed(part=read(name, "epoch_statement"), signature=read(name, "epoch_signature"))
    host = verdict.host_for(signed, scenario["now_ms"] / 1000)
    assert host.epoch_digest.hex() == scenario["derived"]["epoch_digest"]
    assert host.evidence_digest.hex() == scenario["derived"]["evidence_digest"]


@pytest.mark.parametrize("name", of_kind("live", good=False))
def test_answers_that_do_not_hold(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        judge(name)
    assert caught.value.factor == SCENARIOS[name]["expected"]["failure"]


@pytest.mark.parametrize("name", of_kind("live"))
def test_intermediate_values(name: str) -> None:
    derived = SCENARIOS[name]["derived"]
    assert leaf(read(name, "nonce"), read(name, "verifier_id")).hex() == derived["leaf"]
    assert binding(read(name, "host_statement")).hex() == derived["binding"]
    assert statement_digest(read(name, "epoch_statement")).hex() == derived["epoch_digest"]
    assert evidence_digest(read(name, "envelope")).hex() == derived["evidence_digest"]


def test_our_encoders_write_the_same_bytes() -> None:
    assert HostStatement.parse_untrusted(read("honest", "host_statement")).encode() == read("honest", "host_statement")
    epoch = read("honest", "epoch_statement")
    assert EpochStatement.parse_untrusted(epoch).encode() == epoch
    for name in ("honest", "boasting", "p256"):
        assert Envelope.parse_untrusted(read(name, "envelope")).encode() == read(name, "envelope")


def test_the_saved_proof() -> None:
    scenario = SCENARIOS["saved-proof"]
    proof = SavedProof.parse_untrusted(read("saved-proof", "file"))
    assert proof.encode() == read("saved-proof", "file")
    verdict = Verifier(policy=Policy()).verify_live_untrusted(
        ProofAnswer(host_statement=proof.host_statement, envelope=proof.envelope, path=proof.path, keys=b"-"),
        epochs=(proof.epoch,),
        endpoint_id=proof.endpoint_id,
        nonce=proof.nonce,
        verifier_id=proof.verifier_id,
        now=proof.saved_at,
    )
    assert verdict.verdict.tier.label == scenario["expected"]["tier"]
    assert proof.endpoint_id.hex() == scenario["expected"]["endpoint_id"]
    assert proof.saved_at * 1000 == scenario["expected"]["now_ms"]


@pytest.mark.parametrize("name", of_kind("request"))
def test_requests(name: str) -> None:
    expected: dict[str, Any] = SCENARIOS[name]["expected"]
    data = read(name, "message")
    if expected["failure"]:
        with pytest.raises(RemoteProtocolError):
            parse_request_untrusted(data)
        return
    request = parse_request_untrusted(data)
    match request:
        case GetKeys():
            assert request.endpoint_id.hex() == expected["get_keys"]
        case Challenge():
            assert request.nonce.hex() == expected["challenge"]
        case Activate():
            assert [request.id_object.hex(), request.encrypted_secret.hex()] == expected["activate"]
    assert encode_request(request) == data


@pytest.mark.parametrize("name", of_kind("answer"))
def test_answers(name: str) -> None:
    expected: dict[str, Any] = SCENARIOS[name]["expected"]
    data = read(name, "message")
    if expected["failure"]:
        with pytest.raises(RemoteProtocolError):
            parse_answer_untrusted(data)
        return
    answer = parse_answer_untrusted(data)
    match answer:
        case KeysAnswer():
            assert answer.keys.hex() == expected["keys"]
        case RefusedAnswer():
            assert answer.code == expected["refused"]
        case ProofAnswer():
            assert answer.path.hex() == expected["path"]
        case ActivatedAnswer():
            assert answer.secret.hex() == expected["activated"]
    assert encode_answer(answer) == data


def test_the_files_are_what_the_generator_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("generate_statements", ROOT / "testvectors/generate_statements.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "generate_statements", generator)
    monkeypatch.setattr(sys, "argv", ["generate_statements.py", "--check"])
    spec.loader.exec_module(generator)
    assert generator.main() == 0


def test_every_rule_that_a_vector_cites_exists() -> None:
    texts = [(ROOT / "docs/spec" / name).read_text() for name in ("statements.md", "challenge.md")]
    for name, scenario in SCENARIOS.items():
        for rule in scenario["rules"]:
            assert any(f"[{rule}]" in text for text in texts), (name, rule)

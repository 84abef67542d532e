"""Statements, evidence, challenges, saved proofs and policies."""

from __future__ import annotations

import asyncio
import dataclasses

from fuzz.harness import Harness, Target, holds, vectors

from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost, judge, make_random
from sealmesh.attestation.challenge import (
    Challenge,
    GetKeys,
    KeysAnswer,
    RefusedAnswer,
    check_own_nonce_untrusted,
    encode_answer,
    encode_request,
    parse_answer_untrusted,
    parse_request_untrusted,
)
from sealmesh.attestation.envelope import Envelope, Record, Role, check_plain_cbor_untrusted
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import EpochStatement, HostStatement
from sealmesh.attestation.vendors.base import EvidenceInput
from sealmesh.attestation.vendors.software import TYPE, make_record, verify_software_untrusted
from sealmesh.attestation.verifier import Verifier
from sealmesh.client.challenge import HostLink
from sealmesh.client.verify import HostVerifier
from sealmesh.errors import ConfigError, RemoteProtocolError, TransportError, VerificationError
from sealmesh.identity.signed import Signed
from sealmesh.node.keyexport import IssuerExport

_HOST = ProvenHost()
_ANSWER = _HOST.answer()
_EPOCH = _HOST.epoch()
_KEYS = _HOST.keys_part()
_STANDING = _HOST.statement().encode()
_PROOF = SavedProof(
    endpoint_id=_HOST.endpoint_id,
    verifier_id=VERIFIER_ID,
    nonce=NONCE,
    path=_ANSWER.path,
    saved_at=NOW,
    host_statement=_ANSWER.host_statement,
    envelope=_ANSWER.envelope,
    epoch=_EPOCH,
).encode()
_ISSUER_EXPORT = b"sealmesh-issuer-export-1 " + b" ".join((b"ab" * 32, b"cd" * 16, b"ef" * 48)) + b"\n"
_POLICY = b"""
minimum = "hardware-rooted"
max_age = 120
suites = ["xwing"]
[tpm]
require_secure_boot = true
pcrs = { 0 = ["abab"] }
[snp]
min_tcb = { snp = 8 }
"""
_REFUSES = (VerificationError,)
_LIVE = list(vectors("statements", kind="live"))


def _hexed(name: str) -> list[bytes]:
    return [bytes.fromhex(scenario[name]) for scenario in _LIVE]


def _software(data: bytes) -> None:
    record = Record(type=TYPE, data=data, role=Role.EVIDENCE)
    verify_software_untrusted(
        EvidenceInput(
            record=record,
            envelope=Envelope(records={"a": record}),
            binding=b"b" * 32,
            statement=_HOST.statement(),
            endpoint_id=_HOST.endpoint_id,
            policy=Policy(),
            now=NOW,
        )
    )


def _live_statement(data: bytes) -> None:
    judge(_HOST, dataclasses.replace(_ANSWER, host_statement=data))
    holds(data == _ANSWER.host_statement)


def _live_envelope(data: bytes) -> None:
    holds(judge(_HOST, dataclasses.replace(_ANSWER, envelope=data)).verdict.tier <= Tier.SELF_ASSERTED)


def _live_epoch(data: bytes) -> None:
    judge(_HOST).host_for(Signed(part=data, signature=_EPOCH.signature), NOW)
    holds(data == _EPOCH.part)


def _standing(data: bytes) -> None:
    Verifier(policy=Policy()).verify_standing_untrusted(
        data, _HOST.envelope(_STANDING), endpoint_id=_HOST.endpoint_id, now=NOW
    )


def _offer(data: bytes) -> None:
    async def connect(_: bytes) -> HostLink:
        raise TransportError("nobody")

    verifier = HostVerifier(
        endpoint_id=VERIFIER_ID,
        policy=Policy(),
        connect=connect,
        now=lambda: NOW,
        elapsed=lambda: 0.0,
        random=make_random(),
        sleep=asyncio.sleep,
    )
    verifier.offer_keys_untrusted(_HOST.endpoint_id, data)
    holds(verifier.verified(_HOST.endpoint_id, NOW) is None)


def _answer(data: bytes) -> None:
    answer = parse_answer_untrusted(data)
    holds(parse_answer_untrusted(encode_answer(answer)) == answer)


def _request(data: bytes) -> None:
    request = parse_request_untrusted(data)
    holds(parse_request_untrusted(encode_request(request)) == request)


HARNESS = Harness(
    host_statement=Target(HostStatement.parse_untrusted, _REFUSES, _hexed("host_statement")),
    epoch_statement=Target(EpochStatement.parse_untrusted, _REFUSES, _hexed("epoch_statement")),
    envelope=Target(Envelope.parse_untrusted, _REFUSES, _hexed("envelope")),
    plain_cbor=Target(check_plain_cbor_untrusted, _REFUSES, _hexed("envelope")),
    path=Target(
        lambda data: check_own_nonce_untrusted(b"r" * 32, data, nonce=NONCE, verifier_id=VERIFIER_ID),
        _REFUSES,
        _hexed("path"),
    ),
    live_statement=Target(_live_statement, _REFUSES, [_ANSWER.host_statement]),
    live_envelope=Target(_live_envelope, _REFUSES, [_ANSWER.envelope]),
    live_epoch=Target(_live_epoch, _REFUSES, [_EPOCH.part]),
    standing=Target(_standing, _REFUSES, [_STANDING]),
    software=Target(_software, _REFUSES, [make_record(_HOST.endpoint_key, b"b" * 32).data]),
    proof=Target(SavedProof.parse_untrusted, _REFUSES, [_PROOF]),
    offered_keys=Target(_offer, _REFUSES, [_KEYS]),
    request=Target(
        _request,
        (RemoteProtocolError,),
        [encode_request(Challenge(nonce=NONCE)), encode_request(GetKeys(endpoint_id=NONCE))],
    ),
    answer=Target(
        _answer,
        (RemoteProtocolError,),
        [
            encode_answer(_ANSWER),
            encode_answer(KeysAnswer(keys=_KEYS)),
            encode_answer(RefusedAnswer(code=1)),
            *(bytes.fromhex(one["message"]) for one in vectors("statements", kind="answer")),
        ],
    ),
    issuer_export=Target(IssuerExport.decode_untrusted, (ConfigError,), [_ISSUER_EXPORT]),
    policy=Target(parse_policy_untrusted, (ConfigError,), [_POLICY]),
)

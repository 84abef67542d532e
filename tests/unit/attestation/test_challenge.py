"""The Merkle tree over waiting nonces, and the messages of the challenge stream."""

from __future__ import annotations

import hashlib

import pytest

from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.attestation.challenge import (
    Challenge,
    ChallengeRefusal,
    ChallengeTree,
    GetKeys,
    KeysAnswer,
    ProofAnswer,
    RefusedAnswer,
    check_own_nonce_untrusted,
    encode_answer,
    encode_request,
    leaf,
    parse_answer_untrusted,
    parse_request_untrusted,
)
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.limits import CHALLENGE_BATCH_MAX, EVIDENCE_MAX, KEYS_PART_MAX, MERKLE_PATH_MAX


def nonce(number: int) -> bytes:
    return hashlib.sha256(b"nonce %d" % number).digest()


def verifier(number: int) -> bytes:
    return hashlib.sha256(b"verifier %d" % number).digest()


def tree_of(count: int) -> ChallengeTree:
    return ChallengeTree([leaf(nonce(one), verifier(one)) for one in range(count)])


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 31, 64, 65])
def test_every_verifier_of_a_batch_finds_its_own_nonce(count: int) -> None:
    tree = tree_of(count)
    for one in range(count):
        check_own_nonce_untrusted(tree.root, tree.path(one), nonce=nonce(one), verifier_id=verifier(one))


def test_the_largest_batch_has_paths_within_the_limit() -> None:
    tree = tree_of(CHALLENGE_BATCH_MAX)
    assert max(len(tree.path(one)) for one in range(CHALLENGE_BATCH_MAX)) == MERKLE_PATH_MAX * 33
    check_own_nonce_untrusted(tree.root, tree.path(1000), nonce=nonce(1000), verifier_id=verifier(1000))


@pytest.mark.parametrize("count", [0, CHALLENGE_BATCH_MAX + 1])
def test_a_batch_has_bounds(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        tree_of(count)


def test_the_tree_of_three_is_what_the_spec_says() -> None:
    leaves = [sha(b"\x00" + nonce(one) + verifier(one)) for one in range(3)]
    inner = sha(b"\x01" + leaves[0] + leaves[1])
    tree = tree_of(3)
    assert tree.root == sha(b"\x01" + inner + leaves[2])
    assert tree.path(0) == b"\x01" + leaves[1] + b"\x01" + leaves[2]
    assert tree.path(1) == b"\x00" + leaves[0] + b"\x01" + leaves[2]
    assert tree.path(2) == b"\x00" + inner


@pytest.mark.parametrize(
    "path",
    [b"", b"\x00" * 32, b"\x02" + b"s" * 32, b"\x00" * 33 * (MERKLE_PATH_MAX + 1), b"\x00" + b"s" * 32],
    ids=["short", "cut", "side", "deep", "other"],
)
def test_a_wrong_path_is_refused(path: bytes) -> None:
    tree = tree_of(2)
    with pytest.raises(VerificationError, match="own_nonce"):
        check_own_nonce_untrusted(tree.root, path, nonce=nonce(0), verifier_id=verifier(0))


def test_a_statement_without_a_root_answers_no_challenge() -> None:
    with pytest.raises(VerificationError, match="answers no challenge"):
        check_own_nonce_untrusted(b"", b"", nonce=nonce(0), verifier_id=verifier(0))


def test_an_inner_node_is_no_leaf() -> None:
    # Without separate first bytes an inner node's children could be read as a nonce and an endpoint id.
    tree = tree_of(4)
    left = sha(b"\x00" + nonce(0) + verifier(0))
    right = sha(b"\x00" + nonce(1) + verifier(1))
    path = b"\x01" + sha(b"\x01" + sha(b"\x00" + nonce(2) + verifier(2)) + sha(b"\x00" + nonce(3) + verifier(3)))
    with pytest.raises(VerificationError):
        check_own_nonce_untrusted(tree.root, path, nonce=left, verifier_id=right)


@pytest.mark.parametrize("request_", [GetKeys(endpoint_id=b"e" * 32), Challenge(nonce=b"n" * 32)])
def test_requests_read_as_they_were_written(request_: GetKeys | Challenge) -> None:
    assert parse_request_untrusted(encode_request(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [
        KeysAnswer(keys=b"k"),
        ProofAnswer(host_statement=b"h", envelope=b"e", path=b"", keys=b"k"),
        RefusedAnswer(code=ChallengeRefusal.BUSY),
        RefusedAnswer(code=99),
    ],
)
def test_answers_read_as_they_were_written(answer: KeysAnswer | ProofAnswer | RefusedAnswer) -> None:
    assert parse_answer_untrusted(encode_answer(answer)) == answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        pb.Request(get_keys=b"e" * 31).SerializeToString(),
        pb.Request(challenge=b"").SerializeToString(),
        pb.Request(challenge=b"n" * 32).SerializeToString() + b"\x00" * 64,
    ],
)
def test_malformed_requests_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_request_untrusted(data)


@pytest.mark.parametrize(
    "message",
    [
        pb.Answer(),
        pb.Answer(keys=b""),
        pb.Answer(keys=b"k" * (KEYS_PART_MAX + 1)),
        pb.Answer(refused=0),
        pb.Answer(proof=pb.Proof(host_statement=b"h", envelope=b"e")),
        pb.Answer(proof=pb.Proof(host_statement=b"h", keys=b"k")),
        pb.Answer(proof=pb.Proof(envelope=b"e", keys=b"k")),
        pb.Answer(proof=pb.Proof(host_statement=b"h", envelope=b"e" * (EVIDENCE_MAX + 1), keys=b"k")),
        pb.Answer(proof=pb.Proof(host_statement=b"h", envelope=b"e", keys=b"k", path=b"p" * 331)),
    ],
)
def test_malformed_answers_are_refused(message: pb.Answer) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_answer_untrusted(message.SerializeToString())


def test_an_answer_that_does_not_decode_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_answer_untrusted(b"\x0a\xff")

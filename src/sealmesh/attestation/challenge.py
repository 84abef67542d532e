"""Challenges: one hardware signature answers many verifiers at once, each finding its own nonce under the root.

Messages of the `0x03` stream, and the Merkle tree over the waiting nonces (docs/spec/challenge.md). A leaf holds the
verifier's endpoint id as the host's side of the connection proved it, so that nobody can pass on an answer that was
made for another verifier.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from google.protobuf.message import DecodeError

from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.limits import (
    CHALLENGE_BATCH_MAX,
    CHALLENGE_MESSAGE_MAX,
    EVIDENCE_MAX,
    HOST_STATEMENT_MAX,
    KEYS_PART_MAX,
    MERKLE_PATH_MAX,
)

NONCE_BYTES: Final = 32
ENDPOINT_ID_BYTES: Final = 32
HASH_BYTES: Final = 32
ID_OBJECT_MAX: Final = 128  # integrity of 48 bytes and an identity of 34 under the largest profile, with their lengths
ENCRYPTED_SECRET_MAX: Final = 512  # a seed under RSA-4096
ACTIVATED_MAX: Final = 64  # what a chip hands out is at most as long as the hash of a name
REQUEST_MAX: Final = 1024  # a credential with its tags; a longer request has no meaning

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_SIBLING_LEFT: Final = 0
_SIBLING_RIGHT: Final = 1
_STEP_BYTES: Final = 1 + HASH_BYTES


def leaf(nonce: bytes, verifier_id: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ nonce ‖ verifier endpoint id), 32 bytes [CH-5]."""
    return hashlib.sha256(_LEAF + nonce + verifier_id).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class ChallengeTree:
    """The Merkle tree over the leaves of one batch [CH-6].

    A node without a right neighbour goes up unchanged. The root over a single leaf is that leaf.

    Args:
        leaves: 1 to `CHALLENGE_BATCH_MAX` leaves of 32 bytes.

    Raises:
        LocalProtocolError: No leaf, or too many.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not 1 <= len(leaves) <= CHALLENGE_BATCH_MAX:
            raise LocalProtocolError(f"a batch has 1 to {CHALLENGE_BATCH_MAX} challenges, not {len(leaves)}")
        self._levels: list[list[bytes]] = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            pairs = [_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            self._levels.append(pairs + below[len(pairs) * 2 :])

    @property
    def root(self) -> bytes:
        """The challenge root, 32 bytes."""
        return self._levels[-1][0]

    def path(self, index: int) -> bytes:
        """Return the path of a leaf: steps of `u8 side | 32 bytes sibling`, leaf first; side 0 is left, 1 right."""
        steps = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                side = _SIBLING_LEFT if sibling < index else _SIBLING_RIGHT
                steps.append(bytes([side]) + level[sibling])
            index //= 2
        return b"".join(steps)


def check_own_nonce_untrusted(root: bytes, path: bytes, *, nonce: bytes, verifier_id: bytes) -> None:
    """Refuse a statement that was not made for this verifier's own nonce [CH-7]: the stale answer of attack A08.

    Args:
        root: The challenge root of the host statement.
        path: As received.
        nonce: What this verifier sent, 32 bytes.
        verifier_id: This verifier's own endpoint id, 32 bytes.

    Raises:
        VerificationError: Factor `own_nonce`.
    """
    if len(root) != HASH_BYTES:
        raise VerificationError("own_nonce", "the host statement answers no challenge")
    if len(path) % _STEP_BYTES or len(path) > MERKLE_PATH_MAX * _STEP_BYTES:
        raise VerificationError("own_nonce", "the challenge path is malformed")
    value = leaf(nonce, verifier_id)
    for start in range(0, len(path), _STEP_BYTES):
        side, sibling = path[start], path[start + 1 : start + _STEP_BYTES]
        if side == _SIBLING_LEFT:
            value = _node(sibling, value)
        elif side == _SIBLING_RIGHT:
            value = _node(value, sibling)
        else:
            raise VerificationError("own_nonce", "the challenge path is malformed")
    if value != root:
        raise VerificationError(
            "own_nonce", "the host statement answers another challenge", expected=root.hex(), got=value.hex()
        )


class ChallengeRefusal(enum.IntEnum):
    """Why a host does not answer now. A hint: it proves nothing [CH-10]."""

    BUSY = 1  # a challenge of this peer is waiting, the batch is full, or the peer asks too often
    UNKNOWN_ENDPOINT = 2  # no keys part of that endpoint is held
    UNAVAILABLE = 3  # this node is no host, or its evidence cannot be made now
    NOT_ACTIVATED = 4  # the chip does not hand out the secret, or there is no chip


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeys:
    """Ask for the keys part of an endpoint, from its owner or from anyone who holds it."""

    endpoint_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Ask the host to answer for a nonce of 32 random bytes."""

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Ask the host's chip for the secret of a credential that was made for its two keys."""

    id_object: bytes
    encrypted_secret: bytes


Request = GetKeys | Challenge | Activate


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysAnswer:
    """A keys part with its signature, as its owner encoded it."""

    keys: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofAnswer:
    """The answer to a challenge: what vouches (envelope), for what (statement), for whom (path), and the keys part."""

    host_statement: bytes
    envelope: bytes
    path: bytes
    keys: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedAnswer:
    """The host does not answer; codes without a meaning here stay numbers."""

    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivatedAnswer:
    """What the host's chip handed out: a secret until it is compared."""

    secret: bytes = field(repr=False)


Answer = KeysAnswer | ProofAnswer | RefusedAnswer | ActivatedAnswer


def encode_request(request: Request) -> bytes:
    """Return the request's message, without its length prefix."""
    match request:
        case GetKeys():
            message = pb.Request(get_keys=request.endpoint_id)
        case Challenge():
            message = pb.Request(challenge=request.nonce)
        case Activate():
            credential = pb.Activate(id_object=request.id_object, encrypted_secret=request.encrypted_secret)
            message = pb.Request(activate=credential)
        case _:
            assert_never(request)
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def parse_request_untrusted(data: bytes) -> Request:
    """Read a request [CH-2].

    Raises:
        RemoteProtocolError: It is none.
    """
    message = pb.Request()
    _decode(message, data, REQUEST_MAX)
    match message.WhichOneof("kind"):
        case "get_keys" if len(message.get_keys) == ENDPOINT_ID_BYTES:
            return GetKeys(endpoint_id=message.get_keys)
        case "challenge" if len(message.challenge) == NONCE_BYTES:
            return Challenge(nonce=message.challenge)
        case "activate" if _credential_fits(message.activate):
            credential = message.activate
            return Activate(id_object=credential.id_object, encrypted_secret=credential.encrypted_secret)
        case _:
            raise RemoteProtocolError("a challenge request of no known kind")


def encode_answer(answer: Answer) -> bytes:
    """Return the answer's message, without its length prefix."""
    match answer:
        case KeysAnswer():
            message = pb.Answer(keys=answer.keys)
        case ProofAnswer():
            proof = pb.Proof(
                host_statement=answer.host_statement, envelope=answer.envelope, path=answer.path, keys=answer.keys
            )
            message = pb.Answer(proof=proof)
        case RefusedAnswer():
            message = pb.Answer(refused=answer.code)
        case ActivatedAnswer():
            message = pb.Answer(activated=answer.secret)
        case _:
            assert_never(answer)
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def parse_answer_untrusted(data: bytes) -> Answer:
    """Read an answer; nothing in it is verified by that [CH-3].

    Raises:
        RemoteProtocolError: It is none, or a part is over its limit.
    """
    message = pb.Answer()
    _decode(message, data, CHALLENGE_MESSAGE_MAX)
    match message.WhichOneof("kind"):
        case "keys" if 0 < len(message.keys) <= KEYS_PART_MAX:
            return KeysAnswer(keys=message.keys)
        case "proof" if _proof_fits(message.proof):
            proof = message.proof
            return ProofAnswer(
                host_statement=proof.host_statement, envelope=proof.envelope, path=proof.path, keys=proof.keys
            )
        case "refused" if message.refused:
            return RefusedAnswer(code=message.refused)
        case "activated" if 0 < len(message.activated) <= ACTIVATED_MAX:
            return ActivatedAnswer(secret=message.activated)
        case _:
            raise RemoteProtocolError("a challenge answer of no known kind, or a part of it is too long")


def _credential_fits(credential: pb.Activate) -> bool:
    return (
        0 < len(credential.id_object) <= ID_OBJECT_MAX and 0 < len(credential.encrypted_secret) <= ENCRYPTED_SECRET_MAX
    )


def _proof_fits(proof: pb.Proof) -> bool:
    return (
        0 < len(proof.host_statement) <= HOST_STATEMENT_MAX
        and 0 < len(proof.envelope) <= EVIDENCE_MAX
        and len(proof.path) <= MERKLE_PATH_MAX * _STEP_BYTES
        and 0 < len(proof.keys) <= KEYS_PART_MAX
    )


def _decode(message: pb.Request | pb.Answer, data: bytes, maximum: int) -> None:
    if len(data) > maximum:
        raise RemoteProtocolError("a challenge message is too long")
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise RemoteProtocolError("a challenge message does not decode") from error

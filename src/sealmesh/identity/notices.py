"""What an issuer says to its whole mesh: who is revoked, and which key follows its own (docs/spec/admission.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity._codec import admission_pb2
from sealmesh.identity.grants import (
    MESH_ID_LENGTH,
    SERIAL_LENGTH,
    TIME_MAX,
    VERSION,
    Factor,
    mesh_id,
    require_length,
)
from sealmesh.identity.keys import IssuerKey
from sealmesh.identity.signed import (
    PUBLIC_LENGTH,
    Label,
    Signed,
    parse_message_untrusted,
    require_signature_length,
    verify_signed_untrusted,
)
from sealmesh.limits import KIB, REVOCATIONS_MAX

_SUCCESSOR_MAX = 1 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """The one list of who is in no more; of two, the one with the higher sequence counts.

    Attributes:
        mesh_id: The mesh id of the issuer that signed it.
        sequence: Counts up with each list.
        issued: Unix seconds; show its age, since a peer can withhold a newer list.
        serials: Grants, 16 bytes each: all that joined under them are out.
        endpoint_ids: Endpoints, 32 bytes each, whatever grant they hold.
    """

    mesh_id: bytes
    sequence: int
    issued: int
    serials: frozenset[bytes] = frozenset()
    endpoint_ids: frozenset[bytes] = frozenset()

    def encode(self) -> bytes:
        """Return the part that the issuer signs."""
        return admission_pb2.Revocations(
            version=VERSION,
            mesh_id=self.mesh_id,
            sequence=self.sequence,
            issued=self.issued,
            serials=sorted(self.serials),
            endpoint_ids=sorted(self.endpoint_ids),
        ).SerializeToString(deterministic=True)

    @classmethod
    def parse_untrusted(cls, part: bytes) -> Self:
        """Parse the part; its signature is not looked at.

        Raises:
            VerificationError: Malformed, or of another version [AD-16].
        """
        factor = Factor.REVOCATIONS
        message = parse_message_untrusted(admission_pb2.Revocations, part, factor=factor)
        if message.version != VERSION:
            raise VerificationError(factor, "a version that this node does not know", expected=str(VERSION))
        if message.issued > TIME_MAX:
            raise VerificationError(factor, "a time that is none")
        for serial in message.serials:
            require_length(serial, SERIAL_LENGTH, factor=factor, what="serial")
        for endpoint_id in message.endpoint_ids:
            require_length(endpoint_id, PUBLIC_LENGTH, factor=factor, what="endpoint id")
        return cls(
            mesh_id=require_length(message.mesh_id, MESH_ID_LENGTH, factor=factor, what="mesh id"),
            sequence=message.sequence,
            issued=message.issued,
            serials=frozenset(message.serials),
            endpoint_ids=frozenset(message.endpoint_ids),
        )


def make_revocations(
    issuer: IssuerKey,
    *,
    previous: Revocations | None,
    now: float,
    serials: Iterable[bytes] = (),
    endpoint_ids: Iterable[bytes] = (),
) -> Signed:
    """Sign the next list: all of the previous one and what is added.

    To revoke an endpoint together with its ticket, pass its grant's serial too: that is what a command does unless told
    otherwise.

    Args:
        issuer: The mesh's key.
        previous: The list that is in force, if any.
        now: Unix seconds.
        serials: Grants to revoke, 16 bytes each.
        endpoint_ids: Endpoints to revoke, 32 bytes each.

    Raises:
        ConfigError: The list would be longer than a reader accepts.
    """
    old_serials = previous.serials if previous is not None else frozenset()
    old_endpoints = previous.endpoint_ids if previous is not None else frozenset()
    part = Revocations(
        mesh_id=mesh_id(issuer.public),
        sequence=previous.sequence + 1 if previous is not None else 1,
        issued=int(now),
        serials=old_serials | frozenset(serials),
        endpoint_ids=old_endpoints | frozenset(endpoint_ids),
    ).encode()
    try:
        Revocations.parse_untrusted(part)
    except VerificationError as error:
        raise ConfigError(f"such a list cannot be made: {error.reason}") from error
    signed = issuer.sign_part(Label.REVOCATIONS, part)
    if len(signed.encode()) > REVOCATIONS_MAX:
        raise ConfigError(f"the list of revocations is full ({REVOCATIONS_MAX} bytes): begin with a new issuer key")
    return signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """Which key follows an issuer's.

    Attributes:
        mesh_id: The mesh id of the issuer that is followed.
        issuer_key: The new issuer's public key, 32 bytes.
        not_before: Unix seconds from which the new key counts.
        predecessor_until: Unix seconds at which grants of the old key count no more.
    """

    mesh_id: bytes
    issuer_key: bytes
    not_before: int
    predecessor_until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSuccessor:
    """A successor statement with the signatures of both keys over the same label and bytes."""

    part: bytes
    predecessor_signature: bytes
    successor_signature: bytes

    def encode(self) -> bytes:
        """Return the wire form."""
        return admission_pb2.SignedSuccessor(
            part=self.part,
            predecessor_signature=self.predecessor_signature,
            successor_signature=self.successor_signature,
        ).SerializeToString(deterministic=True)

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Parse the wire form; only the canonical encoding is taken.

        Raises:
            VerificationError: Too long, malformed or not canonical [AD-2].
        """
        factor = Factor.SUCCESSOR
        if len(data) > _SUCCESSOR_MAX:
            raise VerificationError(factor, "too long", expected=f"at most {_SUCCESSOR_MAX} bytes")
        message = parse_message_untrusted(admission_pb2.SignedSuccessor, data, factor=factor)
        signed = cls(
            part=message.part,
            predecessor_signature=message.predecessor_signature,
            successor_signature=message.successor_signature,
        )
        require_signature_length(signed.predecessor_signature, factor=factor)
        require_signature_length(signed.successor_signature, factor=factor)
        if signed.encode() != data:
            raise VerificationError(factor, "not the canonical encoding")
        return signed

    def verify_untrusted(self, predecessor_public: bytes) -> Successor:
        """Parse the statement and check both signatures.

        Raises:
            VerificationError: Malformed, for another mesh, or a signature does not hold [AD-18].
        """
        factor = Factor.SUCCESSOR
        message = parse_message_untrusted(admission_pb2.Successor, self.part, factor=factor)
        if message.version != VERSION:
            raise VerificationError(factor, "a version that this node does not know", expected=str(VERSION))
        if message.mesh_id != mesh_id(predecessor_public):
            raise VerificationError(factor, "for another mesh")
        issuer_key = require_length(message.issuer_key, PUBLIC_LENGTH, factor=factor, what="issuer key")
        if issuer_key == predecessor_public:
            raise VerificationError(factor, "names itself")
        if not message.not_before <= message.predecessor_until <= TIME_MAX:
            raise VerificationError(factor, "times that are not in order")
        for public, signature in (
            (predecessor_public, self.predecessor_signature),
            (issuer_key, self.successor_signature),
        ):
            signed = Signed(part=self.part, signature=signature)
            verify_signed_untrusted(public, Label.SUCCESSOR, signed, factor=Factor.SUCCESSOR_SIGNATURE)
        return Successor(
            mesh_id=message.mesh_id,
            issuer_key=issuer_key,
            not_before=message.not_before,
            predecessor_until=message.predecessor_until,
        )


def make_successor(
    predecessor: IssuerKey, successor: IssuerKey, *, now: float, predecessor_until: float
) -> SignedSuccessor:
    """Sign, with both keys, that `successor` follows `predecessor`.

    Args:
        predecessor: The mesh's key until now.
        successor: The key that follows.
        now: Unix seconds; from then on the new key counts.
        predecessor_until: Unix seconds until which grants of the old key count too.

    Raises:
        ConfigError: The date lies before now.
    """
    if predecessor_until < now:
        raise ConfigError("the date until which the old issuer counts lies in the past")
    part = admission_pb2.Successor(
        version=VERSION,
        mesh_id=mesh_id(predecessor.public),
        issuer_key=successor.public,
        not_before=int(now),
        predecessor_until=int(predecessor_until),
    ).SerializeToString(deterministic=True)
    return SignedSuccessor(
        part=part,
        predecessor_signature=predecessor.sign(Label.SUCCESSOR, part),
        successor_signature=successor.sign(Label.SUCCESSOR, part),
    )

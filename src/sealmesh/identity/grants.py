"""Roles, grants and memberships: the two signed parts that let an endpoint into a mesh (docs/spec/admission.md)."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import Final, Self

from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity._codec import admission_pb2
from sealmesh.identity.keys import BearerKey, IssuerKey
from sealmesh.identity.signed import (
    PUBLIC_LENGTH,
    Label,
    Signed,
    parse_message_untrusted,
    require_signature_length,
    verify_signed_untrusted,
)
from sealmesh.limits import ADMISSION_MAX, NAME_MAX

VERSION: Final = 1
MESH_ID_LENGTH: Final = 32
SERIAL_LENGTH: Final = 16
TIME_MAX: Final = 1 << 53  # Unix seconds and milliseconds that every JSON reader and float keeps exactly


class Factor(enum.StrEnum):
    """Every reason why somebody is not let in. The values are stable; vectors and people cite them."""

    TOO_LONG = "credentials_too_long"
    MALFORMED = "credentials_malformed"
    VERSION = "grant_version"
    WRONG_MESH = "wrong_mesh"
    WRONG_ISSUER = "wrong_issuer"
    GRANT_SIGNATURE = "grant_signature"
    NOT_YET_VALID = "grant_not_yet_valid"
    EXPIRED = "grant_expired"
    MEMBERSHIP_SIGNATURE = "membership_signature"
    MEMBERSHIP_GRANT = "membership_of_another_grant"
    WRONG_ENDPOINT = "wrong_endpoint"
    ROLE = "role_not_granted"
    REVOKED_SERIAL = "revoked_serial"
    REVOKED_ENDPOINT = "revoked_endpoint"
    TICKET = "ticket"
    TICKET_MISTYPED = "ticket_mistyped"
    TICKET_TOO_LONG = "ticket_too_long"
    TICKET_BEARER = "ticket_bearer"
    REVOCATIONS = "revocations"
    REVOCATIONS_SIGNATURE = "revocations_signature"
    SUCCESSOR = "successor"
    SUCCESSOR_SIGNATURE = "successor_signature"


class Role(enum.Flag):
    """What an endpoint may be in the mesh; a node can be several."""

    CLIENT = 1
    HOST = 2
    RELAY = 4

    @property
    def names(self) -> tuple[str, ...]:
        """The roles in words, in a fixed order."""
        return tuple(str(role.name).lower() for role in Role if role in self)

    @classmethod
    def from_names(cls, *names: str) -> Role:
        """Return the roles with these names.

        Raises:
            ConfigError: There is no such role.
        """
        roles = Role(0)
        for name in names:
            try:
                roles |= Role[name.upper()]
            except KeyError as error:
                raise ConfigError("a role is client, host or relay") from error
        return roles


ALL_ROLES: Final = Role.CLIENT | Role.HOST | Role.RELAY


def parse_roles_untrusted(bits: int, *, factor: str) -> Role:
    """Return the roles of a bit field.

    Raises:
        VerificationError: No role, or one that does not exist [AD-6].
    """
    if not 0 < bits <= ALL_ROLES.value:
        raise VerificationError(factor, "no role, or an unknown one")
    return Role(bits)


def mesh_id(issuer_public: bytes) -> bytes:
    """Return a mesh's id: SHA-256("sealmesh/1 mesh" ‖ 0x00 ‖ issuer key), 32 bytes [AD-4]."""
    return hashlib.sha256(b"sealmesh/1 mesh\x00" + issuer_public).digest()


def require_length(value: bytes, length: int, *, factor: str, what: str) -> bytes:
    """Return `value` if it has that many bytes.

    Raises:
        VerificationError: It has not.
    """
    if len(value) != length:
        raise VerificationError(
            factor, f"{what} of the wrong length", expected=f"{length} bytes", got=f"{len(value)} bytes"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The issuer's permission to join: whoever holds the bearer key may make memberships under it.

    Attributes:
        mesh_id: 32 bytes.
        serial: 16 random bytes; what a revocation names.
        roles: What may be taken.
        not_before: Unix seconds.
        not_after: Unix seconds; the first second at which it holds no more.
        bearer_key: Ed25519 public key, 32 bytes.
        mesh_name: For people; text of the issuer, escape before showing.
    """

    mesh_id: bytes
    serial: bytes
    roles: Role
    not_before: int
    not_after: int
    bearer_key: bytes
    mesh_name: str = ""

    def encode(self) -> bytes:
        """Return the part that the issuer signs."""
        return admission_pb2.Grant(
            version=VERSION,
            mesh_id=self.mesh_id,
            serial=self.serial,
            roles=self.roles.value,
            not_before=self.not_before,
            not_after=self.not_after,
            bearer_key=self.bearer_key,
            mesh_name=self.mesh_name,
        ).SerializeToString(deterministic=True)

    @classmethod
    def parse_untrusted(cls, part: bytes) -> Self:
        """Parse the part of a grant. Its signature is not looked at.

        Raises:
            VerificationError: Malformed, or of another version [AD-5].
        """
        factor = Factor.MALFORMED
        message = parse_message_untrusted(admission_pb2.Grant, part, factor=factor)
        if message.version != VERSION:
            raise VerificationError(Factor.VERSION, "a version that this node does not know", expected=str(VERSION))
        if not message.not_before < message.not_after <= TIME_MAX:
            raise VerificationError(factor, "times that are not in order")
        if len(message.mesh_name.encode()) > NAME_MAX:
            raise VerificationError(factor, "name of the mesh too long")
        return cls(
            mesh_id=require_length(message.mesh_id, MESH_ID_LENGTH, factor=factor, what="mesh id"),
            serial=require_length(message.serial, SERIAL_LENGTH, factor=factor, what="serial"),
            roles=parse_roles_untrusted(message.roles, factor=factor),
            not_before=message.not_before,
            not_after=message.not_after,
            bearer_key=require_length(message.bearer_key, PUBLIC_LENGTH, factor=factor, what="bearer key"),
            mesh_name=message.mesh_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The bearer's statement that one endpoint joins under one grant."""

    mesh_id: bytes
    serial: bytes
    endpoint_id: bytes
    roles: Role

    def encode(self) -> bytes:
        """Return the part that the bearer signs."""
        return admission_pb2.Membership(
            mesh_id=self.mesh_id, serial=self.serial, endpoint_id=self.endpoint_id, roles=self.roles.value
        ).SerializeToString(deterministic=True)

    @classmethod
    def parse_untrusted(cls, part: bytes) -> Self:
        """Parse the part of a membership. Its signature is not looked at.

        Raises:
            VerificationError: Malformed [AD-5].
        """
        factor = Factor.MALFORMED
        message = parse_message_untrusted(admission_pb2.Membership, part, factor=factor)
        return cls(
            mesh_id=require_length(message.mesh_id, MESH_ID_LENGTH, factor=factor, what="mesh id"),
            serial=require_length(message.serial, SERIAL_LENGTH, factor=factor, what="serial"),
            endpoint_id=require_length(message.endpoint_id, PUBLIC_LENGTH, factor=factor, what="endpoint id"),
            roles=parse_roles_untrusted(message.roles, factor=factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a node shows on its `0x05` stream and beside its records: grant and membership, each with its signature."""

    grant: Signed
    membership: Signed

    def encode(self) -> bytes:
        """Return the wire form, at most 1 KiB.

        Raises:
            ConfigError: It would be longer (the mesh's name is too long).
        """
        data = admission_pb2.Credentials(
            grant=admission_pb2.SignedPart(part=self.grant.part, signature=self.grant.signature),
            membership=admission_pb2.SignedPart(part=self.membership.part, signature=self.membership.signature),
        ).SerializeToString(deterministic=True)
        if len(data) > ADMISSION_MAX:
            raise ConfigError(f"credentials of {len(data)} bytes are over the limit of {ADMISSION_MAX}")
        return data

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self:
        """Parse the wire form; the envelope must be canonical, so that one membership has one form.

        Raises:
            VerificationError: Too long, malformed or not canonical [AD-2] [AD-7].
        """
        if len(data) > ADMISSION_MAX:
            raise VerificationError(
                Factor.TOO_LONG, "too long", expected=f"at most {ADMISSION_MAX} bytes", got=f"{len(data)} bytes"
            )
        message = parse_message_untrusted(admission_pb2.Credentials, data, factor=Factor.MALFORMED)
        credentials = cls(
            grant=Signed(part=message.grant.part, signature=message.grant.signature),
            membership=Signed(part=message.membership.part, signature=message.membership.signature),
        )
        require_signature_length(credentials.grant.signature, factor=Factor.MALFORMED)
        require_signature_length(credentials.membership.signature, factor=Factor.MALFORMED)
        if credentials.encode() != data:
            raise VerificationError(Factor.MALFORMED, "not the canonical encoding")
        return credentials


def make_grant(
    issuer: IssuerKey,
    *,
    serial: bytes,
    bearer_public: bytes,
    roles: Role,
    not_before: int,
    not_after: int,
    mesh_name: str = "",
) -> Signed:
    """Sign a grant for the holder of `bearer_public`.

    Args:
        issuer: The mesh's key.
        serial: 16 random bytes, new for each grant.
        bearer_public: Ed25519 public key, 32 bytes.
        roles: What may be taken; at least one.
        not_before: Unix seconds.
        not_after: Unix seconds.
        mesh_name: At most 128 bytes of UTF-8.

    Raises:
        ConfigError: A value that no reader would accept.
    """
    part = Grant(
        mesh_id=mesh_id(issuer.public),
        serial=serial,
        roles=roles,
        not_before=not_before,
        not_after=not_after,
        bearer_key=bearer_public,
        mesh_name=mesh_name,
    ).encode()
    try:
        Grant.parse_untrusted(part)
    except VerificationError as error:
        raise ConfigError(f"such a grant cannot be made: {error.reason}") from error
    return issuer.sign_part(Label.GRANT, part)


def make_membership(bearer: BearerKey, grant: Signed, *, endpoint_id: bytes, roles: Role | None = None) -> Credentials:
    """Join under a grant: sign the membership of one endpoint and return both.

    Args:
        bearer: The key inside the ticket.
        grant: As the ticket carries it.
        endpoint_id: The endpoint that joins, 32 bytes.
        roles: What it takes; all that is granted where None.

    Raises:
        VerificationError: The grant is malformed.
        ConfigError: The ticket does not grant those roles, or belongs to another key.
    """
    granted = Grant.parse_untrusted(grant.part)
    wanted = granted.roles if roles is None else roles
    if wanted.value == 0 or wanted & ~granted.roles:
        raise ConfigError(
            f"the ticket grants {', '.join(granted.roles.names)}; asked for {', '.join(wanted.names) or 'nothing'}"
        )
    if granted.bearer_key != bearer.public:
        raise ConfigError("the grant was made for another bearer key")
    part = Membership(mesh_id=granted.mesh_id, serial=granted.serial, endpoint_id=endpoint_id, roles=wanted).encode()
    return Credentials(grant=grant, membership=bearer.sign_part(Label.MEMBER, part))


def verify_grant_untrusted(issuer_public: bytes, grant: Signed) -> Grant:
    """Check a grant's signature and parse it; its times and mesh are not looked at.

    Raises:
        VerificationError: Malformed, or not signed by that issuer.
    """
    parsed = Grant.parse_untrusted(grant.part)
    verify_signed_untrusted(issuer_public, Label.GRANT, grant, factor=Factor.GRANT_SIGNATURE)
    return parsed

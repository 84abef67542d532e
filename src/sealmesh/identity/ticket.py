"""Tickets: what one person hands to another so that their node can join. A ticket is a secret.

    sealmesh1 ‖ base32(protobuf ‖ first 4 bytes of SHA-256("sealmesh/1 ticket" ‖ 0x00 ‖ protobuf))

lower case, no padding. The checksum tells a typing error from a ticket that somebody changed: it proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Final

from sealmesh.errors import VerificationError
from sealmesh.identity._codec import admission_pb2
from sealmesh.identity.addresses import check_addresses_untrusted, check_relay_url_untrusted
from sealmesh.identity.grants import (
    SERIAL_LENGTH,
    Credentials,
    Factor,
    Grant,
    Role,
    make_grant,
    make_membership,
    mesh_id,
    require_length,
    verify_grant_untrusted,
)
from sealmesh.identity.keys import BearerKey, IssuerKey, Random
from sealmesh.identity.signed import PUBLIC_LENGTH, SEED_LENGTH, Signed, parse_message_untrusted
from sealmesh.limits import TICKET_MAX
from sealmesh.transport.base import EndpointAddress

PREFIX: Final = "sealmesh1"
_CHECKSUM_LENGTH: Final = 4


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(b"sealmesh/1 ticket\x00" + payload).digest()[:_CHECKSUM_LENGTH]


def _decode_base32_untrusted(text: str) -> bytes:
    """Return the bytes of unpadded lower-case base32, of which each value has one form.

    Raises:
        VerificationError: It is not that.
    """
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise VerificationError(
            Factor.TICKET_MISTYPED, "the ticket holds characters that no ticket has, or lacks some; copy it again"
        ) from error
    if base64.b32encode(data).decode("ascii").rstrip("=").lower() != text:
        raise VerificationError(Factor.TICKET_MISTYPED, "the ticket does not end as tickets do; copy it again")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Everything that a newcomer needs.

    Attributes:
        issuer_key: The mesh's key, 32 bytes.
        grant: The issuer's grant.
        bearer: The key that the grant names. Secret.
        inviter: Where a member may be reached.
    """

    issuer_key: bytes
    grant: Signed = field(repr=False)
    bearer: BearerKey = field(repr=False)
    inviter: EndpointAddress

    @property
    def mesh_id(self) -> bytes:
        """The mesh's id, 32 bytes."""
        return mesh_id(self.issuer_key)

    @property
    def granted(self) -> Grant:
        """The grant, parsed. It was checked when the ticket was decoded."""
        return Grant.parse_untrusted(self.grant.part)

    def join(self, endpoint_id: bytes, roles: Role | None = None) -> Credentials:
        """Make the credentials of one endpoint.

        Args:
            endpoint_id: Who joins, 32 bytes.
            roles: What it takes; all that is granted where None.

        Raises:
            ConfigError: The ticket does not grant those roles.
        """
        return make_membership(self.bearer, self.grant, endpoint_id=endpoint_id, roles=roles)

    def encode(self) -> str:
        """Return the text form. It is a secret: never log it [AD-24]."""
        payload = admission_pb2.Ticket(
            issuer_key=self.issuer_key,
            grant=admission_pb2.SignedPart(part=self.grant.part, signature=self.grant.signature),
            bearer_seed=self.bearer.seed.reveal(),
            endpoint_id=self.inviter.endpoint_id,
            addresses=self.inviter.addresses,
            relay_url=self.inviter.relay_url or "",
        ).SerializeToString(deterministic=True)
        return PREFIX + base64.b32encode(payload + _checksum(payload)).decode("ascii").rstrip("=").lower()

    @classmethod
    def decode_untrusted(cls, text: str) -> Ticket:
        """Read a ticket's text form; spaces around it are allowed.

        Whether it is still in time is seen when its credentials are admitted.

        Raises:
            VerificationError: Not a ticket (`ticket`), too long, mistyped (`ticket_mistyped`), or changed by somebody
                (`grant_signature`, `ticket_bearer`, `wrong_mesh`, ...) [AD-8]. No message holds its text [AD-24].
        """
        text = text.strip()
        if len(text) > TICKET_MAX:
            raise VerificationError(Factor.TICKET_TOO_LONG, "longer than any ticket", expected=f"at most {TICKET_MAX}")
        if not text.startswith(PREFIX):
            raise VerificationError(Factor.TICKET, f"a ticket begins with {PREFIX}; this does not", expected=PREFIX)
        data = _decode_base32_untrusted(text[len(PREFIX) :])
        payload, checksum = data[:-_CHECKSUM_LENGTH], data[-_CHECKSUM_LENGTH:]
        if checksum != _checksum(payload):
            raise VerificationError(Factor.TICKET_MISTYPED, "the ticket was cut or mistyped; copy it again")
        message = parse_message_untrusted(admission_pb2.Ticket, payload, factor=Factor.TICKET)
        issuer_key = require_length(message.issuer_key, PUBLIC_LENGTH, factor=Factor.TICKET, what="issuer key")
        seed = require_length(message.bearer_seed, SEED_LENGTH, factor=Factor.TICKET, what="bearer seed")
        inviter = require_length(message.endpoint_id, PUBLIC_LENGTH, factor=Factor.TICKET, what="inviter's id")
        check_addresses_untrusted(message.addresses, factor=Factor.TICKET)
        check_relay_url_untrusted(message.relay_url, factor=Factor.TICKET)
        grant = Signed(part=message.grant.part, signature=message.grant.signature)
        granted = verify_grant_untrusted(issuer_key, grant)
        if granted.mesh_id != mesh_id(issuer_key):
            raise VerificationError(Factor.WRONG_MESH, "the ticket's grant is for another mesh than its issuer's")
        bearer = BearerKey.from_seed(seed)
        if bearer.public != granted.bearer_key:
            raise VerificationError(Factor.TICKET_BEARER, "the ticket's key is not the one that its grant names")
        return cls(
            issuer_key=issuer_key,
            grant=grant,
            bearer=bearer,
            inviter=EndpointAddress(
                endpoint_id=inviter, addresses=tuple(message.addresses), relay_url=message.relay_url or None
            ),
        )


def make_ticket(
    issuer: IssuerKey,
    *,
    random: Random,
    roles: Role,
    now: float,
    lifetime_s: int,
    inviter: EndpointAddress,
    mesh_name: str = "",
) -> Ticket:
    """Make a ticket with a new bearer key and serial.

    Args:
        issuer: The mesh's key.
        random: Source of random bytes.
        roles: What the newcomer may be.
        now: Unix seconds.
        lifetime_s: How long it may be used to join, and its members stay, in seconds.
        inviter: This node's address.
        mesh_name: For people.

    Raises:
        ConfigError: A value that no reader would accept.
    """
    bearer = BearerKey.generate(random)
    grant = make_grant(
        issuer,
        serial=random(SERIAL_LENGTH),
        bearer_public=bearer.public,
        roles=roles,
        not_before=int(now),
        not_after=int(now) + lifetime_s,
        mesh_name=mesh_name,
    )
    return Ticket(issuer_key=issuer.public, grant=grant, bearer=bearer, inviter=inviter)

"""Who is let in: one numbered procedure over credentials, the connection's own endpoint id, and the clock.

Everything that a user of this room needs for joining and admitting is named here; the parts live in `grants`, `ticket`
and `notices` (docs/spec/admission.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity.grants import (
    ALL_ROLES,
    Credentials,
    Factor,
    Grant,
    Membership,
    Role,
    make_grant,
    make_membership,
    mesh_id,
)
from sealmesh.identity.notices import (
    Revocations,
    SignedSuccessor,
    Successor,
    make_revocations,
    make_successor,
)
from sealmesh.identity.signed import PUBLIC_LENGTH, Label, SignatureMemo, Signed, verify_signed_untrusted
from sealmesh.identity.ticket import Ticket, make_ticket
from sealmesh.limits import CLOCK_SKEW_S, ISSUERS_MAX, REVOCATIONS_MAX

__all__ = [
    "ALL_ROLES",
    "AdmissionPolicy",
    "Admitted",
    "Credentials",
    "Factor",
    "Grant",
    "Membership",
    "Revocations",
    "Role",
    "SignedSuccessor",
    "Successor",
    "Ticket",
    "make_grant",
    "make_membership",
    "make_revocations",
    "make_successor",
    "make_ticket",
    "mesh_id",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An endpoint that passed admission, as of the moment when it did; `AdmissionPolicy.check` tells if it still is.

    Attributes:
        endpoint_id: 32 bytes.
        roles: What it took; never more than was granted.
        serial: Of its grant, 16 bytes.
        not_after: Unix seconds at which its grant ends.
        mesh_id: Of the issuer of its grant, 32 bytes.
        mesh_name: For people; text of the issuer, escape before showing.
    """

    endpoint_id: bytes
    roles: Role
    serial: bytes
    not_after: int
    mesh_id: bytes
    mesh_name: str = ""


@dataclass(slots=True, kw_only=True)
class _Issuer:
    """One accepted issuer key; `until` is None as long as no successor has been named."""

    public: bytes
    not_before: int = 0
    until: int | None = None


class AdmissionPolicy:
    """Decides who is in one mesh. Holds the issuer keys that count and the newest list of revocations.

    Args:
        issuer: The mesh's (first) issuer key, 32 bytes.
        memo: Signatures that held already; one of its own where None.

    Raises:
        ConfigError: The key has another length.
    """

    def __init__(self, issuer: bytes, *, memo: SignatureMemo | None = None) -> None:
        if len(issuer) != PUBLIC_LENGTH:
            raise ConfigError(f"an issuer key has {PUBLIC_LENGTH} bytes, not {len(issuer)}")
        self.mesh_id = mesh_id(issuer)
        self.memo = SignatureMemo() if memo is None else memo
        # From first to newest. A later one's list of revocations outranks an earlier one's.
        self._issuers: list[_Issuer] = [_Issuer(public=issuer)]
        self._ranks: dict[bytes, int] = {self.mesh_id: 0}
        self._revocations: Revocations | None = None
        self._revocations_data = b""
        self._successors: list[bytes] = []

    @property
    def revocations(self) -> Revocations | None:
        """The list in force, or None if none was ever seen."""
        return self._revocations

    @property
    def revocations_data(self) -> bytes:
        """The list in force as its issuer signed it, to keep and to pass on; empty if none was ever seen."""
        return self._revocations_data

    @property
    def successors_data(self) -> tuple[bytes, ...]:
        """The successor statements taken, oldest first, to keep and to pass on."""
        return tuple(self._successors)

    def admit_untrusted(self, data: bytes, remote_id: bytes, now: float) -> Admitted:
        """Judge what a peer showed, against the endpoint id that its connection (or its record) proved.

        Args:
            data: Encoded `Credentials`.
            remote_id: The connection's `remote_id`, or for a relayed record the endpoint that signed it; 32 bytes.
            now: Unix seconds.

        Raises:
            VerificationError: It is not let in; `factor` is one of `Factor` and says why.
        """
        # 1. Length and form [AD-2] [AD-5] [AD-7].
        credentials = Credentials.decode_untrusted(data)
        grant = Grant.parse_untrusted(credentials.grant.part)
        # 2. This mesh, by an issuer that counts now [AD-9] [AD-19].
        issuer = self._find_issuer(grant.mesh_id, now)
        # 3. The issuer signed the grant [AD-10].
        verify_signed_untrusted(issuer, Label.GRANT, credentials.grant, factor=Factor.GRANT_SIGNATURE, memo=self.memo)
        # 4. The grant's bearer signed the membership [AD-11].
        verify_signed_untrusted(
            grant.bearer_key,
            Label.MEMBER,
            credentials.membership,
            factor=Factor.MEMBERSHIP_SIGNATURE,
            memo=self.memo,
        )
        membership = Membership.parse_untrusted(credentials.membership.part)
        # 5. The membership is of this grant and of this endpoint [AD-12].
        if membership.mesh_id != grant.mesh_id or membership.serial != grant.serial:
            raise VerificationError(Factor.MEMBERSHIP_GRANT, "the membership was made under another grant")
        if membership.endpoint_id != remote_id:
            raise VerificationError(
                Factor.WRONG_ENDPOINT,
                "the membership belongs to another endpoint",
                expected=remote_id.hex(),
                got=membership.endpoint_id.hex(),
            )
        # 6. No role that was not granted [AD-13].
        if membership.roles & ~grant.roles:
            raise VerificationError(
                Factor.ROLE,
                "a role that was not granted",
                expected=",".join(grant.roles.names),
                got=",".join(membership.roles.names),
            )
        # 7. In time. A clock that runs behind the issuer's by the skew still lets a new ticket in [AD-14].
        if grant.not_before > now + CLOCK_SKEW_S:
            raise VerificationError(Factor.NOT_YET_VALID, "the grant is not valid yet", expected=str(grant.not_before))
        admitted = Admitted(
            endpoint_id=membership.endpoint_id,
            roles=membership.roles,
            serial=grant.serial,
            not_after=grant.not_after,
            mesh_id=grant.mesh_id,
            mesh_name=grant.mesh_name,
        )
        # 8. What can change later: end of the grant, of its issuer, revocation [AD-14] [AD-15] [AD-19].
        self.check(admitted, now)
        return admitted

    def check(self, admitted: Admitted, now: float) -> None:
        """Check that somebody who was let in still is.

        To be asked when the policy changed and from time to time for every open connection.

        Args:
            admitted: From `admit_untrusted`.
            now: Unix seconds.

        Raises:
            VerificationError: It is out now; `factor` says why [AD-14] [AD-15] [AD-19].
        """
        self._find_issuer(admitted.mesh_id, now)
        if now >= admitted.not_after:
            raise VerificationError(Factor.EXPIRED, "the grant has expired", expected=str(admitted.not_after))
        if self._revocations is None:
            return
        if admitted.serial in self._revocations.serials:
            raise VerificationError(Factor.REVOKED_SERIAL, "the grant was revoked", got=admitted.serial.hex())
        if admitted.endpoint_id in self._revocations.endpoint_ids:
            raise VerificationError(Factor.REVOKED_ENDPOINT, "the endpoint was revoked", got=admitted.endpoint_id.hex())

    def offer_revocations_untrusted(self, data: bytes, now: float) -> bool:
        """Take a list if it is newer than the one in force.

        Args:
            data: Encoded `Signed`.
            now: Unix seconds.

        Returns:
            Whether it was taken: then everybody must be checked again.

        Raises:
            VerificationError: Not a list of this mesh's issuer [AD-16], or issued ahead of this node's clock [AD-17].
        """
        if data and data == self._revocations_data:
            return False
        signed = Signed.decode_untrusted(data, maximum=REVOCATIONS_MAX, factor=Factor.REVOCATIONS)
        revocations = Revocations.parse_untrusted(signed.part)
        issuer = self._find_issuer(revocations.mesh_id, now)
        verify_signed_untrusted(issuer, Label.REVOCATIONS, signed, factor=Factor.REVOCATIONS_SIGNATURE)
        if revocations.issued > now + CLOCK_SKEW_S:
            raise VerificationError(Factor.REVOCATIONS, "issued ahead of this node's clock")
        if not self._outranks(revocations, signed):
            return False
        self._revocations, self._revocations_data = revocations, data
        return True

    def offer_successor_untrusted(self, data: bytes) -> bool:
        """Take a successor statement of the newest issuer known.

        Returns:
            Whether it was taken. One that was taken before is not taken again.

        Raises:
            VerificationError: Not signed by both keys, of another mesh, a second successor, or too many [AD-18].
        """
        if data in self._successors:
            return False
        newest = self._issuers[-1]
        successor = SignedSuccessor.decode_untrusted(data).verify_untrusted(newest.public)
        new_id = mesh_id(successor.issuer_key)
        if new_id in self._ranks:
            raise VerificationError(Factor.SUCCESSOR, "names a key that went before")
        if len(self._issuers) >= ISSUERS_MAX:
            raise VerificationError(Factor.SUCCESSOR, "too many successors", expected=f"at most {ISSUERS_MAX}")
        newest.until = successor.predecessor_until
        self._ranks[new_id] = len(self._issuers)
        self._issuers.append(_Issuer(public=successor.issuer_key, not_before=successor.not_before))
        self._successors.append(data)
        return True

    def _find_issuer(self, mesh: bytes, now: float) -> bytes:
        """Return the public key of the issuer with that mesh id, if it counts now."""
        rank = self._ranks.get(mesh)
        if rank is None:
            raise VerificationError(Factor.WRONG_MESH, "of another mesh", expected=self.mesh_id.hex(), got=mesh.hex())
        issuer = self._issuers[rank]
        if now + CLOCK_SKEW_S < issuer.not_before:
            raise VerificationError(Factor.WRONG_ISSUER, "the issuer key does not count yet")
        if issuer.until is not None and now >= issuer.until:
            raise VerificationError(Factor.WRONG_ISSUER, "the issuer key was replaced", expected=str(issuer.until))
        return issuer.public

    def _outranks(self, revocations: Revocations, signed: Signed) -> bool:
        """Say whether a list replaces the one in force [AD-16]: newer issuer, then sequence, then lower SHA-256."""
        if self._revocations is None:
            return True
        offered = (self._ranks[revocations.mesh_id], revocations.sequence)
        in_force = (self._ranks[self._revocations.mesh_id], self._revocations.sequence)
        if offered != in_force:
            return offered > in_force
        current = Signed.decode_untrusted(self._revocations_data, maximum=REVOCATIONS_MAX)
        return signed.digest < current.digest

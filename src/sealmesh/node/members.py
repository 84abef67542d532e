"""`sealmesh mesh` on a running node and on its home: who is in the mesh, and who shall be out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sealmesh.api.errors import refusal
from sealmesh.console.members import RevocationWish
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.gossip.table import Entry
from sealmesh.identity.admission import AdmissionPolicy, make_revocations
from sealmesh.identity.keys import IssuerKey
from sealmesh.node.home import Home
from sealmesh.status import MembershipStatus, MemberStatus, MeshStatus, RevocationStatus, RevokedStatus


def mesh_status(policy: AdmissionPolicy, name: str) -> MeshStatus:
    """Which mesh this is, and how old its list of revocations."""
    listed = policy.revocations
    return MeshStatus(
        id=policy.mesh_id.hex(),
        name=name,
        revoked=0 if listed is None else len(listed.serials) + len(listed.endpoint_ids),
        revocations_issued=0 if listed is None else listed.issued,
    )


def revocation_status(policy: AdmissionPolicy) -> RevocationStatus:
    """The list in force, for people and programs."""
    listed = policy.revocations
    if listed is None:
        return RevocationStatus()
    return RevocationStatus(
        sequence=listed.sequence,
        issued=listed.issued,
        serials=tuple(sorted(serial.hex() for serial in listed.serials)),
        endpoint_ids=tuple(sorted(endpoint_id.hex() for endpoint_id in listed.endpoint_ids)),
    )


def put_out(
    policy: AdmissionPolicy,
    issuer: IssuerKey,
    *,
    now: float,
    endpoint_ids: Iterable[bytes] = (),
    serials: Iterable[bytes] = (),
) -> None:
    """Sign the next list and put it in force in this policy; keeping it and telling others is the caller's.

    Raises:
        ConfigError: The list is full, or this key is none of the mesh's that counts.
    """
    signed = make_revocations(
        issuer, previous=policy.revocations, now=now, endpoint_ids=endpoint_ids, serials=serials
    ).encode()
    try:
        taken = policy.offer_revocations_untrusted(signed, now)
    except VerificationError as error:
        raise ConfigError(f"the issuer key of this home cannot revoke ({error.reason})") from error
    if not taken:
        raise ConfigError("a newer issuer key has signed the list of revocations: revoke where that key is")


class MemberKeeper:
    """Shows and revokes members of a running node's mesh; a `console.members.MemberDesk`.

    Args:
        home: Holds the issuer key, if this node has it.
        policy: Who is a member.
        own_id: This node's endpoint id.
        mesh_name: Of the mesh, for people.
        entries: The records in force.
        connected: Whether there is a link to an endpoint.
        tell: Called when the policy changed: cuts who is out, keeps the list, tells every peer.
        now: Unix seconds.
    """

    def __init__(
        self,
        home: Home,
        policy: AdmissionPolicy,
        *,
        own_id: bytes,
        mesh_name: str,
        entries: Callable[[], Iterable[Entry]],
        connected: Callable[[bytes], bool],
        tell: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._home = home
        self._policy = policy
        self._own_id = own_id
        self._mesh_name = mesh_name
        self._entries = entries
        self._connected = connected
        self._tell = tell
        self._now = now

    def members(self) -> MembershipStatus:
        """See `MemberDesk.members`."""
        now = self._now()
        return MembershipStatus(
            mesh=mesh_status(self._policy, self._mesh_name),
            issuer=self._home.holds_issuer_key(),
            revocations=revocation_status(self._policy),
            members=tuple(self._member(entry, now) for entry in self._entries()),
        )

    def _member(self, entry: Entry, now: float) -> MemberStatus:
        endpoint_id = entry.summary.endpoint_id
        return MemberStatus(
            endpoint_id=endpoint_id.hex(),
            name=entry.summary.name,
            roles=entry.summary.roles.names,
            serial=entry.admitted.serial.hex(),
            not_after=entry.admitted.not_after,
            record_age_s=max(0.0, now - entry.summary.issued),
            connected=self._connected(endpoint_id),
            own=endpoint_id == self._own_id,
        )

    async def revoke(self, wish: RevocationWish) -> RevokedStatus:
        """See `MemberDesk.revoke`. An endpoint's ticket goes with it, unless the wish keeps it."""
        issuer = await asyncio.to_thread(self._home.issuer_key)  # a chip may be asked for it
        if issuer is None:
            raise refusal(
                "invalid_request",
                "This node does not hold the mesh's issuer key: revoke on the node that made the mesh.",
            )
        # From here on nothing waits: of two revocations at once, the second adds to the first's list.
        joined = {entry.summary.endpoint_id: entry.admitted.serial for entry in self._entries()}
        endpoint_ids = [] if wish.endpoint_id is None else [wish.endpoint_id]
        serials = [] if wish.serial is None else [wish.serial]
        if wish.endpoint_id is not None and not wish.keep_ticket:
            if wish.endpoint_id not in joined:
                raise refusal(
                    "invalid_request",
                    "This endpoint's record is not here, so the ticket that it joined with is not known: revoke the "
                    "ticket by its serial too, and this endpoint with keep_ticket.",
                )
            serials = [joined[wish.endpoint_id]]
        if self._own_id in endpoint_ids or joined.get(self._own_id) in serials:
            raise refusal("invalid_request", "That would put out this node itself, which holds the issuer key.")
        put_out(self._policy, issuer, now=self._now(), endpoint_ids=endpoint_ids, serials=serials)
        self._tell()
        return RevokedStatus(
            endpoint_ids=tuple(one.hex() for one in endpoint_ids),
            serials=tuple(one.hex() for one in serials),
            members_out=tuple(one.hex() for one, serial in joined.items() if one in endpoint_ids or serial in serials),
            sequence=revocation_status(self._policy).sequence,
        )

"""Which mesh a node is in: the one of its ticket, else the one of its home, else (a host) one that it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sealmesh.config import Settings
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity.grants import ALL_ROLES, Grant, Membership, Role, make_grant, make_membership, mesh_id
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey
from sealmesh.identity.ticket import Ticket, make_ticket
from sealmesh.limits import CLOCK_SKEW_S
from sealmesh.node.home import Home, MeshState
from sealmesh.transport.base import EndpointAddress

#: A ticket admits, and its members stay, for so long; long enough for a team's month, short enough to be forgotten.
TICKET_LIFETIME_S: Final = 30 * 24 * 3600
#: The maker of a mesh is its own first member; its home holds the issuer key, so a shorter time would protect nothing.
FOUNDER_LIFETIME_S: Final = 20 * 365 * 24 * 3600
#: The mesh's maker may run on a clock that is a little ahead of a member's.
_BACKDATE_S: Final = 60

Random = Callable[[int], bytes]


def enter_mesh(settings: Settings, home: Home, key: EndpointKey, *, now: float, random: Random) -> MeshState:
    """Return the mesh that this node is in, joining or making it, and remember it in the home.

    Raises:
        ConfigError: There is no mesh to be in, or the ticket cannot be used; the message says what to do.
    """
    wanted = Role.CLIENT | Role.HOST if settings.serves else Role.CLIENT
    if settings.ticket is not None:
        state = _join(settings.ticket.reveal(), home, key, wanted)
    elif (known := home.mesh()) is not None:
        check_membership(known, wanted, now)
        check_own_identity(known, home, key)
        return known
    elif settings.serves:
        state = _found(settings, home, key, now=now, random=random)
    else:
        raise ConfigError(
            "this node is in no mesh yet: get a ticket from a host (sealmesh ticket, on the machine that serves) and "
            "pass it with --join-file FILE or in SEALMESH_TICKET"
        )
    check_membership(state, wanted, now)
    home.save_mesh(state)
    return state


def check_membership(state: MeshState, wanted: Role, now: float) -> None:
    """Say at the start, and in words, what every member would say of these credentials.

    Args:
        state: Of the home, or just made.
        wanted: What this node is to be.
        now: Unix seconds.

    Raises:
        ConfigError: They have ended, have not begun, or do not grant what is wanted; the message says what to do.
    """
    try:
        grant = Grant.parse_untrusted(state.credentials.grant.part)
        roles = Membership.parse_untrusted(state.credentials.membership.part).roles
    except VerificationError as error:
        raise ConfigError(f"what lets this node into its mesh cannot be read: {error.reason}") from error
    if now >= grant.not_after:
        raise ConfigError("what let this node into its mesh has ended: get a new ticket and pass it with --join-file")
    if now < grant.not_before - CLOCK_SKEW_S:
        raise ConfigError("what lets this node into its mesh begins later: is this machine's clock right?")
    if wanted & ~roles:
        raise ConfigError(
            f"this node joined its mesh as {', '.join(roles.names)} only: to serve a model, join again with a ticket "
            "that grants it"
        )


def check_own_identity(state: MeshState, home: Home, key: EndpointKey) -> None:
    """Say that this node's identity is a new one, instead of calling members that know another.

    Args:
        state: Of the home; its membership can be read.
        home: Where the key and the membership lie.
        key: This node's.

    Raises:
        ConfigError: The membership was made for another key; the message says what to do.
    """
    if Membership.parse_untrusted(state.credentials.membership.part).endpoint_id == key.public:
        return
    anew = "get a new ticket and pass it with --join-file (`sealmesh ticket` on the machine that made the mesh)"
    if home.issuer_key() is not None:
        anew = f"this home holds the mesh's issuer.key, so move {home.path / 'mesh.json'} away and start again"
    raise ConfigError(
        f"{home.path / 'endpoint.key'} is not the key that joined this mesh: others do not know it. If you have the "
        f"old file, put it back. If this node shall have a new identity, {anew}"
    )


def _join(text: str, home: Home, key: EndpointKey, wanted: Role) -> MeshState:
    try:
        ticket = Ticket.decode_untrusted(text)
    except VerificationError as error:
        raise ConfigError(f"the ticket cannot be used: {error.reason}") from error
    known = home.mesh()
    if known is not None and mesh_id(known.issuer_key) != ticket.mesh_id:
        raise ConfigError(f"{home.path} is in another mesh already; give this node another --home to join a second")
    credentials = ticket.join(key.public, roles=wanted | (ticket.granted.roles & Role.RELAY))
    return MeshState(
        issuer_key=ticket.issuer_key,
        credentials=credentials,
        name=ticket.granted.mesh_name,
        bootstrap=(ticket.inviter,) if ticket.inviter.endpoint_id != key.public else (),
    )


def _found(settings: Settings, home: Home, key: EndpointKey, *, now: float, random: Random) -> MeshState:
    issuer = home.issuer_key() or home.make_issuer_key(random)
    bearer = BearerKey.generate(random)
    grant = make_grant(
        issuer,
        serial=random(16),
        bearer_public=bearer.public,
        roles=ALL_ROLES,
        not_before=int(now) - _BACKDATE_S,
        not_after=int(now) + FOUNDER_LIFETIME_S,
        mesh_name=settings.mesh_name,
    )
    return MeshState(
        issuer_key=issuer.public,
        credentials=make_membership(bearer, grant, endpoint_id=key.public),
        name=settings.mesh_name,
    )


def new_ticket(
    issuer: IssuerKey,
    inviter: EndpointAddress,
    *,
    mesh_name: str,
    now: float,
    random: Random,
    roles: Role = ALL_ROLES,
    lifetime_s: int = TICKET_LIFETIME_S,
) -> str:
    """Make a ticket to the mesh of this issuer, in its text form. It is a secret."""
    ticket = make_ticket(
        issuer,
        random=random,
        roles=roles,
        now=now - _BACKDATE_S,
        lifetime_s=lifetime_s + _BACKDATE_S,
        inviter=inviter,
        mesh_name=mesh_name,
    )
    return ticket.encode()

"""`sealmesh mesh`: who is in the mesh, and who shall be out, on a running node or on its home."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealmesh.cli.look import revoked_words, span
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone, escape_peer_text, say, short_id, table
from sealmesh.config.load import find_home
from sealmesh.console.members import RevocationWish
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity.grants import Membership, mesh_id
from sealmesh.identity.ticket import Ticket
from sealmesh.node.home import Home, MeshState
from sealmesh.node.members import mesh_status, put_out, revocation_status
from sealmesh.node.notices import load_members
from sealmesh.status import MembershipStatus, RevokedStatus

_SERIAL_DIGITS: Final = 32
_ENDPOINT_DIGITS: Final = 64
_BEGINNING_MIN: Final = 8  # digits of an endpoint id's beginning: one in four billion is another's
_TICKET: Final = "sealmesh1"


def show_mesh(home: Path | None, *, as_json: bool) -> int:
    """Print which mesh this is, and its list of revocations.

    Raises:
        SealmeshError: The home is in no mesh, cannot be read, or the node does not answer.
    """
    shown = _membership(Home(find_home(home)))
    if as_json:
        print(json.dumps({name: value for name, value in shown.items() if name != "members"}, indent=2))
        return 0
    mesh, revocations = _map(shown, "mesh"), _map(shown, "revocations")
    rows = [
        ("mesh", f"{_shown(mesh, 'name')} ({_shown(mesh, 'id')})"),
        ("issuer", "this node holds the key" if shown.get("issuer") is True else "another node holds the key"),
        ("revoked", revoked_words(mesh)),
        *(("ticket", escape_peer_text(str(one), most=_ENDPOINT_DIGITS)) for one in _list(revocations, "serials")),
        *(
            ("endpoint", escape_peer_text(str(one), most=_ENDPOINT_DIGITS))
            for one in _list(revocations, "endpoint_ids")
        ),
    ]
    tone = Tone.of(sys.stdout)
    print("\n".join(f"{tone.style(name.ljust(8), 'dim')} {value}" for name, value in rows))
    return 0


def list_members(home: Path | None, *, as_json: bool) -> int:
    """Print the members that the running node knows.

    Raises:
        SealmeshError: No node runs, or it does not answer.
    """
    members = _list(NodeApi.find(home).members(), "members")
    if as_json:
        print(json.dumps(members, indent=2))
        return 0
    rows = [
        (
            short_id(str(member.get("endpoint_id", ""))),
            _shown(member, "name") or "-",
            ", ".join(escape_peer_text(str(role)) for role in _list(member, "roles")),
            _shown(member, "serial"),
            _day(member.get("not_after")),
            span(member.get("record_age_s")),
            "this node" if member.get("own") is True else "yes" if member.get("connected") is True else "no",
        )
        for member in members
        if isinstance(member, dict)
    ]
    headings = ("MEMBER", "NAME", "ROLES", "TICKET", "ENDS", "RECORD AGE", "CONNECTED")
    print("\n".join(table(headings, rows, Tone.of(sys.stdout))))
    return 0


def revoke(target: str, home: Path | None, *, keep_ticket: bool, as_json: bool) -> int:
    """Put an endpoint or all that joined with a ticket out of the mesh.

    Raises:
        ConfigError: The target is none, or this home cannot revoke.
        SealmeshError: The running node does not do it.
    """
    place = Home(find_home(home))
    target = (sys.stdin.readline() if target == "-" else target).strip()
    if (run := place.run_state()) is not None:
        api = NodeApi(run)
        members = [] if _is_whole(target) else [str(one.get("endpoint_id")) for one in _list(api.members(), "members")]
        done = api.revoke(_wish(target, members, place.mesh(), keep_ticket=keep_ticket))
    else:
        with place.lock():  # no node may start meanwhile, and hold another list
            done = asdict(_revoke_offline(place, target, keep_ticket=keep_ticket))
    if as_json:
        print(json.dumps(done))
        return 0
    for kind, name in (("endpoint", "endpoint_ids"), ("ticket", "serials")):
        for one in _list(done, name):
            print(f"revoked {kind} {escape_peer_text(str(one), most=_ENDPOINT_DIGITS)}")
    out = [short_id(str(one)) for one in _list(done, "members_out")]
    if run is None:
        say("No node runs on this home: the others learn of it when one does.")
    elif out:
        say(f"Out of the mesh by it: {', '.join(out)}")
    return 0


def _revoke_offline(place: Home, target: str, *, keep_ticket: bool) -> RevokedStatus:
    mesh = place.mesh()
    if mesh is None:
        raise ConfigError(f"{place.path} is in no mesh")
    issuer = place.issuer_key()
    if issuer is None:
        raise ConfigError(
            "this home does not hold the mesh's issuer key, so it cannot revoke: do it on the node that made the mesh"
        )
    wish = _wish(target, [], mesh, keep_ticket=keep_ticket)
    if wish.endpoint_id is not None and not keep_ticket:
        raise ConfigError(
            "no node runs on this home, so the ticket that this endpoint joined with is not known: start the node "
            "first, or pass --keep-ticket and revoke the ticket by its serial too"
        )
    own = Membership.parse_untrusted(mesh.credentials.membership.part)
    if wish.endpoint_id == own.endpoint_id or wish.serial == own.serial:
        raise ConfigError("that would put out this node itself, which holds the issuer key")
    policy = load_members(place, mesh)
    endpoint_ids = () if wish.endpoint_id is None else (wish.endpoint_id,)
    serials = () if wish.serial is None else (wish.serial,)
    put_out(policy, issuer, now=time.time(), endpoint_ids=endpoint_ids, serials=serials)
    place.save_revocations(policy.revocations_data)
    return RevokedStatus(
        endpoint_ids=tuple(one.hex() for one in endpoint_ids),
        serials=tuple(one.hex() for one in serials),
        members_out=(),
        sequence=revocation_status(policy).sequence,
    )


def _wish(target: str, members: Sequence[str], mesh: MeshState | None, *, keep_ticket: bool) -> RevocationWish:
    """What is meant: a ticket, a ticket's serial, an endpoint id or the beginning of one that is known.

    Raises:
        ConfigError: It is none of these.
    """
    if target.startswith(_TICKET):
        try:
            ticket = Ticket.decode_untrusted(target)
        except VerificationError as error:
            raise ConfigError(f"the ticket cannot be used: {error.reason}") from error
        if mesh is None or ticket.mesh_id != mesh_id(mesh.issuer_key):
            raise ConfigError("this is a ticket to another mesh")
        return RevocationWish(serial=ticket.granted.serial)
    text = target.rstrip("…").lower()
    if re.fullmatch(r"[0-9a-f]+", text):
        if len(text) == _SERIAL_DIGITS:
            return RevocationWish(serial=bytes.fromhex(text))
        found = [text] if len(text) == _ENDPOINT_DIGITS else [one for one in members if one.startswith(text)]
        if len(text) >= _BEGINNING_MIN and len(found) == 1:
            return RevocationWish(endpoint_id=bytes.fromhex(found[0]), keep_ticket=keep_ticket)
    raise ConfigError(
        f"this is no ticket, no ticket's serial ({_SERIAL_DIGITS} hex digits), and not the id of one known member; "
        "`sealmesh mesh members` shows them on a running node"
    )


def _is_whole(target: str) -> bool:
    return target.startswith(_TICKET) or len(target) in (_SERIAL_DIGITS, _ENDPOINT_DIGITS)


def _membership(place: Home) -> Mapping[str, Any]:
    """Of the running node, else what its home says."""
    run = place.run_state()
    if run is not None and run.console_url is not None:  # a headless node cannot be asked
        return NodeApi(run).members()
    mesh = place.mesh()
    if mesh is None:
        raise ConfigError(f"{place.path} is in no mesh: start a node with sealmesh serve, or with a ticket")
    policy = load_members(place, mesh)
    shown = MembershipStatus(
        mesh=mesh_status(policy, mesh.name),
        issuer=place.holds_issuer_key(),
        revocations=revocation_status(policy),
    )
    return asdict(shown)


def _map(shown: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = shown.get(name)
    return value if isinstance(value, dict) else {}


def _list(shown: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = shown.get(name)
    return value if isinstance(value, list | tuple) else ()


def _shown(shown: Mapping[str, Any], name: str) -> str:
    return escape_peer_text(str(shown.get(name, "")), most=_ENDPOINT_DIGITS)


def _day(at: object) -> str:
    try:
        return datetime.fromtimestamp(float(str(at)), UTC).strftime("%Y-%m-%d %H:%MZ")
    except (ValueError, OverflowError, OSError):
        return "-"

"""`sealmesh ticket`: a new invitation to the mesh whose issuer key this home holds."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sealmesh.attesters.tpm.chip import open_chip
from sealmesh.cli.terminal import Tone, say
from sealmesh.config.load import find_home
from sealmesh.errors import ConfigError
from sealmesh.identity.grants import ALL_ROLES, Role
from sealmesh.identity.ticket import Ticket
from sealmesh.limits import ADDRESSES_MAX
from sealmesh.node.home import Home
from sealmesh.node.join import TICKET_LIFETIME_S, new_ticket
from sealmesh.transport.base import EndpointAddress

_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}
LIFETIME_MAX_S: Final = 3650 * 86_400


def make_invitation(
    home: Path | None, *, roles: Sequence[str], expires: str | None, as_json: bool, qr: bool = False
) -> int:
    """Print a new ticket, as a QR code too if that is asked for.

    Raises:
        ConfigError: No node runs, this home holds no issuer key, or an option cannot be used.
    """
    if qr and (as_json or not sys.stdout.isatty()):
        raise ConfigError("--qr draws on a terminal only: leave it out where the output goes elsewhere")
    place = home_of_running_node(find_home(home))
    granted = Role.from_names(*roles) if roles else ALL_ROLES
    lifetime_s = parse_lifetime(expires) if expires else TICKET_LIFETIME_S
    if place.keys_are_sealed():
        place.require_run_state()  # the node knows the chip that keeps the issuer's key
    issuer = place.issuer_key()
    if issuer is None:
        if place.mesh() is None:
            place.require_run_state()  # a first user has not started a node yet: say that, and nothing of issuers
        raise ConfigError(
            "this node did not make its mesh, so it cannot invite: only the home with the issuer key can. "
            "Run `sealmesh ticket` on the node that made the mesh"
        )
    run = place.require_run_state()
    mesh = place.mesh()
    now = time.time()
    text = new_ticket(
        issuer,
        EndpointAddress(endpoint_id=run.endpoint_id, addresses=run.addresses[:ADDRESSES_MAX], relay_url=run.relay_url),
        mesh_name=mesh.name if mesh is not None else "",
        now=now,
        random=secrets.token_bytes,
        roles=granted,
        lifetime_s=lifetime_s,
    )
    until = datetime.fromtimestamp(now + lifetime_s, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
    if as_json:
        serial = Ticket.decode_untrusted(text).granted.serial.hex()
        print(json.dumps({"ticket": text, "roles": list(granted.names), "expires": until, "serial": serial}))
        return 0
    if qr:
        _draw(text)
    print(text)
    tone = Tone.of(sys.stderr)
    say(tone.style(f"This is a secret: until {until} it admits its holder as {', '.join(granted.names)}.", "dim"))
    say(tone.style("Save it in a file on the other machine, then there: sealmesh client --join-file FILE", "dim"))
    if not run.relay_url and not any(_reachable(address) for address in run.addresses):
        say("warning: this node listens on loopback only, so the ticket works on this machine only; see --bind")
    return 0


def _draw(text: str) -> None:
    """A QR code of half blocks; a terminal that is too narrow would break it, and then it is left out."""
    import segno

    code = segno.make_qr(text, error="l")
    needed = code.symbol_size()[0]
    if needed > (columns := shutil.get_terminal_size().columns):
        say(f"warning: the QR code needs {needed} columns, and this terminal has {columns}: make it wider")
        return
    code.terminal(out=sys.stdout, compact=True)


def home_of_running_node(path: Path) -> Home:
    """The home, with the TPM that the node on it keeps its keys in."""
    run = Home(path).run_state()
    return Home(path, sealer=open_chip(Path(run.tpm)) if run is not None and run.tpm else None)


def parse_lifetime(text: str) -> int:
    """Seconds of `30m`, `12h` or `7d`.

    Raises:
        ConfigError: It is none of these, or out of bounds.
    """
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LIFETIME_MAX_S:
        raise ConfigError("--expires wants a time such as 30m, 12h or 7d, at most 3650d")
    return seconds


def _reachable(address: str) -> bool:
    """Whether another machine could reach `ip:port`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True

"""Members that this node knew in earlier runs: it finds back into the mesh without whoever invited it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.errors import ConfigError, VerificationError
from sealmesh.gossip.table import Entry
from sealmesh.identity.addresses import check_address_untrusted
from sealmesh.identity.admission import AdmissionPolicy
from sealmesh.limits import ADDRESSES_MAX, KNOWN_PEERS_MAX, KNOWN_PER_TICKET_MAX
from sealmesh.node.files import read_private, write_json
from sealmesh.transport.base import EndpointAddress

_log = logging.getLogger("sealmesh.node")

FILE: Final = "peers.json"
#: What changed is written so often at most, in seconds: records come and go all the time.
KEEP_INTERVAL_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Where a member was last, and the serial of the ticket that it joined with."""

    address: EndpointAddress
    serial: bytes


class KnownPeers:
    """Whom to call: whoever invited this node, whoever has a record now, and some of those known before.

    What is kept is a hint and nothing more: whoever answers still proves its id and its membership. So a damaged file
    is set aside, and the node goes on without it. Of one ticket's holders only some are kept, or a member that makes
    endpoint ids at will could leave no room for others.

    Args:
        folder: The home; the file in it is read at once.
        own_id: This node's endpoint id, never called.
        inviters: Whom to call first.
        members: Who is revoked is not kept.
        entries: The records in force.
        connected: Whether there is a link to an endpoint; these are kept first.

    Raises:
        ConfigError: Others can read the file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        own_id: bytes,
        inviters: Sequence[EndpointAddress],
        members: AdmissionPolicy,
        entries: Callable[[], Iterable[Entry]],
        connected: Callable[[bytes], bool],
    ) -> None:
        self._path = folder / FILE
        self._own_id = own_id
        self._inviters = inviters
        self._members = members
        self._entries = entries
        self._connected = connected
        self._kept = self._load()
        self._next = 0.0
        self._failed = False

    def _load(self) -> dict[bytes, _Known]:
        content = read_private(self._path)
        if content is None:
            return {}
        try:
            known = [_parse(endpoint, entry) for endpoint, entry in json.loads(content).items()]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, VerificationError):
            aside = self._path.with_name(f"{self._path.name}.damaged")
            _log.warning("%s is damaged and was set aside as %s: members that it named must call", self._path, aside)
            try:
                self._path.replace(aside)
            except OSError as error:
                raise ConfigError(f"{self._path} is damaged and cannot be set aside ({error.strerror})") from error
            return {}
        return {one.address.endpoint_id: one for one in known[:KNOWN_PEERS_MAX]}

    def present(self) -> list[EndpointAddress]:
        """Every other member that says where it can be reached, and is not leaving."""
        leaving = {entry.summary.endpoint_id for entry in self._entries() if entry.summary.leaving}
        return [known.address for one, known in self._present().items() if one != self._own_id and one not in leaving]

    def to_try(self) -> list[EndpointAddress]:
        """Whom to call, in order; a record's address is newer than a ticket's or a file's."""
        found = {address.endpoint_id: address for address in self._inviters}
        kept = {one: known for one, known in self._kept.items() if not self._is_revoked(one, known.serial)}
        found |= {one: known.address for one, known in {**kept, **self._present()}.items()}
        return [address for one, address in found.items() if one != self._own_id and not self._is_revoked(one)]

    def advance(self, now: float) -> None:
        """Write what changed, if it is time. Call it each second; it never raises.

        Args:
            now: Unix seconds.
        """
        if self._next - KEEP_INTERVAL_S <= now < self._next:  # also after a clock was set
            return
        self._next = now + KEEP_INTERVAL_S
        self.keep()

    def keep(self) -> None:
        """Write what changed now. Never raises: a full disk stops no node."""
        kept = self._choose()
        if kept == self._kept:
            return
        document = {
            one.hex(): {
                "addresses": list(known.address.addresses),
                "relay_url": known.address.relay_url,
                "serial": known.serial.hex(),
            }
            for one, known in kept.items()
        }
        try:
            write_json(self._path, document)
        except ConfigError as error:
            if not self._failed:
                _log.error("the members that this node knows cannot be kept for the next start: %s", error)
            self._failed = True
        else:
            self._failed = False
            self._kept = kept

    def _present(self) -> dict[bytes, _Known]:
        return {
            entry.summary.endpoint_id: _Known(
                address=EndpointAddress(
                    endpoint_id=entry.summary.endpoint_id,
                    addresses=entry.summary.addresses,
                    relay_url=entry.summary.relay_url or None,
                ),
                serial=entry.admitted.serial,
            )
            for entry in self._entries()
            if entry.summary.addresses
        }

    def _choose(self) -> dict[bytes, _Known]:
        """The linked first, then those kept before, so that newcomers displace nobody; a full list takes no more."""
        present = self._present()
        before = {one: present.get(one, known) for one, known in self._kept.items()}
        linked = {one: known for one, known in present.items() if self._connected(one)}
        chosen: dict[bytes, _Known] = {}
        tickets: Counter[bytes] = Counter()
        for one, known in {**linked, **before, **present}.items():
            if len(chosen) >= KNOWN_PEERS_MAX:
                break
            if one == self._own_id or self._is_revoked(one, known.serial):
                continue
            if tickets[known.serial] < KNOWN_PER_TICKET_MAX:
                tickets[known.serial] += 1
                chosen[one] = known
        return dict(sorted(chosen.items()))

    def _is_revoked(self, endpoint_id: bytes, serial: bytes = b"") -> bool:
        listed = self._members.revocations
        return listed is not None and (endpoint_id in listed.endpoint_ids or serial in listed.serials)


def _parse(endpoint: str, entry: Any) -> _Known:
    """Read one entry of our own file; a wrong type or length raises what the caller calls damage."""
    endpoint_id, serial = bytes.fromhex(endpoint), bytes.fromhex(entry["serial"])
    addresses, relay_url = entry["addresses"], entry["relay_url"]
    if not isinstance(addresses, list) or len(addresses) > ADDRESSES_MAX or len(endpoint_id) != 32 or len(serial) != 16:
        raise ValueError
    if not all(isinstance(text, str) for text in addresses) or not isinstance(relay_url, str | None):
        raise TypeError
    for text in addresses:
        check_address_untrusted(text)
    address = EndpointAddress(endpoint_id=endpoint_id, addresses=tuple(addresses), relay_url=relay_url)
    return _Known(address=address, serial=serial)

"""`sealmesh trust`: the hardware keys that you hold hosts to, on a running node or on its home."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone, escape_peer_text, say, table
from sealmesh.config.load import find_home
from sealmesh.errors import ConfigError, RequestError
from sealmesh.node.home import Home
from sealmesh.node.pins import pin_status
from sealmesh.node.stores import PinEntry

_BYTES: Final = 32
_ID_MIN: Final = 8  # digits of an endpoint id's beginning: one in four billion is another's


def add_pin(host: str, fingerprint: str | None, home: Path | None, *, as_json: bool) -> int:
    """Hold a host to a hardware key: to this one, or to the one that it shows now.

    Raises:
        ConfigError: An argument cannot be used, or the key is not known without a running node.
        SealmeshError: The running node does not take it.
    """
    place = Home(find_home(home))
    key = None if fingerprint is None else parse_hex(fingerprint, what="a fingerprint")
    if (run := place.run_state()) is not None:
        api = NodeApi(run)
        pin = api.pin(find_host(host, api), key)
    else:
        if key is None:
            raise ConfigError(
                "no node runs on this home, so what the host shows is not known: give the fingerprint that the host's "
                "owner told you, or start the node first"
            )
        endpoint_id = find_host(host, None)
        entry = PinEntry(endpoint_id=endpoint_id, fingerprint=key, by="hand", at=time.time())
        with place.lock():  # no node may start meanwhile, and hold other pins
            place.pins().add(entry)
        pin = asdict(pin_status(entry))
    if as_json:
        print(json.dumps(pin))
        return 0
    print(f"{_short(pin)} is held to the hardware key {_text(pin, 'fingerprint')}")
    if key is None:
        say("This is what it showed now. Ask its owner, by another way than this mesh, for the same number there:")
        say("  sealmesh status")
    return 0


def list_pins(home: Path | None, *, as_json: bool) -> int:
    """Print every pin.

    Raises:
        SealmeshError: The home cannot be read, or the node does not answer.
    """
    place = Home(find_home(home))
    run = place.run_state()
    # A headless node cannot be asked; what is on its disk is what it holds.
    asked = run is not None and run.console_url is not None
    pins = NodeApi(run).pins() if run is not None and asked else [asdict(pin_status(pin)) for pin in place.pins()]
    if as_json:
        print(json.dumps(pins, indent=2))
        return 0
    if not pins:
        print("No host is held to a hardware key. Hold one: sealmesh trust add HOST")
        return 0
    rows = [(_short(pin), _text(pin, "fingerprint"), _text(pin, "by"), _when(pin.get("at"))) for pin in pins]
    print("\n".join(table(("HOST", "HARDWARE KEY", "BY", "SINCE"), rows, Tone.of(sys.stdout))))
    return 0


def remove_pin(host: str, home: Path | None, *, as_json: bool) -> int:
    """Let a host show any hardware key again.

    Raises:
        ConfigError: An argument cannot be used.
        SealmeshError: There is no such pin, or the running node does not take it away.
    """
    place = Home(find_home(home))
    if (run := place.run_state()) is not None:
        api = NodeApi(run)
        endpoint_id = find_host(host, api, pinned=True)
        api.unpin(endpoint_id)
    else:
        with place.lock():
            store = place.pins()
            endpoint_id = _one_of(host, [pin.endpoint_id.hex() for pin in store])
            if not store.remove(endpoint_id):
                raise RequestError(404, "not_found", "No pin is held for this host.")
    print(
        json.dumps({"endpoint_id": endpoint_id.hex(), "removed": True})
        if as_json
        else f"{endpoint_id.hex()[:12]}…: any key"
    )
    return 0


def find_host(text: str, api: NodeApi | None, *, pinned: bool = False) -> bytes:
    """The endpoint id that is meant: whole, or the beginning of one that the running node knows.

    Raises:
        ConfigError: It is none, or not of one host only.
        SealmeshError: The node does not answer.
    """
    if len(text) == 2 * _BYTES or api is None:
        return parse_hex(text, what="a host's endpoint id")
    known = api.pins() if pinned else api.status().get("peers")
    entries = known if isinstance(known, list) else []
    return _one_of(text, [str(entry.get("endpoint_id")) for entry in entries if isinstance(entry, dict)])


def _one_of(text: str, known: list[str]) -> bytes:
    wanted = text.rstrip("…").lower()
    if len(wanted) == 2 * _BYTES:
        return parse_hex(wanted, what="a host's endpoint id")
    found = [one for one in known if one.startswith(wanted)]
    if not re.fullmatch(r"[0-9a-f]+", wanted) or len(wanted) < _ID_MIN or len(found) != 1:
        raise ConfigError(
            f"{escape_peer_text(text)} is not the beginning of one known host; `sealmesh hosts` and "
            f"`sealmesh trust list` show them, {_ID_MIN} digits at least"
        )
    return parse_hex(found[0], what="a host's endpoint id")


def parse_hex(text: str, *, what: str) -> bytes:
    """64 hex digits; colons and blanks between them do not count, as people write fingerprints with them.

    Raises:
        ConfigError: It is none.
    """
    try:
        data = bytes.fromhex(re.sub(r"[:\s]", "", text))
    except ValueError:
        data = b""
    if len(data) != _BYTES:
        raise ConfigError(f"{what} is 64 hex digits; `sealmesh hosts --json` shows both")
    return data


def _text(pin: Mapping[str, Any], name: str) -> str:
    return escape_peer_text(str(pin.get(name, "")), most=2 * _BYTES)


def _short(pin: Mapping[str, Any]) -> str:
    return _text(pin, "endpoint_id")[:12] + "…"


def _when(at: object) -> str:
    try:
        return datetime.fromtimestamp(float(str(at)), UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "-"

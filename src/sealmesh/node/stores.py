"""What a node must still know after a restart: sequences, the suites it has seen, the pins it has made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sealmesh.attestation.pins import Pin
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.errors import ConfigError
from sealmesh.limits import PEERS_MAX
from sealmesh.node.files import damaged, read_json, write_json

_log = logging.getLogger("sealmesh.node")

PinnedBy = Literal["hand", "first-use"]
FINGERPRINT_LENGTH: Final = 32


class SequenceStore:
    """Numbers that only rise, over restarts and clocks set back too (PROTOCOL.md, Records).

    Args:
        path: The file; read at once.

    Raises:
        ConfigError: The file is damaged or others can read it.
    """

    _LOSS: Final = "harmless while this machine's clock is right"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[str, int] = {}
        for name, value in (read_json(path, loss=self._LOSS) or {}).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise damaged(path, self._LOSS)
            self._last[name] = value

    def next(self, name: str, now: float) -> int:
        """Return max(last + 1, Unix milliseconds) for that kind of record; it is on the disk when this returns.

        Args:
            name: Which row of numbers, e.g. "summary".
            now: Unix seconds.

        Raises:
            ConfigError: It could not be stored, so it must not be used.
        """
        sequence = max(self._last.get(name, 0) + 1, int(now * 1000))
        write_json(self._path, {**self._last, name: sequence})
        self._last[name] = sequence
        return sequence


class SeenSuites:
    """The best suite seen from each endpoint: who once had a key is never plain again, nor weaker.

    A `client.remembered.SuiteMemory` (PROTOCOL.md, Sealed exchange; DESIGN.md section 8).

    Args:
        path: The file; read at once.

    Raises:
        ConfigError: The file is damaged or others can read it.
    """

    _LOSS: Final = "then a peer that had a key could pass as one without"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # verdicts are worked out in threads
        self._best: dict[bytes, int] = {}
        for endpoint, suite in (read_json(path, loss=self._LOSS) or {}).items():
            if not isinstance(suite, int) or isinstance(suite, bool) or not 0 < suite < 256:
                raise damaged(path, self._LOSS)
            self._best[_endpoint_id(endpoint, path, self._LOSS)] = suite

    def best_suite(self, endpoint_id: bytes) -> int:
        """The number of the best suite seen; 0 if none was."""
        return self._best.get(endpoint_id, 0)

    def may_have_had_key(self, endpoint_id: bytes) -> bool:
        """Whether an endpoint was seen with a key, or could have been without being remembered [PL-4]."""
        return endpoint_id in self._best or len(self._best) >= PEERS_MAX

    def note_suite(self, endpoint_id: bytes, suite: int) -> None:
        """Note a suite that a verified statement of the endpoint names; on the disk when this returns.

        When `PEERS_MAX` endpoints are known, new ones are not added and none is dropped: forgetting an old one would
        let it be downgraded.

        Raises:
            ConfigError: It could not be stored.
        """
        with self._lock:
            if suite <= self.best_suite(endpoint_id):
                return
            if len(self._best) >= PEERS_MAX and endpoint_id not in self._best:
                _log.warning("the list of seen suites is full (%d endpoints)", PEERS_MAX)
                return
            grown = {**self._best, endpoint_id: suite}
            write_json(self._path, {known.hex(): best for known, best in grown.items()})
            self._best = grown

    def __len__(self) -> int:
        return len(self._best)


class KeyMemory:
    """Every endpoint whose own record named a key: it is never sent anything unsealed [PL-4].

    Kept also where plain hosts are not allowed, for a later run may allow them. A record that was not verified is
    enough, since only its owner can sign it.

    Args:
        path: The file; read at once.

    Raises:
        ConfigError: The file is damaged or others can read it.
    """

    _LOSS: Final = "then a peer that had a key could pass as one without"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[bytes] = set()
        for endpoint, seen in (read_json(path, loss=self._LOSS) or {}).items():
            if seen is not True:
                raise damaged(path, self._LOSS)
            self._seen.add(_endpoint_id(endpoint, path, self._LOSS))

    def had_key(self, endpoint_id: bytes) -> bool:
        """Whether it had one; once `PEERS_MAX` are known, whoever is not among them is taken for one that had."""
        return endpoint_id in self._seen or len(self._seen) >= PEERS_MAX

    def note(self, endpoint_id: bytes) -> None:
        """Note that it has a key; on the disk when this returns, if it could be written.

        Never raises: what cannot be written holds for as long as this node runs, and the operator is told.
        """
        if self.had_key(endpoint_id):
            return
        self._seen.add(endpoint_id)
        try:
            write_json(self._path, {known.hex(): True for known in sorted(self._seen)})
        except ConfigError as error:
            _log.error("that a host has a key could not be noted: %s", error)

    def __len__(self) -> int:
        return len(self._seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinEntry:
    """A hardware key that the operator trusts for one endpoint.

    Attributes:
        endpoint_id: 32 bytes.
        fingerprint: SHA-256 of the hardware key, 32 bytes.
        by: Made by hand, or on first use.
        at: When, Unix seconds.
    """

    endpoint_id: bytes
    fingerprint: bytes
    by: PinnedBy
    at: float


class PinStore:
    """The pins of ATTESTATION.md, one an endpoint; a `client.remembered.PinBook`.

    Args:
        path: The file; read at once.
        now: Unix seconds, for when a pin was made.

    Raises:
        ConfigError: The file is damaged or others can read it.
    """

    _LOSS: Final = "then every pin must be made again"

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._lock = threading.Lock()  # a verdict pins in its thread, the operator's command in another
        self._now = now
        self._pins: dict[bytes, PinEntry] = {}
        for endpoint, entry in (read_json(path, loss=self._LOSS) or {}).items():
            pin = self._parse(endpoint, entry)
            self._pins[pin.endpoint_id] = pin

    def _parse(self, endpoint: str, entry: object) -> PinEntry:
        match entry:
            case {"fingerprint": str(text), "by": ("hand" | "first-use") as by, "at": int() | float() as at}:
                try:
                    fingerprint = bytes.fromhex(text)
                except ValueError:
                    fingerprint = b""
                if len(fingerprint) == FINGERPRINT_LENGTH:
                    endpoint_id = _endpoint_id(endpoint, self._path, self._LOSS)
                    return PinEntry(endpoint_id=endpoint_id, fingerprint=fingerprint, by=by, at=float(at))
        raise damaged(self._path, self._LOSS)

    def get(self, endpoint_id: bytes) -> PinEntry | None:
        """The pin of an endpoint, if there is one."""
        return self._pins.get(endpoint_id)

    def find_pin(self, endpoint_id: bytes) -> Pin | None:
        """The pin of an endpoint as verification wants it, if there is one."""
        entry = self.get(endpoint_id)
        return None if entry is None else Pin(fingerprint=entry.fingerprint, by_hand=entry.by == "hand")

    def pin_first_use(self, endpoint_id: bytes, fingerprint: bytes) -> None:
        """Hold an endpoint to the key that it showed first; a pin that exists stays, and a full list takes none.

        Raises:
            ConfigError: It could not be stored.
        """
        with self._lock:
            if endpoint_id in self._pins:
                return
            if len(self._pins) >= PEERS_MAX:
                _log.warning("the list of pins is full (%d endpoints)", PEERS_MAX)
                return
            pin = PinEntry(endpoint_id=endpoint_id, fingerprint=fingerprint, by="first-use", at=self._now())
            self._store({**self._pins, endpoint_id: pin})

    def add(self, pin: PinEntry) -> None:
        """Make a pin, replacing the endpoint's earlier one; on the disk when this returns.

        Raises:
            ConfigError: It could not be stored.
        """
        with self._lock:
            self._store({**self._pins, pin.endpoint_id: pin})

    def remove(self, endpoint_id: bytes) -> bool:
        """Take a pin away; return whether there was one.

        Raises:
            ConfigError: It could not be stored.
        """
        with self._lock:
            if endpoint_id not in self._pins:
                return False
            self._store({known: pin for known, pin in self._pins.items() if known != endpoint_id})
            return True

    def _store(self, pins: dict[bytes, PinEntry]) -> None:
        document = {
            known.hex(): {"fingerprint": pin.fingerprint.hex(), "by": pin.by, "at": pin.at}
            for known, pin in pins.items()
        }
        write_json(self._path, document)
        self._pins = pins

    def __iter__(self) -> Iterator[PinEntry]:
        return iter(self._pins.values())

    def __len__(self) -> int:
        return len(self._pins)


class ActivationStore(ActivationMemory):
    """Which chips this node saw activate which keys, over restarts: a chip does it for this node once an hour at most.

    Args:
        path: The file; read at once.

    Raises:
        ConfigError: The file is damaged or others can read it.
    """

    _LOSS: Final = "then hosts' chips are asked again to show that their keys live in them"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        document = read_json(path, loss=self._LOSS) or {}
        try:
            known = {
                (bytes.fromhex(endorsement), bytes.fromhex(name)): float(until)
                for endorsement, names in document.items()
                for name, until in names.items()
            }
        except (AttributeError, TypeError, ValueError):
            raise damaged(path, self._LOSS) from None
        super().__init__(known=known)

    def _keep(self, now: float) -> None:
        """Write down what is remembered; on the disk when this returns.

        Raises:
            ConfigError: It could not be stored.
        """
        with self._lock:
            document: dict[str, dict[str, float]] = {}
            for endorsement, name, until in self.entries():
                if now < until:
                    document.setdefault(endorsement.hex(), {})[name.hex()] = until
            write_json(self._path, document)


def _endpoint_id(text: str, path: Path, loss: str) -> bytes:
    try:
        endpoint_id = bytes.fromhex(text)
    except ValueError:
        raise damaged(path, loss) from None
    if len(endpoint_id) != 32:
        raise damaged(path, loss)
    return endpoint_id

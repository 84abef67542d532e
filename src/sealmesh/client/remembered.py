"""What a client remembers of hosts over restarts, as protocols; and what remembers nothing."""

from __future__ import annotations

from typing import Protocol

from sealmesh.attestation.pins import Pin


class SuiteMemory(Protocol):
    """Remembers the best suite ever seen from an endpoint, over restarts."""

    def best_suite(self, endpoint_id: bytes) -> int:
        """The highest suite number seen; 0 for none."""

    def note_suite(self, endpoint_id: bytes, suite: int) -> None:
        """Remember it, before it is relied on."""


class PinBook(Protocol):
    """The attestation keys that the asker holds hosts to."""

    def find_pin(self, endpoint_id: bytes) -> Pin | None:
        """The pin for a host."""

    def pin_first_use(self, endpoint_id: bytes, fingerprint: bytes) -> None:
        """Hold a host to the key that it showed first."""


class ForgetfulSuites:
    """A `SuiteMemory` for as long as the process lives."""

    def __init__(self) -> None:
        self._best: dict[bytes, int] = {}

    def best_suite(self, endpoint_id: bytes) -> int:
        """See `SuiteMemory.best_suite`."""
        return self._best.get(endpoint_id, 0)

    def note_suite(self, endpoint_id: bytes, suite: int) -> None:
        """See `SuiteMemory.note_suite`."""
        self._best[endpoint_id] = max(suite, self.best_suite(endpoint_id))


class NoPins:
    """A `PinBook` without pins, which takes none."""

    def find_pin(self, endpoint_id: bytes) -> Pin | None:  # noqa: ARG002 - the protocol's signature
        """See `PinBook.find_pin`."""
        return None

    def pin_first_use(self, endpoint_id: bytes, fingerprint: bytes) -> None:
        """See `PinBook.pin_first_use`."""

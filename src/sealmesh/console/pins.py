"""Pins over the console's API: what `sealmesh trust` says to a running node."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from sealmesh.api.errors import refusal
from sealmesh.status import PinStatus

PATH: Final = "/api/pins"
_BYTES: Final = 32


class PinDesk(Protocol):
    """Where a running node's pins are read and changed."""

    def pins(self) -> tuple[PinStatus, ...]:
        """Return every pin."""

    async def add(self, endpoint_id: bytes, fingerprint: bytes | None) -> PinStatus:
        """Pin a host's hardware key by hand, in force when this returns.

        Args:
            endpoint_id: The host's, 32 bytes.
            fingerprint: Of the key, 32 bytes; None for the one that it shows now.

        Raises:
            RequestError: It shows none.
            ConfigError: It could not be stored.
        """

    async def remove(self, endpoint_id: bytes) -> bool:
        """Take a host's pin away; return whether there was one.

        Raises:
            ConfigError: It could not be stored.
        """


class _Wanted(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    endpoint_id: str
    fingerprint: str | None = None


def parse_pin_untrusted(body: bytes) -> tuple[bytes, bytes | None]:
    """Read what is to be pinned: an endpoint id, and a fingerprint if one was given.

    Raises:
        RequestError: It is no such object.
    """
    try:
        wanted = msgspec.json.decode(body, type=_Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("invalid_request", "This wants an object with endpoint_id and maybe fingerprint.") from error
    return parse_hex_untrusted(wanted.endpoint_id), (
        None if wanted.fingerprint is None else parse_hex_untrusted(wanted.fingerprint)
    )


def parse_hex_untrusted(text: str) -> bytes:
    """Read an id or a fingerprint: 64 hex digits.

    Raises:
        RequestError: It is none.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != _BYTES or len(text) != 2 * _BYTES:
        raise refusal("invalid_request", "An endpoint id and a fingerprint are 64 hex digits.")
    return data

"""Members over the console's API: what `sealmesh mesh` says to a running node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from sealmesh.api.errors import refusal
from sealmesh.status import MembershipStatus, RevokedStatus

PATH: Final = "/api/members"
REVOKE: Final = f"{PATH}/revoke"
_ENDPOINT_BYTES: Final = 32
_SERIAL_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationWish:
    """Who shall be out; exactly one of the two is given.

    Attributes:
        endpoint_id: 32 bytes, or None.
        serial: Of a ticket, 16 bytes, or None.
        keep_ticket: Leave the ticket in force that the endpoint joined with.
    """

    endpoint_id: bytes | None = None
    serial: bytes | None = None
    keep_ticket: bool = False


class MemberDesk(Protocol):
    """Where a running node's members are read and revoked."""

    def members(self) -> MembershipStatus:
        """Return the mesh, its members and its list of revocations."""

    async def revoke(self, wish: RevocationWish) -> RevokedStatus:
        """Put somebody out; in force on this node, and on its way to every other, when this returns.

        Raises:
            RequestError: This node does not hold the issuer key, or the wish cannot be met as it is.
            ConfigError: The issuer key cannot be read, or the list is full.
        """


class _Wanted(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    endpoint_id: str | None = None
    serial: str | None = None
    keep_ticket: bool = False


def parse_revocation_untrusted(body: bytes) -> RevocationWish:
    """Read who shall be out.

    Raises:
        RequestError: It is no object with exactly one of `endpoint_id` and `serial`.
    """
    try:
        wanted = msgspec.json.decode(body, type=_Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("invalid_request", "This wants an object with endpoint_id or serial.") from error
    if (wanted.endpoint_id is None) == (wanted.serial is None):
        raise refusal("invalid_request", "This wants either endpoint_id or serial.")
    return RevocationWish(
        endpoint_id=_hex_untrusted(wanted.endpoint_id, _ENDPOINT_BYTES),
        serial=_hex_untrusted(wanted.serial, _SERIAL_BYTES),
        keep_ticket=wanted.keep_ticket,
    )


def _hex_untrusted(text: str | None, length: int) -> bytes | None:
    if text is None:
        return None
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != length or len(text) != 2 * length:
        raise refusal("invalid_request", "An endpoint id is 64 hex digits, a ticket's serial 32.")
    return data

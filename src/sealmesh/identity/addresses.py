"""Network addresses as text, as tickets and records carry them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from sealmesh.errors import VerificationError
from sealmesh.limits import ADDRESSES_MAX

ADDRESS_MAX: Final = 64  # the longest `[ip6]:port` has 47 characters
RELAY_URL_MAX: Final = 256
PORT_MAX: Final = 65535


def check_address_untrusted(text: str, *, factor: str = "address") -> None:
    """Check that `text` is `ip:port` or `[ip6]:port` that a packet can be sent to.

    No names: resolving one would tell a third party. No zone ids: they mean something on one machine only.

    Raises:
        VerificationError: It is not [AD-3].
    """
    if len(text) > ADDRESS_MAX or not text.isascii():
        raise VerificationError(factor, "not an ip:port")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise VerificationError(factor, "not an ip:port") from error
    if not colon or "%" in host or bracketed != (address.version == 6):
        raise VerificationError(factor, "not an ip:port")
    if not (port.isdigit() and len(port) <= 5 and 0 < int(port) <= PORT_MAX and str(int(port)) == port):
        raise VerificationError(factor, "not a port")
    if address.is_multicast or address.is_unspecified:
        raise VerificationError(factor, "an address that nobody answers on")


def check_addresses_untrusted(addresses: Sequence[str], *, factor: str = "address") -> None:
    """Check a list of addresses and its length.

    Raises:
        VerificationError: Too many, or one is not an address [AD-3].
    """
    if len(addresses) > ADDRESSES_MAX:
        raise VerificationError(factor, "too many addresses", expected=f"at most {ADDRESSES_MAX}")
    for address in addresses:
        check_address_untrusted(address, factor=factor)


def check_relay_url_untrusted(url: str, *, factor: str = "address") -> None:
    """Check a transport relay's URL: empty, or `https://` or `http://` in printable ASCII.

    Raises:
        VerificationError: It is not [AD-3].
    """
    if not url:
        return
    if len(url) > RELAY_URL_MAX or not url.isascii() or not all("!" <= character <= "~" for character in url):
        raise VerificationError(factor, "not a relay URL")
    if not url.startswith(("https://", "http://")):
        raise VerificationError(factor, "not a relay URL")

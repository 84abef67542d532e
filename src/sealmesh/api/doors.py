"""Who may come in: where the server may listen, which Host and Origin it answers, and whose key is right.

Each check is a function of its own, named after what it holds off (attack A19: a web page in the user's browser).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from sealmesh.api.errors import refusal
from sealmesh.api.heads import RequestHead
from sealmesh.errors import ConfigError

_LOOPBACK_NAME: Final = "localhost"


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal (no brackets) means this machine, whatever a DNS server says."""
    if host == _LOOPBACK_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_safe_bind(bind: str, *, api_keys: Collection[str], tls: ssl.SSLContext | None, insecure_http: bool) -> str:
    """Return the address to listen on; off loopback a key and TLS (or the explicit flag) are demanded.

    Args:
        bind: An address literal, or `localhost` (which means 127.0.0.1).
        api_keys: The keys that open the API.
        tls: The server's TLS context.
        insecure_http: Whether the operator said that plain HTTP is meant.

    Raises:
        ConfigError: Not an address, or open to a network without key or encryption.
    """
    if bind == _LOOPBACK_NAME:
        return "127.0.0.1"
    try:
        ipaddress.ip_address(bind)
    except ValueError:
        raise ConfigError(f"cannot listen on {bind!r}: give an address, such as 127.0.0.1") from None
    if any(not key or not key.isascii() or not key.isprintable() for key in api_keys):
        raise ConfigError("an API key is empty or has characters that no HTTP header can carry")
    if is_loopback(bind):
        return bind
    if not api_keys:
        raise ConfigError(f"listening on {bind} lets the network in: set at least one API key")
    if tls is None and not insecure_http:
        raise ConfigError(
            f"listening on {bind} sends prompts over the network in the clear: give TLS or --insecure-http"
        )
    return bind


def split_authority(authority: str) -> tuple[str, int | None] | None:
    """Split `host`, `host:port`, `[v6]` or `[v6]:port`; None if it is none of these. The host comes in lower case."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or ":" not in host:
            return None
        name, port = host, rest.removeprefix(":") if rest.startswith(":") else rest or None
        if rest and not rest.startswith(":"):
            return None
    else:
        name, colon, after = authority.partition(":")
        port = after if colon else None
    if not name:
        return None
    if port is None:
        return name.lower(), None
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    return name.lower(), int(port)


def _is_followed_link(head: RequestHead) -> bool:
    """Whether a browser says that its user goes here from another page: the whole tab, not a frame in that page."""
    going = head.get(b"sec-fetch-mode") == b"navigate" and head.get(b"sec-fetch-dest") == b"document"
    return going and head.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorkeeper:
    """What a server answers to.

    Attributes:
        names: Names besides loopback's that the operator configured, lower case.
        keys: SHA-256 of each API key; empty means that none is needed.
        secure: Whether this door speaks TLS.
    """

    names: frozenset[str] = frozenset()
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    secure: bool = False

    @classmethod
    def build(cls, *, names: Collection[str] = (), api_keys: Sequence[str] = (), secure: bool = False) -> Doorkeeper:
        """Make one from settings."""
        return cls(
            names=frozenset(name.lower() for name in names),
            keys=tuple(hashlib.sha256(key.encode()).digest() for key in api_keys),
            secure=secure,
        )

    def check(self, head: RequestHead, *, local: tuple[str, int]) -> None:
        """Do the checks that need no knowledge of the path, in order: Host, then Origin.

        Args:
            head: The parsed head.
            local: Address and port of this end of the connection.

        Raises:
            RequestError: 400 or 403.
        """
        self.require_host(head, local=local)
        self.require_same_origin(head, local=local)

    def require_host(self, head: RequestHead, *, local: tuple[str, int]) -> None:
        """Hold off DNS rebinding: a page under a name that was made to point here carries that name as Host.

        Raises:
            RequestError: 400 `bad_http` without a Host, 403 `host_not_allowed` with a strange one.
        """
        host = head.get(b"host")
        if host is None:
            if head.version == "1.1":
                raise refusal("bad_http", "The Host header is missing.")
            raise refusal("host_not_allowed")
        if not self._is_ours(host.decode("latin-1"), local=local):
            raise refusal("host_not_allowed")
        if head.authority and not self._is_ours(head.authority, local=local):
            raise refusal("host_not_allowed")

    def require_same_origin(self, head: RequestHead, *, local: tuple[str, int]) -> None:
        """Hold off other pages: an Origin must be our own, and a browser's word that another page asks ends it.

        Only a link that is followed may come from elsewhere. The browser shows no other page what is read here, since
        no CORS header is ever sent; but an image of `/api/events` would hold a connection, and pages have many images.

        Raises:
            RequestError: 403 `origin_not_allowed`.
        """
        origin = head.get(b"origin")
        if origin is not None:
            scheme, _, authority = origin.decode("latin-1").partition("://")
            if scheme != ("https" if self.secure else "http") or not self._is_ours(authority, local=local):
                raise refusal("origin_not_allowed")
        site = head.get(b"sec-fetch-site")
        if site not in (None, b"same-origin", b"none") and not _is_followed_link(head):
            raise refusal("origin_not_allowed")

    def require_key(self, head: RequestHead) -> None:
        """Demand a bearer key where keys are set, in a time that tells nothing about them.

        Raises:
            RequestError: 401 `invalid_api_key`.
        """
        if not self.keys:
            return
        scheme, _, given = (head.get(b"authorization") or b"").partition(b" ")
        digest = hashlib.sha256(given.strip()).digest()
        matches = [hmac.compare_digest(digest, key) for key in self.keys]  # all of them, whichever fits
        if scheme.lower() != b"bearer" or not any(matches):
            raise refusal("invalid_api_key")

    def _is_ours(self, authority: str, *, local: tuple[str, int]) -> bool:
        split = split_authority(authority)
        if split is None:
            return False
        name, port = split
        address, our_port = local
        if (port if port is not None else (443 if self.secure else 80)) != our_port:
            return False
        if name in self.names:
            return True
        if is_loopback(address):
            return is_loopback(name)
        try:  # off loopback an address literal is fine if it is the one that was reached: it cannot be rebound
            return ipaddress.ip_address(name) == ipaddress.ip_address(address)
        except ValueError:
            return False

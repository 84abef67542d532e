"""The node's own page and what stands behind it: the status, once and as it changes, and a way to stop the node.

Reading needs no token, since nothing secret is ever in a status; changing needs the local token of `run/node.json`.
Other web pages reach neither: the Host header, the Origin and the page's own policy see to that (attack A19).
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.resources
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Final

import msgspec

from sealmesh.api.connection import OK, HttpLimits, HttpRequest
from sealmesh.api.doors import Doorkeeper, is_loopback
from sealmesh.api.errors import CODES, PublicError, refusal
from sealmesh.api.heads import RequestHead
from sealmesh.api.http import HttpServer
from sealmesh.api.reply import SSE, Reply
from sealmesh.api.source import StatusSource
from sealmesh.console.members import PATH as MEMBERS
from sealmesh.console.members import REVOKE, MemberDesk, parse_revocation_untrusted
from sealmesh.console.metrics import CONTENT_TYPE, render
from sealmesh.console.pins import PATH as PINS
from sealmesh.console.pins import PinDesk, parse_hex_untrusted, parse_pin_untrusted
from sealmesh.errors import ConfigError
from sealmesh.limits import CONSOLE_BODY_MAX, CONSOLE_CONNECTIONS_MAX, EVENTS_KEEPALIVE_S, SHUTDOWN_GRACE_S
from sealmesh.status import NodeStatus

LOOPBACK: Final = "127.0.0.1"
TOKEN_HEADER: Final = b"x-sealmesh-token"

#: Nothing but this page's own files, no frames, no forms, no connection elsewhere.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_PAGE_HEADERS: Final = (
    ("content-security-policy", PAGE_POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
)
_PAGES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
}


class ConsoleHandler:
    """Answers browsers and the command line.

    Args:
        status: Where the node's status is read.
        token: What changing demands; "" refuses every change.
        stop: Asks the node to stop; None where that is not offered.
        pins: Where pins are read and changed; None where that is not offered.
        members: Where members are read and revoked; None where that is not offered.
        keepalive_s: The event stream says something at least this often.
    """

    def __init__(
        self,
        status: StatusSource,
        *,
        token: str,
        stop: Callable[[], None] | None,
        pins: PinDesk | None = None,
        members: MemberDesk | None = None,
        keepalive_s: float = EVENTS_KEEPALIVE_S,
    ) -> None:
        self._status = status
        self._token = token.encode()
        self._stop = stop
        self._pins = pins
        self._members = members
        self._keepalive_s = keepalive_s
        self.stopping = asyncio.Event()
        folder = importlib.resources.files("sealmesh.console") / "static"
        self._pages = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _PAGES.items()}

    def check_head(self, head: RequestHead) -> None:
        """Demand the token for a change before its body is read.

        Raises:
            RequestError: 403 `token_required`.
        """
        if head.method not in ("GET", "HEAD", "OPTIONS"):
            self.require_token(head)

    def require_token(self, head: RequestHead) -> None:
        """Hold off whoever reaches this port without being able to read the node's home.

        Raises:
            RequestError: 403 `token_required`.
        """
        given = head.get(TOKEN_HEADER) or b""
        if not self._token or not hmac.compare_digest(given, self._token):
            raise refusal("token_required")

    async def respond(self, request: HttpRequest, reply: Reply) -> str:
        """Answer one request; returns the result's code."""
        head = request.head
        allowed = self._allowed(head.path)
        if not allowed:
            return _refuse(reply, CODES["not_found"])
        if head.method == "OPTIONS":
            reply.send(200, b"", headers=(("allow", allowed),))
            return OK
        if head.method not in allowed.split(", "):
            return _refuse(reply, CODES["method_not_allowed"], ("allow", allowed))
        if head.path == "/api/status":
            reply.send(200, msgspec.json.encode(self._status.snapshot()))
            return OK
        if head.path == "/metrics":
            reply.send(200, render(self._status.snapshot()), content_type=CONTENT_TYPE)
            return OK
        if head.path == "/api/events":
            return await self._events(head, reply)
        if head.path == "/api/stop":
            return self._stop_node(reply)
        if head.path.startswith(PINS):
            return await self._change_pins(request, reply)
        if head.path in (MEMBERS, REVOKE):
            return await self._change_members(request, reply)
        page, kind = self._pages[head.path]
        reply.send(200, page, content_type=kind, headers=_PAGE_HEADERS)
        return OK

    def _allowed(self, path: str) -> str:
        if path in self._pages or path in ("/api/status", "/api/events", "/metrics", MEMBERS):
            return "GET, HEAD, OPTIONS"
        if path == PINS:
            return "GET, HEAD, POST, OPTIONS"
        if path.startswith(f"{PINS}/"):
            return "DELETE, OPTIONS"
        return "POST, OPTIONS" if path in ("/api/stop", REVOKE) else ""

    async def _change_pins(self, request: HttpRequest, reply: Reply) -> str:
        """The pins, one more, or one less; a change is in force when it is answered."""
        if self._pins is None:
            return _refuse(reply, CODES["not_supported"])
        match request.head.method:
            case "POST":
                endpoint_id, fingerprint = parse_pin_untrusted(request.body)
                reply.send(200, msgspec.json.encode(await self._pins.add(endpoint_id, fingerprint)))
            case "DELETE":
                endpoint_id = parse_hex_untrusted(request.head.path.removeprefix(f"{PINS}/"))
                if not await self._pins.remove(endpoint_id):
                    return _refuse(reply, replace(CODES["not_found"], message="No pin is held for this host."))
                reply.send(200, b'{"removed":true}')
            case _:
                reply.send(200, msgspec.json.encode({"pins": self._pins.pins()}))
        return OK

    async def _change_members(self, request: HttpRequest, reply: Reply) -> str:
        """The members, or some fewer; a revocation is in force here when it is answered."""
        if self._members is None:
            return _refuse(reply, CODES["not_supported"])
        if request.head.path == MEMBERS:
            reply.send(200, msgspec.json.encode(self._members.members()))
        else:
            wanted = parse_revocation_untrusted(request.body)
            reply.send(200, msgspec.json.encode(await self._members.revoke(wanted)))
        return OK

    def _stop_node(self, reply: Reply) -> str:
        if self._stop is None:
            return _refuse(reply, CODES["not_supported"])
        reply.send(202, b'{"stopping":true}')
        self._stop()
        return OK

    async def _events(self, head: RequestHead, reply: Reply) -> str:
        """The whole status first and whenever it changed, without an end."""
        if head.method == "HEAD":
            reply.send(200, b"", content_type=SSE)
            return OK
        changes = self._status.subscribe()
        following = asyncio.ensure_future(_next(changes))  # before the snapshot, so that no change falls between
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            last = _event(self._status.snapshot())
            await reply.start(200, last, content_type=SSE)
            while True:
                done, _ = await asyncio.wait(
                    (following, stopping), timeout=self._keepalive_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    await reply.write(b": keepalive\n\n")
                    continue
                changed = None if stopping in done else following.result()
                if changed is None:
                    reply.end()
                    return OK
                following = asyncio.ensure_future(_next(changes))
                event = _event(changed)
                if event != last:
                    last = event
                    await reply.write(event)
        finally:
            for task in (following, stopping):
                task.cancel()
            await asyncio.wait((following, stopping))
            closing = getattr(changes, "aclose", None)
            if closing is not None:
                await closing()


async def _next(changes: AsyncIterator[NodeStatus]) -> NodeStatus | None:
    """The next status, None after the last."""
    return await anext(changes, None)


def _event(status: NodeStatus) -> bytes:
    return b"data: " + msgspec.json.encode(status) + b"\n\n"


def _refuse(reply: Reply, public: PublicError, *headers: tuple[str, str]) -> str:
    reply.refuse(public, headers=headers)
    return public.code


class ConsoleServer:
    """Serves the console on loopback.

    Args:
        status: Where the node's status is read.
        port: 0 picks a free one.
        token: The local token; changing demands it in `x-sealmesh-token`.
        stop: Called for `POST /api/stop`.
        pins: For `/api/pins`.
        members: For `/api/members`.
        bind: A loopback address; the console is never offered to a network.
        allowed_hosts: More names that may stand in the Host header.
        bounds: What browsers may send and hold.
        keepalive_s: `/api/events` says something at least this often, in seconds.

    Raises:
        ConfigError: The address is not a loopback one.
    """

    def __init__(
        self,
        status: StatusSource,
        *,
        port: int,
        token: str,
        stop: Callable[[], None] | None = None,
        pins: PinDesk | None = None,
        members: MemberDesk | None = None,
        bind: str = LOOPBACK,
        allowed_hosts: Collection[str] = (),
        bounds: HttpLimits | None = None,
        keepalive_s: float = EVENTS_KEEPALIVE_S,
    ) -> None:
        if not is_loopback(bind):
            raise ConfigError(f"the console listens on loopback only, not on {bind}")
        self._handler = ConsoleHandler(
            status, token=token, stop=stop, pins=pins, members=members, keepalive_s=keepalive_s
        )
        self._server = HttpServer(
            self._handler,
            address=LOOPBACK if bind == "localhost" else bind,
            port=port,
            doorkeeper=Doorkeeper.build(names=allowed_hosts),
            bounds=bounds or HttpLimits(body_max=CONSOLE_BODY_MAX, connections_max=CONSOLE_CONNECTIONS_MAX),
        )

    async def start(self) -> str:
        """Listen, and return the base URL, without a path.

        Raises:
            ConfigError: The port is taken or may not be used.
        """
        return await self._server.start()

    async def shutdown(self, grace_s: float = SHUTDOWN_GRACE_S) -> None:
        """Take nothing new and end event streams; the grace, in seconds, is for what else runs."""
        self._handler.stopping.set()
        await self._server.shutdown(grace_s)

"""The API of a node: the OpenAI surface on a listening server."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from sealmesh.api.connection import HttpLimits
from sealmesh.api.doors import Doorkeeper, require_safe_bind
from sealmesh.api.http import HttpServer
from sealmesh.api.openai import OpenAIHandler
from sealmesh.api.source import AttestationSource
from sealmesh.client.asker import Asker
from sealmesh.limits import SHUTDOWN_GRACE_S

LOOPBACK: Final = "127.0.0.1"


class ApiServer:
    """Serves apps.

    Args:
        asker: Produces the answers.
        bind: Address to listen on; `localhost` means 127.0.0.1.
        port: 0 picks a free one.
        attestations: For `/v1/mesh/attestation/{model}`.
        api_keys: Bearer keys that open the API; demanded off loopback.
        tls: TLS context; demanded off loopback, unless `insecure_http`.
        insecure_http: The operator means plain HTTP off loopback.
        allowed_hosts: More names that may stand in the Host header (a name of this machine, a reverse proxy's).
        bounds: What apps may send and hold.
        on_result: Called with each request's result code (`ok`, `app_left`, or an error's code).

    Raises:
        ConfigError: The address is open to a network without key or encryption.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        bind: str = LOOPBACK,
        port: int,
        attestations: AttestationSource | None = None,
        api_keys: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        insecure_http: bool = False,
        allowed_hosts: Collection[str] = (),
        bounds: HttpLimits | None = None,
        on_result: Callable[[str], None] | None = None,
    ) -> None:
        address = require_safe_bind(bind, api_keys=api_keys, tls=tls, insecure_http=insecure_http)
        doorkeeper = Doorkeeper.build(names=allowed_hosts, api_keys=api_keys, secure=tls is not None)
        self._handler = OpenAIHandler(asker, doorkeeper=doorkeeper, attestations=attestations)
        self._server = HttpServer(
            self._handler,
            address=address,
            port=port,
            doorkeeper=doorkeeper,
            bounds=bounds,
            tls=tls,
            on_result=on_result,
        )

    async def start(self) -> str:
        """Listen, and return the base URL, without a path.

        Raises:
            ConfigError: The port is taken or may not be used.
        """
        return await self._server.start()

    async def shutdown(self, grace_s: float = SHUTDOWN_GRACE_S) -> None:
        """Take nothing new, let running answers end within the grace (seconds), then end them with an error."""
        await self._server.shutdown(grace_s)
        self._handler.close()

    @property
    def results(self) -> Counter[str]:
        """Requests since start by result code."""
        return self._server.results

    @property
    def open_requests(self) -> int:
        """Requests under way."""
        return len(self._server.tasks)

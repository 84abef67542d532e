"""How commands ask the running node: its HTTP API, over the standard library's client."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sealmesh.cli.stream import ANSWER_MAX, ChatAnswer, api_error, as_object, connect, start_chat, unreachable
from sealmesh.config.load import find_home
from sealmesh.console.members import RevocationWish
from sealmesh.errors import ConfigError, RemoteProtocolError
from sealmesh.node.home import Home, RunState

STATUS_TIMEOUT_S: Final = 10.0


class NodeApi:
    """The API of one running node.

    Args:
        state: Where it is.
        api_key: What the API wants to see, if it wants a key; the node's own local token otherwise.
    """

    def __init__(self, state: RunState, *, api_key: str | None = None) -> None:
        self.state = state
        self._key = api_key or os.environ.get("SEALMESH_API_KEY") or state.token.reveal()

    @classmethod
    def find(cls, home: Path | None = None) -> NodeApi:
        """The node that runs on that home.

        Raises:
            ConfigError: None does, or the home cannot be read.
        """
        return cls(Home(find_home(home)).require_run_state())

    def status(self) -> dict[str, Any]:
        """`/api/status`.

        Raises:
            ConfigError: The node runs without a console.
            TransportError: It does not answer.
            RequestError, BackendError: It answered with an error.
        """
        if self.state.console_url is None:
            raise ConfigError("the node runs with --headless, and its status is read from the console; see its log")
        return as_object(self._get(self.state.console_url, "/api/status"))

    def models(self) -> list[dict[str, Any]]:
        """`/v1/models`, every advertised model, usable or not.

        Raises:
            TransportError: The node does not answer.
            RequestError, BackendError: It answered with an error.
        """
        listed = as_object(self._get(self.state.api_url, "/v1/models")).get("data")
        if not isinstance(listed, list):
            raise RemoteProtocolError("the node's list of models is none")
        return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    def pins(self) -> list[dict[str, Any]]:
        """`/api/pins`.

        Raises:
            ConfigError: The node runs without a console.
            TransportError: It does not answer.
            RequestError, BackendError: It answered with an error.
        """
        listed = as_object(self._change("GET", "/api/pins")).get("pins")
        if not isinstance(listed, list):
            raise RemoteProtocolError("the node's list of pins is none")
        return [entry for entry in listed if isinstance(entry, dict)]

    def pin(self, endpoint_id: bytes, fingerprint: bytes | None) -> dict[str, Any]:
        """Pin a host's hardware key: this one, or the one that it shows now. Raises as `pins`."""
        wanted = {"endpoint_id": endpoint_id.hex(), "fingerprint": fingerprint.hex() if fingerprint else None}
        return as_object(self._change("POST", "/api/pins", json.dumps(wanted).encode()))

    def unpin(self, endpoint_id: bytes) -> None:
        """Take a pin away. Raises as `pins`; a RequestError with `not_found` where there is none."""
        self._change("DELETE", f"/api/pins/{endpoint_id.hex()}")

    def members(self) -> dict[str, Any]:
        """`/api/members`: the mesh, its members, its list of revocations. Raises as `pins`."""
        return as_object(self._change("GET", "/api/members"))

    def revoke(self, wish: RevocationWish) -> dict[str, Any]:
        """Put somebody out. Raises as `pins`; a RequestError where this node cannot do it."""
        wanted = {
            "endpoint_id": wish.endpoint_id.hex() if wish.endpoint_id else None,
            "serial": wish.serial.hex() if wish.serial else None,
            "keep_ticket": wish.keep_ticket,
        }
        return as_object(self._change("POST", "/api/members/revoke", json.dumps(wanted).encode()))

    def _change(self, method: str, path: str, body: bytes | None = None) -> bytes:
        if self.state.console_url is None:
            raise ConfigError(
                "the node runs with --headless, and its pins and members are changed through the console: stop it, "
                "change them, and start it again"
            )
        headers = {"x-sealmesh-token": self.state.token.reveal()}
        return self._ask(self.state.console_url, method, path, headers=headers, body=body)

    def chat(self, body: Mapping[str, object]) -> ChatAnswer:
        """Start `/v1/chat/completions`; the caller reads and closes the answer.

        Raises:
            TransportError: The node does not answer.
            RequestError, BackendError: It answered with an error; `code` is the API's.
        """
        return start_chat(self.state.api_url, body, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key}"}

    def _get(self, base: str, path: str) -> bytes:
        return self._ask(base, "GET", path, headers=self._headers())

    def _ask(
        self, base: str, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> bytes:
        connection = connect(base, STATUS_TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            with connection.getresponse() as response:
                content = response.read(ANSWER_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(base, error) from error
        finally:
            connection.close()
        if response.status != 200:
            raise api_error(response.status, content)
        if len(content) > ANSWER_MAX:
            raise RemoteProtocolError("the node's answer is too large")
        return content

"""How commands ask the running node: its HTTP API, over the standard library's client."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from sealmesh.cli.terminal import REASON_SHOWN_MAX, escape_peer_text
from sealmesh.config.load import find_home
from sealmesh.errors import BackendError, ConfigError, RemoteProtocolError, RequestError, TransportError
from sealmesh.limits import MIB
from sealmesh.node.home import Home, RunState

ANSWER_MAX: Final = 64 * MIB  # the status of 10,000 peers is about 10 MiB
LINE_MAX: Final = 1 * MIB  # one server-sent event
STATUS_TIMEOUT_S: Final = 10.0
CHAT_TIMEOUT_S: Final = 660.0  # longer than the node itself waits for a host


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
        return _object(self._get(self.state.console_url, "/api/status"))

    def models(self) -> list[dict[str, Any]]:
        """`/v1/models`, every advertised model, usable or not.

        Raises:
            TransportError: The node does not answer.
            RequestError, BackendError: It answered with an error.
        """
        listed = _object(self._get(self.state.api_url, "/v1/models")).get("data")
        if not isinstance(listed, list):
            raise RemoteProtocolError("the node's list of models is none")
        return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    def chat(self, body: Mapping[str, object]) -> ChatAnswer:
        """Start `/v1/chat/completions`; the caller reads and closes the answer.

        Raises:
            TransportError: The node does not answer.
            RequestError, BackendError: It answered with an error; `code` is the API's.
        """
        connection = _connect(self.state.api_url, CHAT_TIMEOUT_S)
        headers = {"content-type": "application/json", **self._headers()}
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}), headers)
            response = connection.getresponse()
            if response.status != 200:
                with response:
                    raise _api_error(response.status, response.read(ANSWER_MAX))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unreachable(self.state.api_url, error) from error
        except BaseException:
            connection.close()
            raise
        return ChatAnswer(connection, response)

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key}"}

    def _get(self, base: str, path: str) -> bytes:
        connection = _connect(base, STATUS_TIMEOUT_S)
        try:
            connection.request("GET", path, headers=self._headers())
            with connection.getresponse() as response:
                content = response.read(ANSWER_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(base, error) from error
        finally:
            connection.close()
        if response.status != 200:
            raise _api_error(response.status, content)
        if len(content) > ANSWER_MAX:
            raise RemoteProtocolError("the node's answer is too large")
        return content


class ChatAnswer:
    """A streamed answer. Use as a context manager: leaving it early tells the node, and so the host, to stop."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.complete = False

    def pieces(self) -> Iterator[str]:
        """The answer's text as it comes; `complete` is set only by its proper end.

        Raises:
            RequestError, BackendError: The stream ended with an error event.
            TransportError: The node was lost, or the stream has no proper end.
        """
        try:
            while line := self._response.readline(LINE_MAX):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.complete = True
                    return
                yield from _texts(data)
        except (OSError, http.client.HTTPException) as error:
            raise TransportError("the node was lost in mid-answer; what is shown is not the whole") from error
        raise TransportError("the answer has no proper end; what is shown is not the whole")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        self._connection.close()


def _texts(data: bytes) -> Iterator[str]:
    """The text in one event of a stream."""
    event = _object(data)
    if "error" in event:
        raise _api_error(502, data)
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        text = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(text, str) and text:
            yield text


def _connect(base: str, timeout_s: float) -> http.client.HTTPConnection:
    url = urlsplit(base)
    host = url.hostname or "127.0.0.1"
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, url.port, timeout=timeout_s)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RemoteProtocolError("the node's answer is not what this version expects")
    return value


def _unreachable(base: str, error: Exception) -> TransportError:
    if isinstance(error, ssl.SSLError):
        return TransportError(f"the certificate of {base} was not accepted ({error.reason or 'TLS failed'})")
    return TransportError(f"the node at {base} does not answer ({type(error).__name__})")


def _api_error(status: int, content: bytes) -> RequestError | BackendError:
    """The API's error object as one of ours. Its words can quote a host, so they are escaped where they are shown."""
    try:
        found = json.loads(content)["error"]
        code, message = str(found["code"]), str(found["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = "unknown", f"the node answered {status} without saying why"
    code = escape_peer_text(code)
    message = escape_peer_text(message, most=REASON_SHOWN_MAX)
    if 400 <= status < 500:
        return RequestError(status, code, message)
    return BackendError(status, code, message)

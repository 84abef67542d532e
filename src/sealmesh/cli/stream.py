"""The one reader of streamed answers: what `chat`, `bench` and `demo` get from a node's API, as any app would.

Over the standard library's client. An answer counts as complete only at its proper end (`data: [DONE]`), which a node
writes only after the authenticated end of the sealed answer.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from sealmesh.cli.terminal import REASON_SHOWN_MAX, escape_peer_text
from sealmesh.errors import BackendError, RemoteProtocolError, RequestError, TransportError
from sealmesh.limits import MIB

ANSWER_MAX: Final = 64 * MIB  # the status of 10,000 peers is about 10 MiB
LINE_MAX: Final = 1 * MIB  # one server-sent event
CHAT_TIMEOUT_S: Final = 660.0  # longer than the node itself waits for a host

_TEXT: Final = ("content",)
#: Engines name a model's thinking so; it is written at the model's own pace like the rest.
_ALL_TEXT: Final = ("content", "reasoning_content", "reasoning")


def start_chat(
    api_url: str,
    body: Mapping[str, object],
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = CHAT_TIMEOUT_S,
) -> ChatAnswer:
    """Start `/v1/chat/completions` as a stream; the caller reads and closes the answer.

    Args:
        api_url: Where the API is, without a path.
        body: The request; `stream` is set here.
        headers: Sent along, such as a key.
        timeout_s: A node that says nothing for so long is given up. Seconds.

    Raises:
        TransportError: The node does not answer.
        RequestError, BackendError: It answered with an error; `code` is the API's.
    """
    connection = connect(api_url, timeout_s)
    head = {"content-type": "application/json", **(headers or {})}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}), head)
        response = connection.getresponse()
        if response.status != 200:
            with response:
                raise api_error(response.status, response.read(ANSWER_MAX))
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise unreachable(api_url, error) from error
    except BaseException:
        connection.close()
        raise
    return ChatAnswer(connection, response)


class ChatAnswer:
    """A streamed answer. Use as a context manager: leaving it early tells the node, and so the host, to stop.

    Attributes:
        headers: Of the answer, by their names in lower case.
        complete: Whether the proper end has come.
        usage: What the answer says that it cost, if it says so.
    """

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.complete = False
        self.usage: dict[str, Any] = {}

    def pieces(self, *, thoughts: bool = False) -> Iterator[str]:
        """The answer's text as it comes; `complete` is set only by its proper end.

        Args:
            thoughts: Whether what a model writes before its answer counts too.

        Raises:
            RequestError, BackendError: The stream ended with an error event.
            TransportError: The node was lost, or the stream has no proper end.
        """
        names = _ALL_TEXT if thoughts else _TEXT
        try:
            while line := self._response.readline(LINE_MAX):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.complete = True
                    return
                event = as_object(data)
                if "error" in event:
                    raise api_error(502, data)
                if isinstance(usage := event.get("usage"), dict):
                    self.usage = usage
                yield from _texts(event, names)
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


def _texts(event: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """The text in one event of a stream."""
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            texts = (delta.get(name) for name in names)
            yield from (text for text in texts if isinstance(text, str) and text)


def connect(base: str, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to the API or the console at that URL, not yet opened."""
    url = urlsplit(base)
    host = url.hostname or "127.0.0.1"
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, url.port, timeout=timeout_s)


def as_object(data: bytes) -> dict[str, Any]:
    """The JSON object that a node sent.

    Raises:
        RemoteProtocolError: It is none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RemoteProtocolError("the node's answer is not what this version expects")
    return value


def unreachable(base: str, error: Exception) -> TransportError:
    """Why a node did not answer, in words."""
    if isinstance(error, ssl.SSLError):
        return TransportError(f"the certificate of {base} was not accepted ({error.reason or 'TLS failed'})")
    return TransportError(f"the node at {base} does not answer ({type(error).__name__})")


def api_error(status: int, content: bytes) -> RequestError | BackendError:
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

"""Any engine that speaks the OpenAI API, by its URL: vLLM, SGLang, llama.cpp, Ollama and others."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.backend.answers import WholeAnswer, engine_error, error_answer, usage_in_tail
from sealmesh.backend.base import Backend, BackendAnswer, BackendRequest, ModelInfo, Usage
from sealmesh.backend.engine_http import Address, Connection, Pool, Response, exchange
from sealmesh.backend.links import refuse_links_untrusted
from sealmesh.backend.translated import ask_as_chat
from sealmesh.backend.usage_events import CountsRemover, asking_for_counts
from sealmesh.errors import BackendError, ConfigError, RequestError
from sealmesh.wire.operations import RESPONSE_HEADERS, Operation

_log = logging.getLogger("sealmesh.backend")

_SALT_LABEL: Final = b"sealmesh/1 cache salt\x00"
_CONNECTIONS_MAX: Final = 256
_INLINE_MAX: Final = 256 * limits.KIB  # a larger body is changed beside the event loop: it takes milliseconds
#: Streams that say their token counts only when they are asked to.
_COUNTED: Final = (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS)
_MODELS_BODY_MAX: Final = limits.MIB
_START_TIMEOUT_S: Final = 10.0
_HEADER_VALUE_MAX: Final = 256
#: How the last event of a Responses stream names itself; that API has no `[DONE]`.
_RESPONSE_ENDS: Final = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
#: What engines call the context that one request gets, best first: vLLM and SGLang, LM Studio, OpenRouter.
_CONTEXT_FIELDS: Final = ("max_model_len", "loaded_context_length", "context_length", "max_context_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the operator says about an engine.

    Attributes:
        api_key: Sent as a bearer token; None: nothing is sent.
        cache_salt: The engine keeps prefix caches apart by `cache_salt` (vLLM does): send one per conversation.
        responses: `/v1/responses` is passed on; else it is translated to chat. Never found out by trying.
        models: Serve only these; all if empty.
        parallel: How many answers at once; 0: no bound known.
    """

    api_key: str | None = field(default=None, repr=False)
    cache_salt: bool = False
    responses: bool = False
    models: tuple[str, ...] = ()
    parallel: int = 0

    def __post_init__(self) -> None:
        """Check the key.

        Raises:
            ConfigError: It cannot stand in a header.
        """
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ConfigError("the engine's API key holds characters that cannot stand in a header")


class OpenAIBackend(Backend):
    """An engine by its URL.

    Args:
        url: `http://host:port`, `https://host` or `unix:/path`, with or without `/v1`.
        options: What the operator says about it.
    """

    def __init__(self, url: str, options: EngineOptions | None = None) -> None:
        self._address = Address.parse(url)
        self._options = options or EngineOptions()
        self.place = "local" if self._address.local else "remote"
        self.shared_prefix_cache = not self._options.cache_salt
        self.parallel = self._options.parallel
        self._pool = Pool(self._address, connections_max=self.parallel or _CONNECTIONS_MAX)
        self._models: tuple[ModelInfo, ...] = ()

    async def start(self) -> None:
        """Ask the engine what it serves.

        Raises:
            BackendError: It cannot be reached, or says nothing that can be used.
        """
        if self.place == "remote" and not self._address.tls:
            _log.warning("prompts go to %s in clear text: it is not on this machine", self._address.authority)
        head = self._head("GET", f"{self._address.prefix}/models", accept="application/json")
        connection, response = await exchange(self._pool, head, b"", head_timeout=_START_TIMEOUT_S)
        body, reusable = await _read_all(connection, response, _MODELS_BODY_MAX, self._pool)
        self._pool.give_back(connection, reusable=reusable)
        if response.status in (401, 403):
            raise BackendError(503, "backend_refused", "The engine wants an API key, or another one.")
        if response.status != 200:
            raise BackendError(
                503,
                "backend_unavailable",
                f"The engine at {self._address.authority} answered {response.status} to "
                f"{self._address.prefix}/models: is this the base URL of an OpenAI-compatible API?",
            )
        self._models = _models_from(body, self._options.models)

    def models(self) -> tuple[ModelInfo, ...]:
        """What the engine said at start."""
        return self._models

    async def ask(self, request: BackendRequest) -> BackendAnswer:
        """Pass one request on; returns once the engine's head is there.

        Raises:
            BackendError: The engine cannot be reached, broke the protocol, or refused this host itself.
        """
        if request.operation is Operation.RESPONSES and not self._options.responses:
            return await ask_as_chat(self.ask, request)
        try:
            body, takes_counts = await self._body_for(request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return error_answer(400, "invalid_json", "The body is not a JSON object that can be read.")
        except RequestError as error:
            return error_answer(error.status, error.code, error.message, param=error.param)
        # Built from the table of operations: nothing that the asker wrote stands in the head (A24).
        path = self._address.prefix + request.operation.path.removeprefix("/v1")
        accept = "text/event-stream" if request.stream else "application/json"
        head = self._head(request.operation.method, path, accept=accept, length=len(body))
        connection, response = await exchange(self._pool, head, body, head_timeout=limits.RESPONSE_HEAD_TIMEOUT_S)
        try:
            _check_head(response)
            if response.status >= 400:
                text, reusable = await _read_all(connection, response, limits.BACKEND_ERROR_BODY_MAX, self._pool)
                self._pool.give_back(connection, reusable=reusable)
                return _error_from(response, text)
        except BaseException:
            self._pool.give_back(connection, reusable=False)
            raise
        return _EngineAnswer(self._pool, connection, response, request, takes_counts=takes_counts)

    async def _body_for(self, request: BackendRequest) -> tuple[bytes, bool]:
        """Return what the engine gets, and whether the app takes the event with the counts."""
        if len(request.body) <= _INLINE_MAX:
            return self._make_body(request)
        return await asyncio.to_thread(self._make_body, request)

    def _make_body(self, request: BackendRequest) -> tuple[bytes, bool]:
        body, takes_counts = refuse_links_untrusted(request.body), True
        if self._options.cache_salt:
            body = salted(body, request.cache_key)
        if request.stream and request.operation in _COUNTED:
            body, takes_counts = asking_for_counts(body)
        return body, takes_counts

    def _head(self, method: str, path: str, *, accept: str, length: int = 0) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: {self._address.authority}",
            f"accept: {accept}",
            "accept-encoding: identity",
            "user-agent: sealmesh",
        ]
        if method == "POST":
            lines += ["content-type: application/json", f"content-length: {length}"]
        if self._options.api_key is not None:
            lines.append(f"authorization: Bearer {self._options.api_key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


def salted(body: bytes, cache_key: bytes) -> bytes:
    """Return the body with a `cache_salt` of ours, whatever the asker wrote there.

    Args:
        body: A JSON object.
        cache_key: The asker's per-conversation secret; without one nothing is shared, not even with itself.

    Raises:
        msgspec.DecodeError: The body is no JSON object.
    """
    salt = hashlib.sha256(_SALT_LABEL + cache_key).hexdigest() if cache_key else secrets.token_hex(32)
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["cache_salt"] = salt
    return msgspec.json.encode(fields)


def _models_from(body: bytes, wanted: tuple[str, ...]) -> tuple[ModelInfo, ...]:
    try:
        entries = msgspec.json.decode(body)["data"]
        found = [_model_from(entry) for entry in entries]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackendError(503, "backend_unavailable", "The engine's list of models cannot be read.") from error
    usable = [model for model in found if model.name and len(model.name.encode("utf-8", "replace")) <= limits.NAME_MAX]
    if wanted:
        missing = set(wanted) - {model.name for model in usable}
        if missing:
            raise BackendError(503, "backend_unavailable", f"The engine does not serve {', '.join(sorted(missing))}.")
        usable = [model for model in usable if model.name in wanted]
    if not usable:
        raise BackendError(503, "backend_unavailable", "The engine serves no model: load one into it first.")
    if len(usable) > limits.MODELS_PER_RECORD_MAX:
        _log.warning("the engine serves %d models; the first %d are offered", len(usable), limits.MODELS_PER_RECORD_MAX)
    return tuple(usable[: limits.MODELS_PER_RECORD_MAX])


def _model_from(entry: dict[str, Any]) -> ModelInfo:
    name = entry["id"]
    meta = entry.get("meta")
    values = [entry.get(key) for key in _CONTEXT_FIELDS]
    if isinstance(meta, dict):  # llama.cpp
        values += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    context = next((value for value in values if isinstance(value, int) and 0 < value < 1 << 31), 0)
    return ModelInfo(name=name if isinstance(name, str) else "", context_length=context)


def _check_head(response: Response) -> None:
    """Refuse answers that are not the engine's word on this request.

    Raises:
        BackendError: A redirect, an encoded body, a status that no answer has, or a refusal of this host's key (which
            is not the asker's doing).
    """
    if response.headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
        raise BackendError(502, "engine_broken", "The engine encoded its answer though it was asked not to.")
    if response.status in (401, 403, 407):
        raise BackendError(502, "backend_refused", "The engine refuses this host: its operator has to set an API key.")
    if 300 <= response.status < 400:
        raise BackendError(502, "engine_broken", "The engine redirects; redirects are not followed.")
    if response.status != 200 and not 400 <= response.status <= 599:
        raise BackendError(502, "engine_broken", "The engine answered with a status that no answer has.")


def _passed_headers(response: Response) -> tuple[tuple[str, str], ...]:
    passed = []
    for name in sorted(RESPONSE_HEADERS):
        value = response.headers.get(name.encode(), b"").decode("latin-1").strip()
        if value and len(value) <= _HEADER_VALUE_MAX and value.isascii() and value.isprintable():
            passed.append((name, value))
    return tuple(passed)


def _error_from(response: Response, body: bytes) -> WholeAnswer:
    answer = engine_error(response.status, body)
    retry = tuple(header for header in _passed_headers(response) if header[0] == "retry-after")
    answer.headers = (*answer.headers, *retry)
    return answer


async def _read_all(connection: Connection, response: Response, most: int, pool: Pool) -> tuple[bytes, bool]:
    """Return a small body, cut off at `most` bytes, and whether the connection can be kept."""
    size = 0
    try:
        while size <= most and not response.complete:
            if not await connection.read_into(response, _START_TIMEOUT_S):
                break
            size = sum(map(len, response.body))
    except BaseException:
        pool.give_back(connection, reusable=False)
        raise
    whole = response.complete and response.keep_alive and not response.excess
    return b"".join(response.body)[:most], whole


class _EngineAnswer(BackendAnswer):
    """An answer as it comes from the engine."""

    def __init__(
        self, pool: Pool, connection: Connection, response: Response, request: BackendRequest, *, takes_counts: bool
    ) -> None:
        self.status = response.status
        self.headers = _passed_headers(response)
        self._pool = pool
        self._connection = connection
        self._response = response
        self._operation = request.operation
        self._events = response.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        self._tail = b""
        self._done = False
        self._closed = False
        self._remover = None if takes_counts or not self._events else CountsRemover()
        self._out = b""  # has come through the remover, and waits

    async def read(self) -> bytes:
        """Return what has come since the last call."""
        if self._remover is None:
            return await self._read()
        while not self._out and not self._done:
            data = await self._read()
            self._out = self._remover.feed_untrusted(data) if data else self._remover.finish()
        data, self._out = self._out[: limits.BACKEND_CHUNK], self._out[limits.BACKEND_CHUNK :]
        return data

    async def _read(self) -> bytes:
        response = self._response
        while not response.body and not response.complete:
            if self._closed:
                raise BackendError(503, "backend_stopped", "The answer was stopped.")
            if not await self._connection.read_into(response, limits.RESPONSE_BODY_TIMEOUT_S):
                self._end_of_connection()
        if not response.body:
            self._end()
            return b""
        taken: list[bytes] = []
        room = limits.BACKEND_CHUNK
        while response.body and room:
            part = response.body.popleft()
            if len(part) > room:
                response.body.appendleft(part[room:])
                part = part[:room]
            taken.append(part)
            room -= len(part)
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self._tail = (self._tail + data)[-limits.BACKEND_TAIL :]
        return data

    @property
    def ready(self) -> bool:
        """See `BackendAnswer.ready`."""
        return bool(self._out) or bool(self._response.body) or self._response.complete

    def _end_of_connection(self) -> None:
        """The engine has closed: right only for events that end with the connection, and have said that they end."""
        if self._response.framed or not self._events or not self._said_end():
            raise BackendError(502, "engine_cut", "The engine closed the connection in the middle of an answer.")
        self._response.complete = True

    def _said_end(self) -> bool:
        if self._operation is Operation.RESPONSES:
            return any(mark in self._tail for mark in _RESPONSE_ENDS)
        last = self._tail.rstrip().rpartition(b"\n")[2]
        return last.removeprefix(b"data:").strip() == b"[DONE]" and last.startswith(b"data:")

    def _end(self) -> None:
        if self._done:
            return
        if self._events and not self._said_end():
            self._pool.give_back(self._connection, reusable=False)
            raise BackendError(502, "engine_cut", "The engine ended its events without saying that it is done.")
        self._done = True
        response = self._response
        reusable = response.framed and response.keep_alive and not response.excess
        self._pool.give_back(self._connection, reusable=reusable)

    @property
    def usage(self) -> Usage | None:
        """Token counts, once all has been read, found in the last few KiB."""
        return usage_in_tail(self._tail) if self._done else None

    async def close(self) -> None:
        """Close the connection at once unless the answer is whole: that is what stops an engine."""
        self._closed = True
        self._pool.give_back(self._connection, reusable=False)

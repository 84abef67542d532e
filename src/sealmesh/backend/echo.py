"""`echo:`, a backend without a model: it says the last user message back, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from sealmesh import limits
from sealmesh.backend.answers import JSON_HEADERS, SSE_HEADERS, WholeAnswer, error_answer
from sealmesh.backend.base import Backend, BackendAnswer, BackendRequest, ModelInfo, Usage
from sealmesh.backend.echo_shapes import SHAPES, ChatShape
from sealmesh.backend.translated import ask_as_chat
from sealmesh.errors import BackendError, ConfigError
from sealmesh.wire.operations import Operation

#: Pieces that keep their white space, so that they join to the text again.
_WORDS: Final = re.compile(r"\S+\s*|\s+")
_COUNT_WORDS_MAX: Final = limits.MIB  # beyond this, prompt tokens are estimated: counting would be the benchmark
_EMBEDDING_SIZE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoOptions:
    """What `echo:?…` may ask for.

    Attributes:
        tokens: Say this many synthetic tokens instead of the message; 0: say the message.
        rate: Tokens a second; 0: as fast as they are read.
        size: Bytes of each synthetic token.
        delay: Seconds before the first token, as a prefill would take.
        sha256: Say the SHA-256 and length of the message instead of it.
        status: Answer every request with this error status; 0: do not.
        cut: End without a proper end after this many tokens; 0: do not.
        name: The model's name.
        context: The context length it claims.
        parallel: How many answers at once it claims.
    """

    tokens: int = 0
    rate: float = 0.0
    size: int = 0
    delay: float = 0.0
    sha256: bool = False
    status: int = 0
    cut: int = 0
    name: str = "echo"
    context: int = 1 << 20
    parallel: int = 0

    @classmethod
    def parse(cls, reference: str) -> EchoOptions:
        """Return the options of an `echo:` reference.

        Raises:
            ConfigError: An option is unknown or its value does not fit.
        """
        scheme, _, rest = reference.partition(":")
        if scheme != "echo" or (rest and not rest.startswith("?")):
            raise ConfigError(f"not an echo backend: use echo: or echo:?tokens=100&rate=50, not {reference!r}")
        values: dict[str, Any] = {}
        for name, text in parse_qsl(rest[1:], keep_blank_values=True):
            if name not in cls.__slots__:
                raise ConfigError(f"unknown option {name!r} of echo:, use one of {', '.join(cls.__slots__)}")
            kind = _KINDS[name]
            try:
                values[name] = text in ("1", "true") if kind is bool else kind(text)
            except ValueError:
                raise ConfigError(f"option {name} of echo: needs a {kind.__name__}, not {text!r}") from None
            if kind in (int, float) and not 0 <= values[name] <= 1 << 30:
                raise ConfigError(f"option {name} of echo: is out of range: {text!r}")
        return cls(**values)


_KINDS: Final[dict[str, type[int] | type[float] | type[str]]] = {
    "tokens": int, "rate": float, "size": int, "delay": float, "sha256": bool, "status": int, "cut": int, "name": str,
    "context": int, "parallel": int,
}  # fmt: skip


class _Body(msgspec.Struct):
    """The fields of a request that an echo looks at."""

    messages: list[msgspec.Raw] | None = None
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: dict[str, Any] | None = None
    encoding_format: str | None = None


def _text_of(value: object) -> str:
    """Return the text of a message's content, a prompt or an input, parts and items joined."""
    match value:
        case str():
            return value
        case list():
            return "".join(_text_of(part) for part in value)
        case {"text": str(text)}:
            return text
        case {"role": "user", "content": content}:
            return _text_of(content)
        case _:
            return ""


def _said(body: _Body) -> str:
    """Return what the asker said last."""
    for raw in reversed(body.messages or []):
        message = msgspec.json.decode(raw)
        if isinstance(message, dict) and message.get("role") == "user":
            return _text_of(message.get("content"))
    for raw in (body.prompt, body.input):
        if bytes(raw):
            value = msgspec.json.decode(raw)
            if isinstance(value, list):
                value = value[-1:]
            return _text_of(value)
    return ""


class EchoBackend(Backend):
    """Says the last user message back, word by word.

    Args:
        options: How it speaks.
    """

    def __init__(self, options: EchoOptions | None = None) -> None:
        self._options = options or EchoOptions()
        self.place = "in-process"
        self.shared_prefix_cache = False
        self.parallel = self._options.parallel

    async def start(self) -> None:
        """Nothing needs loading."""

    def models(self) -> tuple[ModelInfo, ...]:
        """One model, `echo` unless named otherwise."""
        return (ModelInfo(name=self._options.name, context_length=self._options.context),)

    async def ask(self, request: BackendRequest) -> BackendAnswer:
        """Answer at once; the tokens come as `read` is called."""
        if request.operation is Operation.RESPONSES:
            return await ask_as_chat(self.ask, request)
        options = self._options
        if options.status:
            return error_answer(options.status, "echo_status", "The echo backend was told to fail.")
        try:
            body = msgspec.json.decode(request.body, type=_Body)
            said = "" if options.tokens else _said(body)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            return error_answer(400, "invalid_request", "The request is not what this endpoint takes.")
        if options.sha256:
            data = said.encode("utf-8", "surrogatepass")
            said = f"sha256={hashlib.sha256(data).hexdigest()} bytes={len(data)}"
        small = len(request.body) <= _COUNT_WORDS_MAX
        prompt_tokens = len(request.body.split()) if small else len(request.body) // 4
        if request.operation is Operation.EMBEDDINGS:
            return _embeddings(request.model, body, prompt_tokens)
        pieces: list[str]
        if options.tokens:
            pieces = [f"t{i} ".ljust(options.size, ".") for i in range(options.tokens)]
        else:
            pieces = _WORDS.findall(said) if small else [said]
        asked = body.max_tokens or body.max_completion_tokens
        length = asked is not None and len(pieces) > asked
        if length:
            pieces = pieces[:asked]
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=len(pieces))
        with_usage = bool((body.stream_options or {}).get("include_usage"))
        shape = SHAPES[request.operation](request.model, "length" if length else "stop", usage, with_usage)
        if not request.stream and not (options.rate or options.delay or options.cut):
            return WholeAnswer(200, shape.whole("".join(pieces)), usage=usage)
        return _EchoAnswer(options, shape, pieces, usage, stream=request.stream)

    async def close(self) -> None:
        """Nothing to free."""


def _embeddings(model: str, body: _Body, prompt_tokens: int) -> BackendAnswer:
    value = msgspec.json.decode(body.input) if bytes(body.input) else ""
    items = value if isinstance(value, list) and all(isinstance(item, str) for item in value) else [value]
    data = []
    for index, item in enumerate(items):
        digest = hashlib.sha256(msgspec.json.encode(item)).digest()
        vector: list[float] | str = [byte / 255 for byte in digest[:_EMBEDDING_SIZE]]
        if body.encoding_format == "base64":  # little-endian floats, as the official SDK asks for them
            vector = base64.b64encode(struct.pack(f"<{_EMBEDDING_SIZE}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    counts = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    answer = {"object": "list", "data": data, "model": model, "usage": counts}
    return WholeAnswer(200, msgspec.json.encode(answer), usage=Usage(prompt_tokens=prompt_tokens))


class _EchoAnswer(BackendAnswer):
    """Events on a schedule: token i is due `delay + i / rate` seconds after the first read."""

    def __init__(
        self, options: EchoOptions, shape: ChatShape, pieces: list[str], usage: Usage, *, stream: bool
    ) -> None:
        self.status = 200
        self.headers = SSE_HEADERS if stream else JSON_HEADERS
        self._options = options
        self._events = shape.events(pieces) if stream else iter((shape.whole("".join(pieces)),))
        self._spacing = (1 / options.rate if options.rate else 0.0) * (1 if stream else len(pieces))
        self._waiting = b""
        self._count = 0
        self._started: float | None = None
        self._closed = False
        self._counts = usage
        self._ended = False

    async def read(self) -> bytes:
        """Return the events that are due."""
        loop = asyncio.get_running_loop()
        if self._started is None:
            self._started = loop.time()
        ready = bytearray(self._waiting)
        self._waiting = b""
        while len(ready) < limits.BACKEND_CHUNK and not self._closed and not self._ended:
            spaced = self._count if self.headers is SSE_HEADERS else 1
            due = self._started + self._options.delay + spaced * self._spacing
            if (wait := due - loop.time()) > 0:
                if ready:
                    break
                await asyncio.sleep(wait)
            if self._options.cut and self._count >= self._options.cut:
                raise BackendError(502, "engine_cut", "The echo backend was told to end without an end.")
            event = next(self._events, None)
            if event is None:
                self._ended = True
            else:
                ready += event
                self._count += 1
        if len(ready) > limits.BACKEND_CHUNK:
            self._waiting = bytes(ready[limits.BACKEND_CHUNK :])
        if self._options.rate == 0:
            await asyncio.sleep(0)  # as fast as possible still lets others run
        return bytes(ready[: limits.BACKEND_CHUNK])

    @property
    def ready(self) -> bool:
        """See `BackendAnswer.ready`."""
        return not self._spacing and not self._options.delay

    @property
    def usage(self) -> Usage | None:
        """The counts, once all has been read."""
        return self._counts if self._ended else None

    async def close(self) -> None:
        """Say no more."""
        self._closed = True
        self._waiting = b""

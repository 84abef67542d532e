"""A model inside this process, through llama.cpp: the prompt goes nowhere once it is opened.

The traps of the library, each met here and each with a test: docs/explain/backends.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.backend.answers import error_answer
from sealmesh.backend.base import Backend, BackendAnswer, BackendRequest, ModelInfo
from sealmesh.backend.bridge import Bridge
from sealmesh.backend.llama_answer import LlamaAnswer
from sealmesh.backend.llama_request import build_request
from sealmesh.backend.llama_tools import template_knows_tools
from sealmesh.backend.models import ModelFile
from sealmesh.backend.native import silence_native_stderr
from sealmesh.backend.slots import Lease, SlotPool
from sealmesh.backend.translated import ask_as_chat
from sealmesh.errors import BackendError, ConfigError, RequestError
from sealmesh.wire.operations import Operation

_log = logging.getLogger("sealmesh.backend")

_CPU_BATCH: Final = 128  # tokens between two chances to stop: half a second of a small model on two slow cores
_GPU_BATCH: Final = 512
_WAITING_PER_SLOT: Final = 64
_METHODS: Final = {
    Operation.CHAT_COMPLETIONS: "handle_chat_completions",
    Operation.COMPLETIONS: "handle_completions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaOptions:
    """How a model is run.

    Attributes:
        context: Tokens that one request gets, prompt and answer together; less if the model was trained with less.
        parallel: Requests that are answered at once.
        threads: CPU threads; 0: as many as there are cores.
        batch: Tokens of a prompt between two chances to stop; 0: chosen by the device.
        gpu_layers: Layers put on an accelerator; -1: as many as fit.
        embeddings: Make embeddings instead of answers; None: if the file names a pooling type.
    """

    context: int = 4096
    parallel: int = 4
    threads: int = 0
    batch: int = 0
    gpu_layers: int = -1
    embeddings: bool | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: One is out of range.
        """
        for name, low, high in (
            ("context", 64, 1 << 24),
            ("parallel", 1, 256),
            ("threads", 0, 1024),
            ("batch", 0, 8192),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be between {low} and {high}")


class LlamaBackend(Backend):
    """One model in this process.

    Args:
        find: Returns the model's file, verified; called in a thread by `start`.
        options: How to run it.
        on_close: Called by `close`, also while `find` runs, to end it.
    """

    def __init__(
        self,
        find: Callable[[], ModelFile],
        options: LlamaOptions | None = None,
        *,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._find = find
        self._on_close = on_close
        self._options = options or LlamaOptions()
        self.place = "in-process"
        self.shared_prefix_cache = False
        self.parallel = self._options.parallel
        self._server: Any = None
        self._quiet = False
        self._embeds = False
        self._own_tools = False  # the chat template knows none
        self._models: tuple[ModelInfo, ...] = ()
        self._slots = SlotPool(self.parallel, waiting_max=_WAITING_PER_SLOT * self.parallel)
        self._threads: ThreadPoolExecutor | None = None
        self._running: set[Bridge] = set()
        self._closed = False

    async def start(self) -> None:
        """Find, verify and load the model. The library holds the interpreter while it loads: start this first.

        Raises:
            BackendError: The library or the model cannot be used.
            ConfigError: The model's name cannot be used.
        """
        # Own threads: asyncio's default executor has too few where cores are few, and others use it.
        self._threads = ThreadPoolExecutor(self.parallel, thread_name_prefix="model")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
        except BaseException:
            await self.close()
            raise

    def _load(self) -> None:
        file = self._find()
        try:
            import xllamacpp  # late: it starts no thread before a model is wanted, and it is an optional part
        except ImportError as error:
            raise BackendError(
                503, "backend_unavailable", "Models in this process need the extra part: pip install 'sealmesh[model]'"
            ) from error
        self._quiet = silence_native_stderr()
        if not self._quiet:
            _log.warning("native messages cannot be silenced here: tools and JSON schemas are refused")
        self._own_tools = not template_knows_tools(file.path)
        names_pooling = _names_pooling(file.path)
        self._embeds = names_pooling if self._options.embeddings is None else self._options.embeddings
        # The library always opens a listener. On a socket file in our own folder, removed once it is there, and with
        # a key that nobody knows, it can be reached by nobody.
        folder = tempfile.mkdtemp(prefix="sealmesh-")
        try:
            parameters = self._parameters(xllamacpp, file, folder, force_pooling=self._embeds and not names_pooling)
            self._server = xllamacpp.Server(parameters)
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                503,
                "backend_unavailable",
                f"The model {file.name} could not be loaded: the file is damaged, of a kind that llama.cpp does not "
                "know, or does not fit into memory (try a smaller context or fewer parallel requests).",
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        context = self._options.context if self._embeds else self._measure_context()
        self._models = (ModelInfo(name=file.name, context_length=context, digest=file.digest),)

    def _parameters(self, library: Any, file: ModelFile, folder: str, *, force_pooling: bool) -> Any:
        options = self._options
        batch = options.context if self._embeds else options.batch or _batch_for(library)
        parameters = library.CommonParams()
        parameters.model.path = str(file.path)
        parameters.model_alias = {file.name}  # else answers name the file's path
        parameters.n_ctx = options.context * options.parallel  # the library divides it
        parameters.n_parallel = options.parallel
        parameters.kv_unified = False  # slots share nothing, and none takes another's room
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_gpu_layers = options.gpu_layers
        if options.threads:
            parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
        parameters.embedding = self._embeds
        if force_pooling:
            parameters.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        # No state between askers: no prompt cache in RAM, no slot chosen by likeness, no chunks shifted into reuse.
        parameters.cache_ram_mib = 0
        parameters.cache_idle_slots = False
        parameters.slot_prompt_similarity = 0.0
        parameters.n_cache_reuse = 0
        # Nothing to be reached, nothing to be read.
        parameters.hostnames = [str(Path(folder) / "s.sock")]
        parameters.api_keys = [secrets.token_hex(32)]
        parameters.n_threads_http = 1
        parameters.endpoint_slots = parameters.endpoint_props = parameters.endpoint_metrics = False
        parameters.ui = False
        parameters.verbosity = -1  # 1 (errors) prints requests that failed
        parameters.warmup = False
        return parameters

    def _measure_context(self) -> int:
        """Ask for too much and read how much one request gets: what was set may have been capped or rounded."""
        body = {"prompt": [0] * (self._options.context * 2 + 1024), "max_tokens": 1}
        seen: list[bytes] = []

        def take(event: bytes) -> bool:
            seen.append(event)
            return True

        self._server.handle_completions(msgspec.json.encode(body), take)
        with contextlib.suppress(msgspec.DecodeError, IndexError, KeyError, TypeError, ValueError):
            return int(msgspec.json.decode(seen[0])["error"]["n_ctx"])
        raise BackendError(503, "backend_unavailable", "The model does not say how much context one request gets.")

    def models(self) -> tuple[ModelInfo, ...]:
        """The one model."""
        return self._models

    async def ask(self, request: BackendRequest) -> BackendAnswer:
        """Answer in a slot of the model; returns once the model has taken the request.

        Raises:
            BackendError: The model is busy or stopped.
        """
        if self._server is None or self._threads is None:
            raise BackendError(503, "backend_unavailable", "The model is not loaded.")
        if request.operation is Operation.RESPONSES and not self._embeds:
            return await ask_as_chat(self.ask, request)
        supported = (Operation.EMBEDDINGS,) if self._embeds else tuple(_METHODS)
        if request.operation not in supported:
            return error_answer(501, "unsupported_operation", f"This model does not do {request.operation.path}.")
        if not self._quiet and re.search(rb'"(tools|response_format)"', request.body):
            return error_answer(400, "unsupported_parameter", "Tools and JSON schemas cannot be used on this host.")
        lease = await self._slots.acquire(request.cache_key)
        try:
            asked = build_request(
                request,
                slot=lease.index,
                reuse=lease.reuse,
                context=self._models[0].context_length,
                own_tools=self._own_tools,
            )
        except RequestError as error:
            self._slots.release(lease.index)
            return error_answer(error.status, error.code, error.message, param=error.param)
        except BaseException:
            self._slots.release(lease.index)
            raise
        answer = LlamaAnswer(request, asked)
        self._submit(answer, lease)
        try:
            await answer.bridge.opened()
        except BaseException:
            await answer.close()
            raise
        if answer.refusal is not None:
            return answer.refusal
        return answer

    def _submit(self, answer: LlamaAnswer, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        assert self._threads is not None  # noqa: S101 - for the type checker; `ask` has looked
        server = self._server
        call = server.handle_embeddings if self._embeds else getattr(server, _METHODS[answer.operation])
        self._running.add(answer.bridge)

        def left() -> None:
            self._running.discard(answer.bridge)
            self._slots.release(lease.index)  # only now: the engine has left the slot
            answer.left.set()

        def work() -> None:
            try:
                answer.run(call)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody needs the slot
                    loop.call_soon_threadsafe(left)

        self._threads.submit(work)

    async def close(self) -> None:
        """Stop all answers and free the model."""
        if self._closed:
            return
        self._closed = True
        if self._on_close is not None:
            self._on_close()
        for bridge in tuple(self._running):
            bridge.stop()
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(self._shut_down, threads)

    def _shut_down(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown(wait=True)
        self._server = None  # the last reference: the library's destructor joins its own threads


def _batch_for(library: Any) -> int:
    kinds = {str(device.get("type")) for device in library.get_device_info()}
    return _GPU_BATCH if any("GPU" in kind for kind in kinds) else _CPU_BATCH


def _names_pooling(path: Path) -> bool:
    """Whether a model's file says how to pool, as those made for embeddings do. It is among the first keys."""
    with path.open("rb") as file:
        return b".pooling_type" in file.read(limits.MIB)

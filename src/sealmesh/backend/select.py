"""Which backend a reference means: `echo:`, an engine's URL, or a model that is loaded in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sealmesh.backend.base import Backend
from sealmesh.backend.echo import EchoBackend, EchoOptions
from sealmesh.backend.llama import LlamaBackend, LlamaOptions
from sealmesh.backend.models import Progress, default_cache_dir, resolve
from sealmesh.backend.openai import EngineOptions, OpenAIBackend
from sealmesh.errors import BackendError

_ENGINE_SCHEMES = ("http://", "https://", "unix:")


def open_backend(
    reference: str,
    *,
    cache_dir: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    context: int | None = None,
    parallel: int | None = None,
    threads: int | None = None,
    embeddings: bool | None = None,
    api_key: str | None = None,
    cache_salt: bool = False,
    backend_api: Literal["chat", "responses"] = "chat",
    models: tuple[str, ...] = (),
) -> Backend:
    """Return the backend that a reference means, not yet started.

    Args:
        reference: `echo:…`, the URL of an OpenAI-compatible engine (`http://`, `https://`, `unix:/path`), or a model:
            a name that we know, a path that ends in `.gguf`, or `hf:owner/repo/file.gguf`.
        cache_dir: Where fetched models live; the platform's cache folder by default.
        progress: Told about fetching and loading.
        context: Tokens that one request gets, for a model in this process.
        parallel: How many answers at once.
        threads: Threads of the model in this process.
        embeddings: Whether the model in this process makes embeddings; by its file if None.
        api_key: Sent to the engine as a bearer token.
        cache_salt: Send the engine a `cache_salt` per conversation (vLLM honours it).
        backend_api: Whether `/v1/responses` is passed on to the engine, or translated to chat.
        models: Serve only these of the engine's models.

    Raises:
        ConfigError: The reference or an option cannot be used.
    """
    if reference.startswith("echo:"):
        return EchoBackend(EchoOptions.parse(reference))
    if reference.startswith(_ENGINE_SCHEMES):
        return OpenAIBackend(
            reference,
            EngineOptions(
                api_key=api_key,
                cache_salt=cache_salt,
                responses=backend_api == "responses",
                models=models,
                parallel=parallel or 0,
            ),
        )
    cache = cache_dir if cache_dir is not None else default_cache_dir()
    chosen = {"context": context, "parallel": parallel, "threads": threads}
    given = {name: value for name, value in chosen.items() if value is not None}
    options = LlamaOptions(**given, embeddings=embeddings)
    closing = threading.Event()

    def report(step: Progress) -> None:
        if closing.is_set():
            raise BackendError(503, "backend_stopped", "The node is being stopped.")
        if progress is not None:
            progress(step)

    return LlamaBackend(lambda: resolve(reference, cache, report), options, on_close=closing.set)

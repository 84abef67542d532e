"""A model's file from a Hugging Face hub, held to the SHA-256 that the hub states for it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sealmesh.backend.models import ModelFile, Progress, hash_file, model_name, set_aside_damaged
from sealmesh.errors import BackendError, ConfigError

_REFERENCE: Final = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[\w.+-]+(?:/[\w.+-]+)*\.gguf)(?:@(?P<revision>[\w./-]+))?"
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def resolve_hub(
    reference: str, cache_dir: Path, report: Callable[[Progress], None], *, endpoint: str | None = None
) -> ModelFile:
    """Return a file of a hub; once fetched, the hub is not asked again.

    Args:
        reference: `hf:owner/repo/path/file.gguf`, with `@revision` behind it if it is not to be `main`.
        cache_dir: Where fetched files live.
        report: Told what is being done.
        endpoint: The hub; by the library's own settings if None.

    Raises:
        ConfigError: The reference does not fit.
        BackendError: The file could not be fetched, or is not what the hub states.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None or ".." in reference:
        raise ConfigError(f"{reference!r} does not name a file of a hub: use hf:owner/repo/file.gguf")
    repo, file, revision = parts["repo"], parts["file"], parts["revision"] or "main"
    folder = cache_dir / "hub" / repo.replace("/", "--") / revision.replace("/", "--")
    path = folder / file.replace("/", "--")
    stated = path.with_name(path.name + ".sha256")
    try:
        if path.exists() and stated.exists():
            digest = hash_file(path, report)
            if digest.hex() == stated.read_text().strip():
                return ModelFile(path=path, name=model_name(Path(file)), digest=digest)
            set_aside_damaged(path, report)
        folder.mkdir(parents=True, exist_ok=True)
        digest = _fetch(repo, file, revision, path, stated, report, endpoint)
    except OSError as error:
        raise BackendError(503, "model_unavailable", f"{reference} could not be fetched: {error}") from error
    return ModelFile(path=path, name=model_name(Path(file)), digest=digest)


def _fetch(
    repo: str,
    file: str,
    revision: str,
    path: Path,
    stated: Path,
    report: Callable[[Progress], None],
    endpoint: str | None,
) -> bytes:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
        from huggingface_hub.utils.tqdm import tqdm
    except ImportError as error:
        raise BackendError(
            503, "backend_unavailable", "Models of a hub need the extra part: pip install 'sealmesh[hub]'"
        ) from error
    try:
        url = huggingface_hub.hf_hub_url(repo, file, revision=revision, endpoint=endpoint)
        metadata = huggingface_hub.get_hf_file_metadata(url, endpoint=endpoint)
        wanted = metadata.etag or ""
        if not _SHA256.fullmatch(wanted):
            raise BackendError(
                503, "model_unavailable", f"The hub states no SHA-256 for {file}: it is not stored as a large file."
            )
        size = metadata.size or 0
        report(Progress(phase="fetch", message=f"fetching {file} ({size // 1_000_000} MB)", total=size))
        done = 0

        class Ticks(tqdm):  # the library's way to be told, and to be broken off
            """Draws nothing; reports instead."""

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> None:
                nonlocal done
                done += int(n or 0)
                report(Progress(phase="fetch", message=f"fetching {file}", done=done, total=size))

        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as temporary:
            fetched = Path(
                huggingface_hub.hf_hub_download(
                    repo,
                    file,
                    revision=metadata.commit_hash or revision,
                    local_dir=temporary,
                    endpoint=endpoint,
                    tqdm_class=Ticks,
                )
            )
            digest = hash_file(fetched, report)
            if digest.hex() != wanted:
                raise BackendError(
                    503, "model_mismatch", f"{file} is not what the hub states by its SHA-256. Nothing was kept."
                )
            # The digest goes first: a file without one is never used.
            stated.write_text(wanted + "\n")
            fetched.replace(path)
    except (HfHubHTTPError, HFValidationError) as error:
        raise BackendError(
            503,
            "model_unavailable",
            f"hf:{repo}/{file} could not be fetched: the hub says {type(error).__name__}. Check the name, the network, "
            "and HF_TOKEN if the model is gated.",
        ) from error
    return digest

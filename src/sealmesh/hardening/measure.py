"""What is installed here, as one digest: the *measurement* (ATTESTATION.md, What a host measures of itself).

It is the SHA-256 of a manifest: a text with one line for each file from which this process could load code or data,
sorted, the same on two fresh installs of one platform and after use. A program that hashes itself proves nothing: the
measurement is self-asserted until a lower layer signs it (docs/spec/builds.md, section 1).

What it does not cover, and says so: the interpreter and its standard library, cached bytecode in `__pycache__`, and,
where the process was not started isolated, the folder of the script or the working directory.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import platform
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sealmesh import __version__
from sealmesh.errors import ConfigError

FORMAT: Final = "sealmesh-measurement 1"
#: What an installer notes of its own work in a `.dist-info` folder; it differs between installs and nothing runs it.
INSTALLER_NOTES: Final = frozenset(
    {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
#: Modules that the interpreter imports by itself at its start, wherever they lie.
_START_MODULES: Final = ("sitecustomize", "usercustomize")
_SITE_NAMES: Final = frozenset({"site-packages", "dist-packages"})
_CACHE: Final = "__pycache__"
#: Hashing leaves the interpreter's lock; beyond a few threads the disk is the limit.
_THREADS: Final = 4
#: What a manifest shows of a name as it is. All else is percent-encoded, a line break too: one line is one file.
_PLAIN: Final = "/-_.~+@=,()[]{}!$&'*:; "


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where an environment's code lies.

    Attributes:
        sites: The folders that packages are installed into.
        prefix: The root of the environment: files beside the packages are named from here.
        scripts: The folder of console scripts.
        platform: See `platform_tag`.
        outside: Folders from which modules can come though nothing is installed into them.
        start_files: Module name to file of what the interpreter imports at its start from elsewhere.
    """

    sites: tuple[Path, ...]
    prefix: Path
    scripts: Path
    platform: str
    outside: tuple[Path, ...] = ()
    start_files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What an environment came to.

    Attributes:
        digest: SHA-256 of the manifest, 32 bytes [BL-1].
        manifest: The text that was hashed.
        platform: See `platform_tag`.
        version: Of sealmesh.
        distributions: How many are installed.
        files: How many were hashed.
        size: Their bytes together.
        unblessed: Why no list could ever vouch for this environment; empty where one can.
    """

    digest: bytes
    manifest: bytes
    platform: str
    version: str
    distributions: int
    files: int
    size: int
    unblessed: tuple[str, ...] = ()

    @property
    def claimed(self) -> bytes:
        """What a host statement says: the digest, or nothing where no list could vouch for it [BL-3]."""
        return b"" if self.unblessed else self.digest

    def describe(self) -> dict[str, object]:
        """The measurement as JSON-ready data: what `sealmesh bless add` reads."""
        return {
            "measurement": self.digest.hex(),
            "platform": self.platform,
            "version": self.version,
            "manifest_length": len(self.manifest),
            "distributions": self.distributions,
            "files": self.files,
            "bytes": self.size,
            "unblessed": list(self.unblessed),
            "source": "self_asserted",
        }


def platform_tag() -> str:
    """What a build is made for: system, machine and kind of interpreter, as `linux-x86_64-cp311`."""
    short = {"cpython": "cp", "pypy": "pp"}.get(sys.implementation.name, sys.implementation.name)
    machine = platform.machine().lower() or "unknown"
    return f"{sys.platform}-{machine}-{short}{sys.version_info.major}{sys.version_info.minor}"


def this_environment() -> Environment:
    """The environment that this process runs in."""
    paths = sysconfig.get_paths()
    standard = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")}
    standard |= {folder / "lib-dynload" for folder in standard}
    # The first entry is the script's folder or the working directory, unless the process was started isolated.
    importable = sys.path if sys.flags.safe_path else sys.path[1:]
    found = [Path(entry or ".").resolve() for entry in importable]
    installed = [Path(paths["purelib"]), Path(paths["platlib"]), *(one for one in found if one.name in _SITE_NAMES)]
    sites = tuple(dict.fromkeys(one.resolve() for one in installed if one.is_dir()))
    outside = [one for one in found if one not in sites and one not in standard and one.exists()]
    return Environment(
        sites=sites,
        prefix=Path(sys.prefix).resolve(),
        scripts=Path(paths["scripts"]).resolve(),
        platform=platform_tag(),
        outside=tuple(dict.fromkeys(outside)),
        start_files=dict(_start_files(sites)),
    )


def measure(environment: Environment | None = None, *, unclaimed: bool = True) -> Measurement:
    """Hash everything that is installed.

    Args:
        environment: What to measure; the one that this process runs in where none is given.
        unclaimed: Whether to hash also what no list could vouch for, for people to look at. A host does not: it would
            claim nothing of it, and an environment to work on sealmesh takes two seconds of a core at each start.

    Raises:
        ConfigError: A file cannot be read.
    """
    environment = this_environment() if environment is None else environment
    unblessed = tuple(_faults(environment))
    found = dict(_files(environment)) if unclaimed or not unblessed else {}
    names = sorted(found)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashed = list(pool.map(lambda name: _hash(found[name]), names))
    installed = sorted({line for site in environment.sites for line in _distributions(site)})
    lines = [
        FORMAT,
        f"platform {_words(environment.platform)}",
        *(f"unblessed {_words(fault)}" for fault in unblessed),
        *(f"distribution {line}" for line in installed),
        *(f"{kind} {name}" for name, (kind, _) in zip(names, hashed, strict=True)),
    ]
    manifest = ("\n".join(lines) + "\n").encode()
    return Measurement(
        digest=hashlib.sha256(manifest).digest(),
        manifest=manifest,
        platform=environment.platform,
        version=__version__,
        distributions=len(installed),
        files=len(names),
        size=sum(size for _, size in hashed),
        unblessed=unblessed,
    )


# --- which files --------------------------------------------------------------------------------------------------


def _files(environment: Environment) -> Iterator[tuple[str, Path]]:
    """The name of each file in a manifest, and where it lies."""
    for number, site in enumerate(environment.sites):
        label = f"site{number or ''}"
        for relative, path in _walk(site, (site.resolve(),)):
            yield f"{label}/{_name(relative)}", path
        for path in _beside(site, environment.scripts):
            inside = path.is_relative_to(environment.prefix)
            yield f"prefix/{_name(path.relative_to(environment.prefix))}" if inside else f"root{_name(path)}", path
    for module, path in environment.start_files.items():
        yield f"start/{module}.py", path


def _walk(folder: Path, above: tuple[Path, ...], within: str = "") -> Iterator[tuple[str, Path]]:
    """Every file below a folder, links followed as imports do; caches and installers' notes left out [BL-2]."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error
    for entry in entries:
        name, path = within + entry.name, Path(entry.path)
        if _is_folder(entry):
            real = path.resolve()
            if real not in above:  # a link that leads back up adds no file
                yield from _walk(path, (*above, real), name + "/")
        elif within.endswith(f"{_CACHE}/") and entry.name.endswith(".pyc"):
            continue  # made by use; what a planted one can do is in docs/spec/builds.md
        elif not (within.endswith(".dist-info/") and within.count("/") == 1 and entry.name in INSTALLER_NOTES):
            yield name, path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # links in a circle: whoever opens it as a file says what is wrong


def _beside(site: Path, scripts: Path) -> Iterator[Path]:
    """What distributions installed outside of the packages' folder, but for scripts that name their interpreter."""
    for record in site.glob("*.dist-info/RECORD"):
        for listed in _listed(record):
            if ".." not in listed and not listed.startswith("/"):
                continue
            path = Path(os.path.normpath(site / listed))
            if path.is_relative_to(site) or not _exists(path) or _is_cached(path):
                continue
            # A launcher's first line holds the environment's own path; nothing imports it.
            if not (path.parent.resolve() == scripts and _is_script(path)):
                yield path


def _listed(record: Path) -> Iterator[str]:
    """What a RECORD lists, quotes and line breaks in names as its format has them."""
    try:
        with record.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield from (row[0] for row in csv.reader(stream) if row)
    except OSError as error:
        raise _unreadable(record, error) from error
    except csv.Error as error:
        raise ConfigError(f"{record} is damaged, so this installation cannot be measured") from error


def _exists(path: Path) -> bool:
    """Whether a path leads anywhere; one that no system could have (too long, NUL) does not."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib's own raises for them


def _is_cached(path: Path) -> bool:
    return path.parent.name == _CACHE and path.suffix == ".pyc"


def _is_script(path: Path) -> bool:
    if not path.is_file():
        return False  # opening a pipe could wait for ever
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"#!"
    except OSError as error:
        raise _unreadable(path, error) from error


def _start_files(sites: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """What the interpreter imports at its start from a folder that is not measured anyway."""
    for module in _START_MODULES:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        origin = None if spec is None or spec.origin is None else Path(spec.origin)
        if origin is not None and not any(origin.resolve().is_relative_to(site) for site in sites):
            yield module, origin


def _hash(path: Path) -> tuple[str, int]:
    """A manifest's word for a file, with its digest where it has content, and its size in bytes."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return "special", 0  # a pipe or a device: opening it could wait for ever
        with path.open("rb") as stream:
            return f"file {hashlib.file_digest(stream, 'sha256').hexdigest()}", found.st_size
    except FileNotFoundError:
        return "dangling", 0  # a link to nothing
    except OSError as error:
        raise _unreadable(path, error) from error


# --- what is installed, and what cannot be vouched for ------------------------------------------------------------


def _distributions(site: Path) -> Iterator[str]:
    for one in metadata.distributions(path=[str(site)]):
        # A folder without METADATA has no name, nor has one whose METADATA is no UTF-8, as old packages have it; its
        # files are in the manifest all the same.
        try:
            name, version = one.metadata["Name"] or "unknown", one.metadata["Version"] or "unknown"
        except UnicodeDecodeError:
            name = version = "unknown"
        yield f"{_words(name.lower())} {_words(version)}"


def _faults(environment: Environment) -> Iterator[str]:
    """Why no list can vouch for this environment: code that comes from where nobody measures."""
    editable = sorted({name for site in environment.sites for name in _editable(site)})
    for name in editable:
        yield f"{name} is installed editable: its code can change at any time"
    named = {one for site in environment.sites for one in _path_lines(site)}
    if not editable and (extra := named.union(environment.outside)):
        count = f"{len(extra)} folders" if len(extra) > 1 else "a folder"
        yield f"modules can come from {count} outside of the environment"


def _editable(site: Path) -> Iterator[str]:
    for note in site.glob("*.dist-info/direct_url.json"):
        try:
            origin = json.loads(note.read_bytes())
            editable = origin["dir_info"]["editable"] is True
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if editable:
            yield note.parent.name.partition("-")[0]


def _path_lines(site: Path) -> Iterator[Path]:
    """Folders outside of `site` that its `.pth` files add to where modules come from."""
    for path in site.glob("*.pth"):
        if not path.is_file():
            continue  # a folder, a pipe, a link to nothing: no line is ever read from it
        try:
            # As the interpreter parts them: a form feed, which `splitlines` breaks at too, is part of a name.
            lines = path.read_text("utf-8", "surrogateescape").split("\n")
        except OSError as error:
            raise _unreadable(path, error) from error
        for line in lines:
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                added = Path(os.path.normpath(site / line.rstrip()))
                if _exists(added) and not added.is_relative_to(site):
                    yield added


def _name(path: str | Path) -> str:
    """A file's name: its bytes on the disk, whatever this process takes them for."""
    return quote(os.fsencode(path), safe=_PLAIN)


def _words(text: str) -> str:
    """What a file says: the same in every locale."""
    return quote(text.encode("utf-8", "surrogateescape"), safe=_PLAIN)


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read ({error.strerror}), so this installation cannot be measured")

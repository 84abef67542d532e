"""Which folders a node writes to, and the last step of its hardening: it is held to them before it starts a thread."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sealmesh.config import Settings
from sealmesh.errors import ConfigError
from sealmesh.hardening.posture import Control, Posture, named_controls, require_controls
from sealmesh.hardening.process import confine_process
from sealmesh.node.evidence import evidence_folder
from sealmesh.node.files import FOLDER_MODE
from sealmesh.node.home import Home
from sealmesh.node.recording import RECORD_VARIABLE

#: A socket's path has 107 bytes at most (`sockaddr_un`); a model in this process makes one in a folder of its own.
_SOCKET_PATH_MAX: Final = 107
_SOCKET_NAME_MAX: Final = len("/sealmesh-12345678/s.sock")
#: Libraries that keep caches in the user's home, and the variable that names another place.
_LIBRARY_CACHES: Final = {"CUDA_CACHE_PATH": "cuda", "HF_XET_CACHE": "xet"}


def demanded_controls(settings: Settings) -> tuple[Control, ...]:
    """What `--require-hardening` names.

    Raises:
        ConfigError: It names no control.
    """
    return named_controls(settings.require_hardening)


def confine(settings: Settings, posture: Posture) -> Posture:
    """Hold this process to its own folders, and refuse to go on without what the operator demands.

    Args:
        settings: Of the node.
        posture: What is in force already.

    Raises:
        ConfigError: A folder cannot be used, or a control has no such name.
        HardeningError: A demanded control is not on.
    """
    demanded = demanded_controls(settings)
    if not settings.no_hardening:
        home = Home(settings.home)
        home.prepare()
        temporary = _temporary_folder(home)
        folders = [home.path, temporary, *_other_folders(settings)]
        note = "" if temporary.is_relative_to(home.path) else "all of the system's folder for temporary files too"
        posture = confine_process(posture, folders, note=note, runs_a_model=settings.serves and not settings.backend)
    require_controls(posture, demanded)
    return posture


def _temporary_folder(home: Home) -> Path:
    """Where temporary files go from now on, also of children: the node's own folder, unless its path is long."""
    own = home.temporary
    if len(os.fsencode(own)) + _SOCKET_NAME_MAX > _SOCKET_PATH_MAX:
        return Path(tempfile.gettempdir())
    _make(own)
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)
    return own


def _other_folders(settings: Settings) -> Iterator[Path]:
    if settings.save_evidence is not None:
        yield evidence_folder(settings.save_evidence)
    recording = os.environ.get(RECORD_VARIABLE)
    if recording:
        yield _make(Path(recording))
    if settings.serves and not settings.backend:
        from sealmesh.backend.models import default_cache_dir  # a client never looks for a model

        models = _make(default_cache_dir())
        yield models
        for variable, name in _LIBRARY_CACHES.items():
            os.environ.setdefault(variable, str(models / name))


def _make(path: Path) -> Path:
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {path} cannot be made ({error.strerror})") from error
    return path

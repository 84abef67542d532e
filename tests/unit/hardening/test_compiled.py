"""Compiled code comes from root's own library and from nowhere else."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.hardening import compiled
from sealmesh.hardening.compiled import is_below, is_of_the_system, read_compiled
from sealmesh.hardening.reexec import isolated_command, scrub

ME = os.geteuid()


def plant(source: Path, said: str, *, header: bytes | None = None) -> Path:
    """Compiled code beside a source, which prints something else than the source does."""
    found = source.stat()
    if header is None:
        header = importlib.util.MAGIC_NUMBER + bytes(4)
        header += int(found.st_mtime).to_bytes(4, "little") + found.st_size.to_bytes(4, "little")
    path = Path(importlib.util.cache_from_source(str(source)))
    path.parent.mkdir(exist_ok=True, mode=0o755)
    path.write_bytes(header + marshal.dumps(compile(f"print({said!r})", str(source), "exec")))
    path.chmod(0o644)
    return path


def a_module(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "plain_module.py"
    source.write_text("print('source')\n")
    return source


BOOT = """
import sys
sys.path.insert(0, {source!r})
from sealmesh.hardening import compiled
if {library!r}:
    assert compiled.use_compiled_library({library!r}, owner={owner}, top={top!r})
else:
    compiled.use_compiled_library()
sys.path.insert(0, {folder!r})
import plain_module
"""


def run_isolated(tmp_path: Path, folder: Path, *, library: Path | None = None) -> str:
    """What a module prints that an isolated start imports.

    Args:
        library: Stands for the interpreter's; this user stands for root.
    """
    source = str(Path(compiled.__file__).parents[2])
    boot = tmp_path / "boot.py"
    boot.write_text(
        BOOT.format(source=source, library=str(library or ""), owner=ME, top=str(tmp_path), folder=str(folder))
    )
    command = isolated_command(sys.executable, str(boot), [], dict(os.environ))
    environment = scrub(dict(os.environ))[0] | {"HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_code_planted_beside_a_source_is_not_run(tmp_path: Path) -> None:
    plant(a_module(tmp_path / "packages"), "planted")
    assert run_isolated(tmp_path, tmp_path / "packages") == "source"


@pytest.mark.parametrize("cache", [".cache/sealmesh/pycache", "Library/Caches/sealmesh/pycache"])
def test_code_planted_in_a_cache_of_the_user_is_not_run_and_none_is_written(tmp_path: Path, cache: str) -> None:
    source = a_module(tmp_path / "packages")
    planted = plant(source, "planted")
    at = tmp_path / cache / source.parent.relative_to("/")
    at.mkdir(parents=True, mode=0o700)
    planted.rename(at / planted.name.replace(f".{sys.implementation.cache_tag}", ""))
    (at / planted.name).write_bytes((at / "plain_module.pyc").read_bytes())
    before = sorted(tmp_path.rglob("*.pyc"))
    assert run_isolated(tmp_path, tmp_path / "packages") == "source"
    assert sorted(tmp_path.rglob("*.pyc")) == before


def test_the_library_comes_compiled_where_root_alone_writes(tmp_path: Path) -> None:
    plant(a_module(tmp_path / "library"), "compiled")
    assert run_isolated(tmp_path, tmp_path / "library", library=tmp_path / "library") == "compiled"


def test_packages_within_the_library_do_not(tmp_path: Path) -> None:
    packages = tmp_path / "library" / "site-packages"
    plant(a_module(packages), "planted")
    assert run_isolated(tmp_path, packages, library=tmp_path / "library") == "source"


@pytest.mark.parametrize("loosened", ["__pycache__", "file"])
def test_what_others_can_write_to_is_not_taken(tmp_path: Path, loosened: str) -> None:
    source = a_module(tmp_path)
    planted = plant(source, "planted")
    assert read_compiled(str(source), ME) is not None
    (planted if loosened == "file" else planted.parent).chmod(0o777)
    assert read_compiled(str(source), ME) is None


def test_what_another_has_written_is_not_taken(tmp_path: Path) -> None:
    source = a_module(tmp_path)
    planted = plant(source, "planted")
    assert read_compiled(str(source), ME + 1) is None
    assert read_compiled(str(source), ME) is not None
    planted.rename(tmp_path / "elsewhere")
    planted.symlink_to(tmp_path / "elsewhere")
    assert read_compiled(str(source), ME) is None  # a link's own mode says nothing of who writes there


@pytest.mark.parametrize("header", [b"", b"\0" * 16, importlib.util.MAGIC_NUMBER + b"\x01" + b"\0" * 11])
def test_what_was_not_compiled_from_this_source_is_not_taken(tmp_path: Path, header: bytes) -> None:
    source = a_module(tmp_path)
    plant(source, "planted", header=header)
    assert read_compiled(str(source), ME) is None


def test_what_is_cut_off_is_not_taken(tmp_path: Path) -> None:
    source = a_module(tmp_path)
    planted = plant(source, "planted")
    planted.write_bytes(planted.read_bytes()[:20])
    assert read_compiled(str(source), ME) is None
    source.unlink()
    assert read_compiled(str(source), ME) is None


def test_a_folder_is_the_systems_only_if_all_above_it_are(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    top = str(tmp_path.resolve())
    assert is_of_the_system(str(inner), ME, top)
    assert not is_of_the_system(str(inner), ME)  # the folder for temporary files is everybody's
    assert not is_of_the_system(str(inner), ME + 1, top)
    assert not is_of_the_system(str(tmp_path / "none"), ME, top)
    (tmp_path / "a").chmod(0o775)
    assert not is_of_the_system(str(inner), ME, top)
    (tmp_path / "link").symlink_to(inner)
    assert not is_of_the_system(str(tmp_path / "link"), ME, top)  # where it leads is what is read


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/usr/lib/python3.11", True),
        ("/usr/lib/python3.11/json", True),
        ("/usr/lib/python3.11/site-packages", False),
        ("/usr/lib/python3.11/dist-packages/typer", False),
        ("/usr/lib/python3.11-evil", False),
        ("/usr/lib/python3", False),
        ("/home/x", False),
    ],
)
def test_the_library_is_told_from_what_was_installed(path: str, inside: bool) -> None:
    assert is_below(path, "/usr/lib/python3.11") is inside

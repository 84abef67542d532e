"""The isolated start: what is taken out, where compiled code comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.hardening.reexec import (
    NO_PYCACHE,
    is_isolated,
    is_private_cache,
    isolated_command,
    pycache_folder,
    scrub,
)

DANGEROUS = [
    "DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH", "GCONV_PATH", "GGML_BACKEND_PATH",
    "GLIBC_TUNABLES", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
    "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "SSLKEYLOGFILE",
]  # fmt: skip
KEPT = {"PATH": "/bin", "HOME": "/h", "SEALMESH_HOME": "/s", "LANG": "C.UTF-8", "HTTPS_PROXY": "http://p", "OLD_": "x"}


def test_what_chooses_code_is_taken_out_and_nothing_else() -> None:
    assert scrub({**KEPT, **dict.fromkeys(DANGEROUS, "x")}) == (KEPT, DANGEROUS)


def test_the_command_line_says_what_was_taken_out(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "LD_PRELOAD": "x"}
    command = isolated_command("/py", "/boot.py", ["serve", "--x"], environment)
    prefix = f"pycache_prefix={tmp_path}/sealmesh/pycache"
    assert command == ["/py", "-I", "-S", "-X", prefix, "/boot.py", "LD_PRELOAD", "serve", "--x"]
    assert isolated_command("/py", "/boot.py", [], {})[4:] == [f"pycache_prefix={NO_PYCACHE}", "/boot.py", "-"]


def test_the_cache_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = Path(pycache_folder({"HOME": str(tmp_path)}))
    assert folder.name == "pycache"
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert pycache_folder({"HOME": str(tmp_path)}) == str(folder)


@pytest.mark.parametrize("level", ["", "sealmesh", "sealmesh/pycache"])
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o722])
def test_a_cache_that_others_can_write_to_is_not_used(tmp_path: Path, level: str, mode: int) -> None:
    base = tmp_path / "cache"
    (base / "sealmesh" / "pycache").mkdir(parents=True, mode=0o700)
    (base / level).chmod(mode)
    assert pycache_folder({"XDG_CACHE_HOME": str(base)}) == ""


def test_a_link_to_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "sealmesh").symlink_to(tmp_path / "elsewhere")
    assert pycache_folder({"XDG_CACHE_HOME": str(tmp_path / "cache")}) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    folder = Path(pycache_folder({"XDG_CACHE_HOME": str(tmp_path)}))
    os.chown(folder, 65534, 65534)
    assert not is_private_cache(str(folder))


@pytest.mark.parametrize("environment", [{}, {"HOME": "relative"}, {"XDG_CACHE_HOME": "", "HOME": ""}])
def test_without_a_home_nothing_is_kept(environment: dict[str, str]) -> None:
    assert pycache_folder(environment) == ""


def test_where_nothing_is_kept_nothing_is_read_and_imports_work(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("print('source')")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import plain"
    command = [sys.executable, "-I", "-S", "-X", f"pycache_prefix={NO_PYCACHE}", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "source\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "plain.py"]


@pytest.mark.parametrize(
    ("flags", "isolated"),
    [
        (["-I", "-S", "-X", "pycache_prefix=/x"], True),
        (["-I", "-S"], False),
        (["-I", "-X", "pycache_prefix=/x"], False),
        (["-S", "-X", "pycache_prefix=/x"], False),
        ([], False),
    ],
)
def test_a_start_is_isolated_by_what_the_interpreter_says(flags: list[str], isolated: bool) -> None:
    source = str(Path(is_isolated.__code__.co_filename).parents[2])
    code = f"import sys; sys.path.append({source!r}); from sealmesh.hardening.reexec import *; print(is_isolated())"
    done = subprocess.run([sys.executable, "-B", *flags, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(isolated)

"""The isolated start: what is taken out, where compiled code comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.hardening.reexec import (
    NO_PYCACHE,
    is_isolated,
    isolated_command,
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


def test_the_command_line_says_what_was_taken_out_and_lets_nobody_choose_compiled_code() -> None:
    flags = ["-I", "-S", "-B", "-X", f"pycache_prefix={NO_PYCACHE}", "/boot.py"]
    environment = {"XDG_CACHE_HOME": "/cache", "HOME": "/home", "LD_PRELOAD": "x"}
    assert isolated_command("/py", "/boot.py", ["serve", "--x"], environment) == [
        "/py", *flags, "LD_PRELOAD", "serve", "--x",
    ]  # fmt: skip
    assert isolated_command("/py", "/boot.py", [], {}) == ["/py", *flags, "-"]


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
        (["-I", "-S", "-X", f"pycache_prefix={NO_PYCACHE}"], True),
        (["-I", "-S", "-X", "pycache_prefix=/x"], False),
        (["-I", "-S"], False),
        (["-I", "-X", f"pycache_prefix={NO_PYCACHE}"], False),
        (["-S", "-X", f"pycache_prefix={NO_PYCACHE}"], False),
        ([], False),
    ],
)
def test_a_start_is_isolated_by_what_the_interpreter_says(flags: list[str], isolated: bool) -> None:
    source = str(Path(is_isolated.__code__.co_filename).parents[2])
    code = f"import sys; sys.path.append({source!r}); from sealmesh.hardening.reexec import *; print(is_isolated())"
    done = subprocess.run([sys.executable, "-B", *flags, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(isolated)

"""What the start left behind is seen and said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sealmesh.hardening.environment import (
    look_at_environment,
    look_at_libraries,
    look_at_pycache,
    look_at_start,
    start_files,
    strange_libraries,
)
from sealmesh.hardening.posture import State
from sealmesh.hardening.reexec import NO_PYCACHE

PYTHON = str(Path(sys.executable).resolve())


def test_a_variable_that_is_left_is_named() -> None:
    found = look_at_environment({"PATH": "/bin", "LD_PRELOAD": "/x.so", "PYTHONPATH": "/y"}, [])
    assert (found.state, found.reason) == (State.OFF, "LD_PRELOAD, PYTHONPATH is set")


def test_what_was_taken_out_is_said_without_its_values() -> None:
    found = look_at_environment({"PATH": "/bin"}, ["LD_PRELOAD", "PYTHONA", "PYTHONB", "PYTHONC", "PYTHOND"])
    assert found.text == "on: taken out: LD_PRELOAD, PYTHONA, PYTHONB and 2 more"


def test_start_files_are_found_and_the_usual_ones_are_not_told(tmp_path: Path) -> None:
    for name in ("evil.pth", "_editable_impl_sealmesh.pth", "sitecustomize.py", "usercustomize", "module.py"):
        (tmp_path / name).touch()
    assert start_files([str(tmp_path), "/nowhere"]) == ["evil.pth", "sitecustomize.py", "usercustomize"]


@pytest.mark.parametrize(
    ("prefix", "state"), [(None, "off"), ("/home/x/.cache/sealmesh/pycache", "off"), (NO_PYCACHE, "on")]
)
def test_a_cache_of_compiled_code_is_told(monkeypatch: pytest.MonkeyPatch, prefix: str | None, state: str) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", prefix)
    assert look_at_pycache().state.value == state


def test_this_interpreter_was_not_started_isolated_and_that_is_said() -> None:
    assert look_at_start([]).state is State.OFF
    assert look_at_pycache().state is State.OFF


@pytest.mark.parametrize(
    ("path", "usual"),
    [
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", True),
        ("/lib/x86_64-linux-gnu/libc-2.31.so", True),
        ("/lib64/ld-linux-x86-64.so.2", True),
        ("/usr/lib/aarch64-linux-gnu/libffi.so.8.1.2", True),
        ("/usr/lib/x86_64-linux-gnu/libpthread.so.0", True),
        (PYTHON, True),
        (f"{sys.base_prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/lib-dynload/_ctypes.so", True),
        ("/tmp/libc.so.6", False),
        ("/usr/lib/x86_64-linux-gnu/libevil.so", False),
        ("/usr/lib/libjemalloc.so.2", False),
        (f"{sys.base_prefix}/lib/libevil.so", False),
        ("/tmp/with spaces in it.so", False),
        ("/tmp/gone.so (deleted)", False),
        ("/memfd:evil (deleted)", False),
    ],
)
def test_libraries_that_nothing_asked_for_are_told_from_the_usual(path: str, usual: bool) -> None:
    line = f"7f3c00000000-7f3c00001000 r-xp 00000000 fe:00 123                        {path}\n"
    data = (
        "7f3c00002000-7f3c00003000 rw-p 00000000 fe:00 123      /tmp/data\n7f3c-7f3d r-xp 0 0:0 0   [vdso]\n0-1 r-xp\n"
    )
    assert strange_libraries(data + line, {sys.prefix, sys.base_prefix}) == ([] if usual else [path])


def test_the_libraries_of_this_system_are_looked_at(tmp_path: Path) -> None:
    maps, preload = tmp_path / "maps", tmp_path / "ld.so.preload"
    maps.write_text("")
    assert look_at_libraries([], maps=maps, preload=preload).text == "on"
    told = look_at_libraries(["LD_PRELOAD"], maps=maps, preload=preload)
    assert told.text == "on: gone since the restart; what LD_PRELOAD named has run before it"
    maps.write_text("0-1 r-xp 00000000 fe:00 123 /tmp/evil.so\n")
    assert look_at_libraries([], maps=maps, preload=preload).state is State.OFF
    preload.write_text("/usr/lib/evil.so\n")
    assert "ld.so.preload names /usr/lib/evil.so" in look_at_libraries([], maps=maps, preload=preload).text


def test_what_cannot_be_read_is_not_called_on(tmp_path: Path) -> None:
    assert look_at_libraries([], maps=tmp_path / "none", preload=tmp_path / "no").state is State.UNAVAILABLE
    assert look_at_libraries([], maps=tmp_path, preload=tmp_path).state is State.UNAVAILABLE

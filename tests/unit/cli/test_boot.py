"""The isolated start finds its packages without any start file."""

from __future__ import annotations

import site
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.cli import boot
from sealmesh.cli.boot import package_folders

LIBRARY = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def environment(root: Path, settings: str | None = "home = /usr/bin\n") -> tuple[str, Path]:
    """The interpreter and the packages of a virtual environment, or of a plain folder."""
    packages = root / LIBRARY
    packages.mkdir(parents=True)
    if settings is not None:
        (root / "pyvenv.cfg").write_text(settings)
    return str(root / "bin" / "python"), packages


def boot_in(folder: Path) -> str:
    (folder / "sealmesh" / "cli").mkdir(parents=True)
    return str(folder / "sealmesh" / "cli" / "boot.py")


def test_packages_are_those_of_the_interpreters_environment(tmp_path: Path) -> None:
    python, packages = environment(tmp_path)
    assert package_folders(boot_in(packages), python) == [str(packages)]


def test_an_editable_install_is_found_where_it_lies(tmp_path: Path) -> None:
    python, packages = environment(tmp_path / "venv")
    assert package_folders(boot_in(tmp_path / "src"), python) == [str(packages), str(tmp_path / "src")]


@pytest.mark.parametrize("value", ["true", "True"])
def test_an_environment_that_takes_the_systems_packages_gets_them(tmp_path: Path, value: str) -> None:
    python, packages = environment(tmp_path, f"home = /usr/bin\ninclude-system-site-packages = {value}\n")
    systems = [folder for folder in site.getsitepackages([sys.base_prefix]) if Path(folder).is_dir()]
    assert package_folders(boot_in(packages), python) == [str(packages), *systems]


def test_an_environment_whose_path_is_no_text_is_one_too(tmp_path: Path) -> None:
    python, packages = environment(tmp_path)
    (tmp_path / "pyvenv.cfg").write_bytes(b"home = /caf\xe9/bin\ninclude-system-site-packages = false\n")
    assert package_folders(boot_in(packages), python) == [str(packages)]


def test_without_an_environment_packages_are_the_systems(tmp_path: Path) -> None:
    python, packages = environment(tmp_path, settings=None)
    systems = [folder for folder in site.getsitepackages([sys.base_prefix]) if Path(folder).is_dir()]
    assert package_folders(boot_in(packages), python) == [*systems, str(packages)]


def test_the_working_directory_is_never_among_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, packages = environment(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = package_folders(boot_in(packages), python)
    assert all(Path(folder).is_absolute() for folder in found)
    assert str(tmp_path) not in found


def test_an_interpreter_that_does_not_keep_to_its_flags_is_not_started_again_and_again(tmp_path: Path) -> None:
    command = [sys.executable, boot.__file__, "-", "ticket", "--home", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr

"""Who an ordinary user is, and what it can reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.doctor.ordinary import CANNOT, closed_folder, has_other_users
from sealmesh.doctor.trial import unprivileged

ALL = "         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("text", "others"),
    [
        (ALL, True),
        ("0 1000 1\n", False),
        ("0 100000 65536\n", True),
        ("0 1000 1\n1 100000 65536\n", True),
        ("odd\n", True),
    ],
)
def test_whether_root_can_become_somebody_else(text: str, others: bool, tmp_path: Path) -> None:
    path = tmp_path / "uid_map"
    path.write_text(text)
    assert has_other_users(path) is others


def test_the_topmost_closed_folder_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "open" / "closed" / "deep"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep.parent.parent):
        folder.chmod(0o755)
    deep.parent.chmod(0o700)
    deep.chmod(0o700)
    above = closed_folder(tmp_path)  # pytest's own folders may be closed
    assert closed_folder(deep) == (above or deep.parent)


def test_an_ordinary_user_has_no_rights_of_roots() -> None:
    code = "import os; print(os.geteuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])"
    done = subprocess.run(unprivileged([sys.executable, "-I", "-c", code]), capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.fail(done.stderr)
    user, capabilities = done.stdout.split()
    assert int(capabilities, 16) == 0
    assert int(user) != 0 or not has_other_users()


def test_who_is_ordinary_already_runs_the_command_itself() -> None:
    command = unprivileged(["x"])
    assert (command == ["x"]) is (os.geteuid() != 0)

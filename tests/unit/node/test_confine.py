"""A node writes only to its own folders, and does not start without what its operator demands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kit.hardening import ORDINARY, run_child
from sealmesh.config import Mode, Settings
from sealmesh.errors import ConfigError, HardeningError
from sealmesh.hardening.posture import Control, Posture, on
from sealmesh.node.confine import confine


def settings(home: Path, *demanded: str) -> Settings:
    """Of a node that puts nothing in force: the test run must not be confined."""
    return Settings(mode=Mode.CLIENT, home=home, no_hardening=True, require_hardening=demanded)


def test_a_demanded_control_that_is_not_on_ends_the_start(tmp_path: Path) -> None:
    posture = Posture((on(Control.SECCOMP),))
    assert confine(settings(tmp_path, "seccomp"), posture) == posture
    with pytest.raises(HardeningError, match="landlock is unavailable"):
        confine(settings(tmp_path, "seccomp", "landlock"), posture)


def test_a_demand_that_names_nothing_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no control 'secomp'"):
        confine(settings(tmp_path, "secomp"), Posture())


CONFINED = """
from sealmesh.config import Mode, Settings
from sealmesh.node.confine import confine
import sealmesh.backend.models
"""
CONFINE = """
root = Path(tempfile.mkdtemp())
os.environ["SEALMESH_MODEL_CACHE"] = str(root / "models")
for name in ("saved", "elsewhere"):
    (root / name).mkdir(mode=0o700)
home = root / HOME
settings = Settings(mode=Mode.SERVE, home=home, models=("x",), save_evidence=root / "saved")
posture = confine(settings, process.harden_process())
def writes(folder):
    try:
        (folder / "file").write_text("x")
    except OSError:
        return False
    return True
folders = [home, home / "run", root / "models", root / "saved", root / "elsewhere", root]
temporary = Path(tempfile.mkdtemp())
try:
    kernel.syscall(444, None, 0, 1)  # asks for the version: what the kernel has, whatever the posture says
    kernel_has_it = True
except OSError:
    kernel_has_it = False
print(json.dumps({
    "kernel_has_it": kernel_has_it,
    "landlock": posture.get(Control.LANDLOCK).text,
    "writes": [writes(folder) for folder in folders],
    "temporary": [temporary.parent == home / "run" / "tmp", os.environ.get("TMPDIR") == str(temporary.parent)],
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's Landlock")
def test_a_node_writes_to_its_own_folders_and_nowhere_else() -> None:
    told = run_child(CONFINED + ORDINARY + "HOME = 'home'\n" + CONFINE)
    assert told["temporary"] == [True, True]
    assert told["landlock"].startswith("on" if told["kernel_has_it"] else "unavailable")
    if told["kernel_has_it"]:
        assert told["writes"] == [True, True, True, True, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's Landlock")
def test_a_home_with_a_long_path_keeps_the_systems_folder_and_says_so() -> None:
    told = run_child(CONFINED + ORDINARY + "HOME = 'h' * 90\n" + CONFINE)
    assert told["temporary"] == [False, False]
    assert not told["kernel_has_it"] or "temporary files too" in told["landlock"]

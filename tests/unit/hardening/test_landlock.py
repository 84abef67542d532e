"""Landlock: writing only under the process's own folders."""

from __future__ import annotations

import sys

import pytest

from kit.hardening import ORDINARY, run_child
from sealmesh.hardening.landlock import rights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's Landlock")

CONFINED = """
own, other = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
(other / "there").write_text("as it was")
linux.apply_no_new_privs()
told = [landlock.apply_landlock([own]).state.value]
def tried(act):
    try:
        act()
    except OSError as error:
        told.append(errno.errorcode[error.errno])
    else:
        told.append("done")
"""


def test_writing_goes_on_inside_and_nowhere_else() -> None:
    code = """
tried(lambda: (own / "file").write_text("x"))
tried(lambda: (own / "folder").mkdir())
tried(lambda: (own / "file").rename(own / "folder" / "moved"))
tried(lambda: (own / "folder" / "moved").unlink())
tried(lambda: open("/dev/null", "r+b").close())
tried(lambda: (other / "there").read_text())
tried(lambda: (other / "new").write_text("x"))
tried(lambda: (other / "there").write_text("x"))
tried(lambda: os.truncate(other / "there", 0))
tried(lambda: (other / "there").unlink())
tried(lambda: (other / "folder").mkdir())
tried(lambda: (other / "link").symlink_to("/"))
print(json.dumps(told))
"""
    done, refused = ["done"] * 6, ["EACCES"] * 6
    assert run_child(ORDINARY + CONFINED + code) == ["on", *done, *refused]


def test_children_are_held_too() -> None:
    code = """
import subprocess
write = f"open({str(other / 'new')!r}, 'w')"
ran = subprocess.run([sys.executable, "-I", "-S", "-c", write], capture_output=True, text=True)
print(json.dumps([told[0], "Permission" in ran.stderr, (other / "new").exists()]))
"""
    assert run_child(CONFINED + code) == ["on", True, False]


def test_it_is_not_called_on_where_other_threads_would_go_free() -> None:
    code = """
import time
thread = threading.Thread(target=threading.Event().wait, args=(5,), daemon=True); thread.start()
linux.apply_no_new_privs()
print(json.dumps(landlock.apply_landlock([Path("/tmp")]).text)); sys.stdout.flush(); os._exit(0)
"""
    assert run_child(code).startswith("off: other threads run already")


def test_a_rule_that_does_not_hold_is_not_called_on() -> None:
    assert run_child("print(json.dumps(landlock.look_at_landlock('').text))").startswith("off: writing to /dev/full")


def test_older_kernels_are_asked_only_for_what_they_know() -> None:
    assert rights(1) < rights(2) < rights(3) == rights(7)

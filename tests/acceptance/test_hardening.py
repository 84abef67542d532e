"""A real node is hardened: what it says of itself, what a hostile start leaves in it, what it demands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.acceptance.conftest import Mesh, wait_until_usable

from kit.marker import MARKER
from sealmesh.cli.processes import NodeProcess
from sealmesh.hardening.posture import State, state_of

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux's controls; the start is the same on macOS"),
]

APPLIED = (
    "clean_environment", "isolated_start", "private_pycache", "no_preload", "not_traced", "not_dumpable",
    "no_core_dumps", "no_new_privs", "seccomp", "landlock", "mdwe", "key_memory",
)  # fmt: skip
#: The process must have these whatever the kernel is.
EVERYWHERE = ("clean_environment", "isolated_start", "not_dumpable", "no_core_dumps", "no_new_privs")


def own_posture(console_url: str) -> dict[str, str]:
    return httpx.get(f"{console_url}/api/status", timeout=10).raise_for_status().json()["posture"]


@pytest.mark.model
def test_a_model_answers_in_a_hardened_process_and_its_client_sees_the_posture(mesh: Mesh) -> None:
    host = mesh.host("--threads", "1", "--context-size", "256")
    client = mesh.client(host.ticket)
    wait_until_usable(client, "smollm2-135m")
    body = {"model": "smollm2-135m", "max_tokens": 4, "messages": [{"role": "user", "content": f"hello {MARKER}"}]}
    answer = httpx.post(f"{client.api_url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"]

    said = own_posture(host.console_url)
    assert [said[control] for control in EVERYWHERE if state_of(said[control]) is not State.ON] == []
    for control in APPLIED:  # what this kernel has, is on; a GPU may stand against one
        assert state_of(said[control]) is not State.OFF or (control == "mdwe" and "GPU" in said[control]), said
    assert said["backend"] == "in-process"
    seen = client.status()["peers"][0]["posture"]
    assert seen == said
    assert {"seccomp", "landlock", "not_dumpable"} <= set(client.status()["posture"])


# --- a hostile start ----------------------------------------------------------------------------------------------

#: Notes where it runs; in a process that serves, it would go on to take prompts from the JSON parser.
HOSTILE = """
import json, os, sys
with open({marker!r}, "a") as file:
    file.write(f"{name} {{os.getpid()}} {{sys.flags.isolated}}\\n")
loads = json.loads
def copying(text, *arguments, **options):
    with open({marker!r}, "a") as file:
        file.write(f"took {{text!r}}\\n")
    return loads(text, *arguments, **options)
json.loads = copying
"""


class HostileStart(NodeProcess):
    """A node started by an interpreter whose environment holds hostile files."""

    def __init__(self, python: Path, **more: object) -> None:
        self._python = python
        super().__init__("serve", **more)  # type: ignore[arg-type]

    def command_line(self, command: str) -> list[str]:
        return [str(self._python), "-m", "sealmesh", command]


def copy_of_this_environment(root: Path) -> tuple[Path, Path]:
    """A virtual environment with the same packages, by links: its interpreter and its folder of packages."""
    packages = root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    python = root / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    (root / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    import nacl

    import sealmesh

    for entry in Path(nacl.__file__).parents[1].iterdir():
        if entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    source = Path(sealmesh.__file__).parent
    if not (packages / "sealmesh").exists():
        (packages / "sealmesh").symlink_to(source)
    return python, packages


def test_what_a_hostile_start_brings_is_without_effect_in_the_node_or_is_said(tmp_path: Path) -> None:
    python, packages = copy_of_this_environment(tmp_path / "venv")
    marker = tmp_path / "marker"
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (packages / "sitecustomize.py").write_text(HOSTILE.format(marker=str(marker), name="installed"))
    (packages / "evil.pth").write_text(f"import os; open({str(marker)!r}, 'a').write(f'pth {{os.getpid()}} 0\\n')\n")
    (hostile / "sitecustomize.py").write_text(HOSTILE.format(marker=str(marker), name="PYTHONPATH"))
    # Any library stands for a hostile one: a copy of one that the system has, under another name.
    lines = Path("/proc/self/maps").read_text().splitlines()
    system = next(Path(line.split()[-1]).parent for line in lines if "/libc.so.6" in line or "/libc-" in line)
    (hostile / "evil.so").write_bytes((system / "libm.so.6").read_bytes())
    environment = {
        "PYTHONPATH": str(hostile),
        "PYTHONSTARTUP": str(hostile / "sitecustomize.py"),
        "LD_PRELOAD": str(hostile / "evil.so"),
    }
    node = HostileStart(python, home=tmp_path / "host", arguments=["--backend", "echo:"], environment=environment)
    with node:
        ready = node.wait_for("ready")
        said = own_posture(ready["console_url"])
        body = {"model": "echo", "messages": [{"role": "user", "content": "take this"}]}
        httpx.post(f"{ready['api_url']}/v1/chat/completions", json=body, timeout=10).raise_for_status()
        mapped = Path(f"/proc/{node.pid}/maps").read_text() if os.geteuid() == 0 else ""
    ran = marker.read_text().split("\n")
    # They ran in the first start, in this very process, which shows that they can; and in no isolated one.
    assert {line.split()[0] for line in ran if line} >= {"pth", "PYTHONPATH"}
    assert {line.split()[1] for line in ran if line and not line.startswith("took")} == {str(node.pid)}
    assert all(line.endswith(" 0") for line in ran if line and not line.startswith("took")), ran
    assert "take this" not in marker.read_text()
    assert "evil.so" not in mapped
    assert said["clean_environment"].startswith("on: taken out: LD_PRELOAD, ")
    assert said["isolated_start"] == "on: not run: evil.pth, sitecustomize.py"
    assert said["no_preload"] == "on: gone since the restart; what LD_PRELOAD named has run before it"


PLANT = """
import importlib.util, importlib._bootstrap_external as bootstrap, pathlib, sys
origin, marker = map(pathlib.Path, sys.argv[1:])
hostile = f"open({str(marker)!r}, 'a').write('read\\\\n')\\n" + origin.read_text()
code, found = compile(hostile, str(origin), "exec"), origin.stat()
planted = pathlib.Path(importlib.util.cache_from_source(str(origin)))
planted.write_bytes(bootstrap._code_to_timestamp_pyc(code, int(found.st_mtime), found.st_size))
import typer
"""


def test_compiled_code_beside_the_sources_is_never_read(tmp_path: Path) -> None:
    python, packages = copy_of_this_environment(tmp_path / "venv")
    marker = tmp_path / "marker"
    # A package of ours: the source is as it was, and what would be read instead of it is hostile.
    source = (packages / "typer").resolve()
    (packages / "typer").unlink()
    (packages / "typer" / "__pycache__").mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name != "__pycache__":
            (packages / "typer" / entry.name).symlink_to(entry)
    command = [python, "-I", "-c", PLANT, packages / "typer" / "__init__.py", marker]
    subprocess.run(command, check=True)
    assert marker.read_text() == "read\n"  # a start that is not ours reads it
    done = subprocess.run(
        [python, "-m", "sealmesh", "ticket", "--home", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert marker.read_text() == "read\n"  # and the isolated one does not


# --- demands ------------------------------------------------------------------------------------------------------


def serve(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealmesh", "serve", "--home", str(tmp_path / "home"), "--backend", "echo:"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_a_node_does_not_start_without_what_is_demanded(tmp_path: Path) -> None:
    done = serve(tmp_path, "--require-hardening", "not_dumpable,deny_attach")
    assert done.returncode == 1
    assert "deny_attach is unavailable: a control of macOS" in done.stderr
    assert "not_dumpable is" not in done.stderr
    assert not (tmp_path / "home" / "endpoint.key").exists()  # nothing was begun


def test_a_demand_that_names_nothing_is_refused(tmp_path: Path) -> None:
    done = serve(tmp_path, "--require-hardening=secomp")
    assert done.returncode == 2
    assert "no control 'secomp'" in done.stderr


def test_developers_are_told_what_they_gave_up_and_so_is_the_mesh(mesh: Mesh) -> None:
    host = mesh.host("--backend", "echo:", "--no-hardening")
    said = own_posture(host.console_url)
    assert said["not_dumpable"] == said["seccomp"] == said["landlock"] == "off: --no-hardening was given"
    assert said["isolated_start"].startswith("off: ")
    warnings = [event["message"] for event in host.process._seen if event["event"] == "warning"]
    assert any(message.startswith("--no-hardening") for message in warnings)
    assert b"PATH=" in Path(f"/proc/{host.process.pid}/environ").read_bytes()

"""The ticket leaves the process list and the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.cli.handover import VARIABLE, plan, receive_ticket
from sealmesh.errors import ConfigError

TICKET = "sealmesh1" + "secretsecret" * 8
# Hides and receives as `main` does, says so, and stays for being looked at.
PROGRAM = """
import os, sys
from sealmesh.cli.handover import hide_ticket, receive_ticket
hide_ticket()
origin, ticket = receive_ticket(os.environ)
print(os.getpid(), origin, ticket.reveal(), *sys.argv[1:], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("arguments", "environment", "origin"),
    [
        (["serve", "--join", TICKET, "--port", "0"], {}, "flag"),
        (["serve", f"--join={TICKET}", "--port", "0"], {"SEALMESH_TICKET": "another"}, "flag"),
        (["serve", "--port", "0"], {"SEALMESH_TICKET": TICKET}, "environment"),
    ],
)
def test_a_ticket_is_seen_neither_in_the_process_list_nor_in_the_environment(
    arguments: list[str], environment: dict[str, str], origin: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said == [str(process.pid), origin, TICKET, "serve", "--port", "0"]
        proc = Path("/proc") / str(process.pid)
        for name in ("cmdline", "environ"):
            content = (proc / name).read_bytes()
            assert content
            assert b"secret" not in content
            assert b"another" not in content
        links = [str(link.readlink()) for link in (proc / "fd").iterdir()]
        assert not [link for link in links if "memfd" in link]  # nothing is left to be read
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(10) == 0


def test_nothing_is_done_where_there_is_no_ticket() -> None:
    whole = ["python", "-m", "sealmesh", "serve", "--port", "0"]
    assert plan(whole[3:], whole, {}) is None


def test_nothing_is_done_for_other_commands() -> None:
    whole = ["python", "-m", "sealmesh", "chat", "--join", TICKET]
    assert plan(whole[3:], whole, {"SEALMESH_TICKET": TICKET}) is None


def test_nothing_is_done_twice() -> None:
    whole = ["python", "-m", "sealmesh", "serve", "--join", TICKET]
    assert plan(whole[3:], whole, {VARIABLE: "5:flag"}) is None


def test_a_command_line_of_another_program_is_left_alone() -> None:
    assert plan(["serve", "--join", TICKET], ["python", "embedding.py"], {}) is None


def test_the_plan_does_not_show_the_ticket() -> None:
    whole = ["python", "-I", "-m", "sealmesh", "serve", "--join", TICKET, "--port", "0"]
    found = plan(whole[4:], whole, {"SEALMESH_TICKET": "another", "HOME": "/h"})
    assert found is not None
    assert found.command == ("python", "-I", "-m", "sealmesh", "serve", "--port", "0")
    assert found.environment == {"HOME": "/h"}
    assert TICKET not in repr(found)


@pytest.mark.parametrize("value", ["x:flag", "99999:flag", "0:flag", "1:environment"])
def test_a_variable_that_leads_to_nothing_is_refused(value: str) -> None:
    environment = {VARIABLE: value}
    with pytest.raises(ConfigError, match="--join-file"):
        receive_ticket(environment)
    assert environment == {}


def test_a_file_that_is_too_large_is_refused_and_closed(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    descriptor = os.open(tmp_path / "big", os.O_RDONLY)
    with pytest.raises(ConfigError):
        receive_ticket({VARIABLE: f"{descriptor}:flag"})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(descriptor)

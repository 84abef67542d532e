"""The ticket leaves the process list and the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealmesh.cli import handover
from sealmesh.cli.handover import VARIABLE, is_the_command, plan, receive_ticket
from sealmesh.errors import ConfigError
from sealmesh.hardening.reexec import NO_PYCACHE

TICKET = "sealmesh1" + "secretsecret" * 8
# Hides and receives as `main` does, says so, and stays for being looked at.
PROGRAM = """
import os, sys
from sealmesh.cli.handover import receive_ticket, start_anew
start_anew()
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


def test_the_command_itself_is_started_isolated_with_a_clean_environment() -> None:
    whole = ["python", "-m", "sealmesh", "serve", "--join", TICKET, "--port", "0"]
    found = plan(whole[3:], whole, {"LD_PRELOAD": "x.so", "PYTHONPATH": "/x", "PATH": "/bin"}, isolate=True)
    assert found is not None
    assert found.environment == {"PATH": "/bin"}
    assert found.ticket == TICKET
    assert found.command[:6] == (sys.executable, "-I", "-S", "-B", "-X", f"pycache_prefix={NO_PYCACHE}")
    assert found.command[6].endswith("sealmesh/cli/boot.py")
    assert found.command[7:] == ("LD_PRELOAD,PYTHONPATH", "serve", "--port", "0")


def test_a_ticket_that_was_handed_over_stays_where_it_is() -> None:
    whole = ["python", "-m", "sealmesh", "serve"]
    found = plan(whole[3:], whole, {VARIABLE: "5:flag", "HOME": "/h"}, isolate=True)
    assert found is not None
    assert (found.environment, found.ticket) == ({VARIABLE: "5:flag", "HOME": "/h"}, "")


@pytest.mark.parametrize("command", ["serve", "client", "chat", "ticket"])
def test_commands_that_hold_secrets_are_isolated(command: str) -> None:
    assert plan([command], ["python", "-m", "sealmesh", command], {}, isolate=True) is not None


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["status"], [], ["serve", "--no-hardening"]])
def test_other_commands_and_developers_are_not(arguments: list[str]) -> None:
    assert plan(arguments, ["python", "-m", "sealmesh", *arguments], {}, isolate=True) is None


def test_only_an_option_switches_it_off_and_no_value_of_one() -> None:
    arguments = ["serve", "--", "--no-hardening"]
    assert plan(arguments, ["python", "-m", "sealmesh", *arguments], {}, isolate=True) is not None


@pytest.mark.parametrize("program", ["/venv/bin/sealmesh", str(Path(handover.__file__).parents[1] / "__main__.py")])
def test_the_command_is_known_by_its_program(program: str) -> None:
    assert is_the_command(program)


@pytest.mark.parametrize("program", ["", "-c", "/x/benchmarks/node.py", "/x/sealmesh/node.py"])
def test_another_program_that_calls_it_goes_on_as_itself(program: str) -> None:
    assert not is_the_command(program)


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

"""The program as users start it: exit codes, streams, no tracebacks, quick to begin."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.fake_node import PROOF, STATUS, FakeNode, Reply, events, model
from sealmesh.node.home import Home

#: What `--help` must not load: each costs more than the whole of it may.
HEAVY = (
    "iroh",
    "httpx",
    "cryptography",
    "nacl",
    "google.protobuf",
    "starlette",
    "uvicorn",
    "xllamacpp",
    "textual",
    "asyncio",
)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALMESH_")}
    return {**kept, "COLUMNS": "100", **more}


def sealmesh(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealmesh", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment(**more), timeout=60)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[FakeNode, str]]:
    """A scripted node, and the home on which it seems to run."""
    home = Home(tmp_path / "home")
    with FakeNode() as running, home.lock():
        running.models(model("smollm2-135m"))
        home.write_run(running.state)
        yield running, str(home.path)


def test_help_loads_nothing_heavy() -> None:
    """What it takes is for benchmarks/startup.py to say; here only that nothing is loaded that would take long."""
    code = (
        "import sys; from sealmesh.cli.main import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr.strip() == "[]"
    assert "--require-attested-hosts" in done.stdout


def test_the_package_itself_loads_nothing() -> None:
    code = f"import sys, sealmesh; print([name for name in {(*HEAVY, 'typer', 'rich')} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["version"], 0, ""),
        ([], 2, ""),
        (["nonsense"], 2, "No such command"),
        (["serve", "--nonsense"], 2, "No such option"),
        (["serve", "--port", "x"], 2, "error: --port: expected a whole number"),
        (["client", "--public-relays"], 2, "error: --public-relays is not available in this version"),
        (["client", "--discover"], 2, "No such option"),
        (["client", "--require-attested-hosts=high"], 2, "error: --require-attested-hosts: expected one of"),
        (["client", "--join-file", "/nowhere"], 2, "error: --join-file: /nowhere cannot be read"),
        (["ticket", "--role", "king"], 2, "client, host or relay"),
    ],
)
def test_exit_codes(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = sealmesh(*arguments, SEALMESH_HOME=str(tmp_path))
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 0 or not done.stdout.startswith("error")


def test_what_was_given_to_join_with_is_not_repeated(tmp_path: Path) -> None:
    done = sealmesh("client", "--join", "some-secret", SEALMESH_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "no ticket" in done.stderr
    assert "some-secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("command", ["status", "hosts", "models", "chat"])
def test_without_a_node_the_words_say_how_to_start_one(tmp_path: Path, command: str) -> None:
    done = sealmesh(command, "--home", str(tmp_path))
    assert done.returncode == 2
    assert "no node runs on" in done.stderr
    assert "sealmesh serve" in done.stderr


def test_looking_at_a_running_node(node: tuple[FakeNode, str]) -> None:
    _, home = node
    assert json.loads(sealmesh("status", "--json", "--home", home).stdout) == STATUS
    assert json.loads(sealmesh("hosts", "--json", "--home", home).stdout) == STATUS["peers"]
    assert json.loads(sealmesh("models", "--json", "--home", home).stdout) == [model("smollm2-135m")]
    shown = sealmesh("hosts", SEALMESH_HOME=home)
    assert shown.returncode == 0
    assert "attic" in shown.stdout
    assert "\x1b" not in shown.stdout  # a pipe gets no colour
    assert shown.stderr == ""


def test_a_piped_prompt(node: tuple[FakeNode, str]) -> None:
    running, home = node
    running.answers.append(Reply(events("Hello", " you"), headers=PROOF))
    done = sealmesh("chat", "--home", home, stdin="hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you\n", "")


def test_a_reader_that_leaves_early_is_no_failure_to_shout_about(node: tuple[FakeNode, str]) -> None:
    running, home = node
    running.models(*(model(f"model-{number}") for number in range(5000)))
    command = [sys.executable, "-m", "sealmesh", "models", "--home", home]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_chat_at_a_terminal(node: tuple[FakeNode, str]) -> None:
    running, home = node
    running.answers += [
        Reply(events("counting", end=False), headers=PROOF, hold=True),
        Reply(events("done"), headers=PROOF),
    ]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sealmesh", "chat", "--home", home]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="dumb"),
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),
    ) as process:
        os.close(theirs)
        screen = Screen(ours)
        screen.wait_for("> ")
        screen.type("count\n")
        screen.wait_for("counting")
        screen.type("\x03")
        screen.wait_for("(stopped)")
        screen.wait_for("> ")
        assert running.left.wait(10)
        screen.type("again\n")
        screen.wait_for("done")
        screen.wait_for("tier self-asserted: a software key answered; its owner can read prompts")
        screen.wait_for("> ")
        screen.type("/quit\n")
        assert process.wait(10) == 0
    os.close(ours)


def _take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


class Screen:
    """The other end of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` has come; the next wait begins after it."""
        while text not in self._seen:
            readable, _, _ = select.select([self._descriptor], [], [], 30)
            assert readable, self._seen
            self._seen += os.read(self._descriptor, 4096).decode()
        self._seen = self._seen.partition(text)[2]

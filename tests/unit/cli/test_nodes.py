"""From the command line to a running node, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sealmesh.cli.handover import VARIABLE
from sealmesh.cli.nodes import gather, until_stopped
from sealmesh.config import Mode
from sealmesh.errors import ConfigError

TICKET = "sealmesh1abc"


def handed_over(text: str) -> int:
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEALMESH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEALMESH_HOME", str(tmp_path))


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("origin", ["flag", "environment"])
def test_a_ticket_that_was_handed_over_is_the_ticket(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv(VARIABLE, f"{handed_over(TICKET)}:{origin}")
    settings = gather(Mode.CLIENT, {"port": "0", "join": None, "headless": False})
    assert settings.ticket is not None
    assert settings.ticket.reveal() == TICKET
    assert not {VARIABLE, "SEALMESH_TICKET"} & set(os.environ)


@pytest.mark.usefixtures("clean")
def test_a_ticket_keeps_its_rank_when_it_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ticket"
    path.write_text("sealmesh1other")
    path.chmod(0o600)
    monkeypatch.setenv(VARIABLE, f"{handed_over(TICKET)}:flag")
    with pytest.raises(ConfigError, match="exclude each other"):
        gather(Mode.CLIENT, {"join_file": str(path)})
    monkeypatch.setenv(VARIABLE, f"{handed_over(TICKET)}:environment")
    settings = gather(Mode.CLIENT, {"join_file": str(path)})
    assert settings.ticket is not None
    assert settings.ticket.reveal() == "sealmesh1other"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_node_properly(number: signal.Signals) -> None:
    told: list[object] = []

    async def node() -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)  # an impatient second one
            for _ in range(3):
                await asyncio.sleep(0)
            told.append("cleaned up")
        return 1

    assert await until_stopped(node(), lambda event: told.append(event["event"])) == 0
    assert told == ["cleaned up", "shutdown"]


async def test_a_node_that_is_to_outlive_its_terminal_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:

        async def node() -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            for _ in range(3):
                await asyncio.sleep(0)
            return 1

        assert await until_stopped(node(), lambda event: None) == 1
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_node_that_ends_by_itself_keeps_its_code() -> None:
    async def node() -> int:
        return 1

    assert await until_stopped(node(), lambda event: None) == 1


async def test_a_cancellation_from_elsewhere_is_not_taken_for_a_signal() -> None:
    async def node() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await until_stopped(node(), lambda event: None)

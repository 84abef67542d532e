"""`sealmesh ticket` from a home and its running node."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import segno

from kit.swtpm import SoftwareTpm
from sealmesh.cli.invite import make_invitation, parse_lifetime
from sealmesh.config import Secret
from sealmesh.errors import ConfigError
from sealmesh.identity.grants import Role
from sealmesh.identity.ticket import Ticket
from sealmesh.node.home import Home, RunState

RUN = RunState(
    pid=1,
    api_url="http://127.0.0.1:1",
    console_url=None,
    token=Secret("t"),
    endpoint_id=b"\x07" * 32,
    addresses=tuple(f"192.0.2.{number}:4433" for number in range(1, 11)),
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    place = Home(tmp_path / "home")
    with place.lock():
        place.make_issuer_key()
        place.write_run(RUN)
        yield place


def test_a_ticket_leads_to_this_node(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_invitation(home.path, roles=(), expires=None, as_json=False) == 0
    said = capsys.readouterr()
    ticket = Ticket.decode_untrusted(said.out)
    issuer = home.issuer_key()
    assert issuer is not None
    assert ticket.issuer_key == issuer.public
    assert ticket.inviter.endpoint_id == RUN.endpoint_id
    assert ticket.inviter.addresses == RUN.addresses[:8]
    assert ticket.granted.roles == Role.CLIENT | Role.HOST | Role.RELAY
    assert said.out.strip() not in said.err
    assert "secret" in said.err


def test_roles_and_lifetime(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    make_invitation(home.path, roles=["client"], expires="12h", as_json=True)
    said = json.loads(capsys.readouterr().out)
    granted = Ticket.decode_untrusted(said["ticket"]).granted
    assert said["roles"] == ["client"]
    assert said["serial"] == granted.serial.hex()
    assert granted.roles == Role.CLIENT
    assert granted.not_after - granted.not_before == 12 * 3600 + 60
    assert said["expires"].endswith("Z")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(home: Home, columns: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a terminal of that width shows."""
    terminal = _Terminal()
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", terminal)
    assert make_invitation(home.path, roles=(), expires=None, as_json=False, qr=True) == 0
    return terminal.getvalue().splitlines()


def test_a_terminal_shows_the_ticket_as_a_qr_code_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    *code, text = drawn(home, "200", monkeypatch)
    expected = io.StringIO()
    segno.make_qr(text, error="l").terminal(out=expected, compact=True)
    assert len(code) > 20
    assert code == expected.getvalue().splitlines()
    assert Ticket.decode_untrusted(text).inviter.endpoint_id == RUN.endpoint_id


def test_a_narrow_terminal_shows_no_broken_code(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = drawn(home, "80", monkeypatch)
    assert len(shown) == 1
    assert Ticket.decode_untrusted(shown[0])
    assert "make it wider" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [True, False])
def test_no_qr_code_goes_into_a_file(home: Home, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="terminal only"):
        make_invitation(home.path, roles=(), expires=None, as_json=as_json, qr=True)
    assert capsys.readouterr().out == ""


def test_a_loopback_node_is_warned_about(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_run(dataclasses.replace(RUN, addresses=("127.0.0.1:1", "[::1]:1")))
    make_invitation(home.path, roles=(), expires=None, as_json=False)
    assert "works on this machine only" in capsys.readouterr().err


def test_only_the_home_with_the_issuer_key_invites(tmp_path: Path) -> None:
    place = Home(tmp_path / "joined")
    with place.lock():
        place.write_run(RUN)
        with pytest.raises(ConfigError, match="cannot invite"):
            make_invitation(place.path, roles=(), expires=None, as_json=False)


def test_who_has_started_nothing_yet_is_told_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start one with: sealmesh serve"):
        make_invitation(tmp_path / "fresh", roles=(), expires=None, as_json=False)


def test_the_node_must_run(home: Home) -> None:
    home.remove_run()
    with pytest.raises(ConfigError, match="no node runs"):
        make_invitation(home.path, roles=(), expires=None, as_json=False)


def test_a_role_that_does_not_exist(home: Home) -> None:
    with pytest.raises(ConfigError, match="client, host or relay"):
        make_invitation(home.path, roles=["king"], expires=None, as_json=False)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("12h", 43_200), (" 7d ", 604_800)])
def test_lifetimes(text: str, seconds: int) -> None:
    assert parse_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "7w", "-1d", "0h", "9999d", "1.5h"])
def test_lifetimes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--expires"):
        parse_lifetime(text)


@pytest.mark.swtpm
def test_the_issuers_key_comes_from_the_chip_of_the_running_node(
    tmp_path: Path, tpm: SoftwareTpm, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Home(tmp_path / "home", sealer=tpm.chip)
    with place.lock():
        place.endpoint_key()
        issuer = place.make_issuer_key()
        place.write_run(dataclasses.replace(RUN, tpm=str(tpm.path)))
        assert make_invitation(place.path, roles=(), expires=None, as_json=False) == 0
        assert Ticket.decode_untrusted(capsys.readouterr().out).issuer_key == issuer.public
    with pytest.raises(ConfigError, match="no node runs"):
        make_invitation(place.path, roles=(), expires=None, as_json=False)

"""`sealmesh trust` on a home without a running node, and what it says of arguments that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealmesh.cli.trust import add_pin, list_pins, parse_hex, remove_pin
from sealmesh.errors import ConfigError, RequestError
from sealmesh.node.home import Home

HOST, KEY = "ab" * 32, "cd" * 32


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = Home(tmp_path / "home")
    with place.lock():
        return place.path


def test_a_pin_is_made_shown_and_taken_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add_pin(HOST, KEY, home, as_json=True) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["endpoint_id"], made["fingerprint"], made["by"]) == (HOST, KEY, "hand")
    assert list_pins(home, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == [made]
    assert list_pins(home, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "abababababab…" in shown
    assert KEY in shown
    assert remove_pin("abababababab…", home, as_json=False) == 0
    capsys.readouterr()
    list_pins(home, as_json=False)
    assert "No host is held to a hardware key" in capsys.readouterr().out


def test_fingerprints_are_taken_as_people_write_them(home: Path) -> None:
    written = ":".join(["CD"] * 16) + " " + ":".join(["CD"] * 16)
    add_pin(HOST, written, home, as_json=True)
    pin = Home(home).pins().get(bytes.fromhex(HOST))
    assert pin is not None
    assert pin.fingerprint.hex() == KEY


@pytest.mark.parametrize("text", ["", "ab", "zz" * 32, "ab" * 33])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ConfigError, match="64 hex digits"):
        parse_hex(text, what="a fingerprint")


def test_arguments_that_cannot_be_used(home: Path) -> None:
    with pytest.raises(ConfigError, match="give the fingerprint"):
        add_pin(HOST, None, home, as_json=False)
    with pytest.raises(ConfigError, match="endpoint id is 64 hex digits"):
        add_pin("abababab", KEY, home, as_json=False)
    with pytest.raises(RequestError, match="No pin is held"):
        remove_pin(HOST, home, as_json=False)
    add_pin(HOST, KEY, home, as_json=True)
    add_pin("abababab" + "00" * 28, KEY, home, as_json=True)
    for beginning in ("ab", "abababab", "cdcdcdcd"):
        with pytest.raises(ConfigError, match="the beginning of one known host"):
            remove_pin(beginning, home, as_json=False)


def test_no_pin_is_changed_behind_a_running_nodes_back(home: Path) -> None:
    with Home(home).lock(), pytest.raises(ConfigError, match="a node already runs"):
        add_pin(HOST, KEY, home, as_json=True)

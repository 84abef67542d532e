"""`sealmesh mesh` on a home without a running node, and what it says of targets that are none."""

from __future__ import annotations

import io
import json
import secrets
import time
from pathlib import Path

import pytest

from sealmesh.cli.members import list_members, revoke, show_mesh
from sealmesh.config import Mode, Settings
from sealmesh.errors import ConfigError
from sealmesh.identity.grants import Membership
from sealmesh.identity.ticket import Ticket
from sealmesh.node.home import Home
from sealmesh.node.join import enter_mesh, new_ticket
from sealmesh.node.notices import load_members
from sealmesh.transport.base import EndpointAddress

ENDPOINT, SERIAL = "ab" * 32, "cd" * 16


def made(path: Path) -> Home:
    place = Home(path)
    with place.lock():
        key = place.endpoint_key()
        settings = Settings(mode=Mode.SERVE, home=path, mesh_name="home")
        enter_mesh(settings, place, key, now=time.time(), random=secrets.token_bytes)
    return place


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return made(tmp_path / "home")


def ticket_of(place: Home) -> str:
    issuer = place.issuer_key()
    assert issuer is not None
    inviter = EndpointAddress(endpoint_id=bytes(32), addresses=("192.0.2.1:1",))
    return new_ticket(issuer, inviter, mesh_name="home", now=time.time(), random=secrets.token_bytes)


def listed(place: Home) -> tuple[set[bytes], set[bytes]]:
    mesh = place.mesh()
    assert mesh is not None
    revocations = load_members(place, mesh).revocations
    assert revocations is not None
    return set(revocations.serials), set(revocations.endpoint_ids)


def test_revocations_are_made_kept_and_shown(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    show_mesh(home.path, as_json=False)
    assert "nobody; no list was seen" in capsys.readouterr().out
    assert revoke(SERIAL, home.path, keep_ticket=False, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"endpoint_ids": [], "serials": [SERIAL], "members_out": [], "sequence": 1}
    assert revoke(ENDPOINT, home.path, keep_ticket=True, as_json=False) == 0
    said = capsys.readouterr()
    assert said.out == f"revoked endpoint {ENDPOINT}\n"
    assert "the others learn of it when one does" in said.err
    assert listed(home) == ({bytes.fromhex(SERIAL)}, {bytes.fromhex(ENDPOINT)})
    assert show_mesh(home.path, as_json=False) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in (SERIAL, ENDPOINT, "this node holds the key", "2, by a list that is"))
    show_mesh(home.path, as_json=True)
    assert json.loads(capsys.readouterr().out)["revocations"]["sequence"] == 2


def test_a_ticket_is_revoked_by_its_text_from_stdin_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ticket_of(home), ticket_of(home)
    revoke(first, home.path, keep_ticket=False, as_json=True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{second}\n"))
    revoke("-", home.path, keep_ticket=False, as_json=True)
    assert listed(home)[0] == {Ticket.decode_untrusted(text).granted.serial for text in (first, second)}


def test_what_is_nobody(home: Home) -> None:
    for target in ("", "zz", "abab", "abababab", ENDPOINT + "00", "gg" * 32):
        with pytest.raises(ConfigError, match="no ticket, no ticket's serial"):
            revoke(target, home.path, keep_ticket=True, as_json=False)
    with pytest.raises(ConfigError, match="the ticket cannot be used"):
        revoke("sealmesh1aaaa", home.path, keep_ticket=False, as_json=False)


def test_a_ticket_to_another_mesh(home: Home, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    with pytest.raises(ConfigError, match="another mesh"):
        revoke(ticket_of(other), home.path, keep_ticket=False, as_json=False)


def test_without_a_node_an_endpoints_ticket_is_not_known_and_that_is_said(home: Home) -> None:
    with pytest.raises(ConfigError, match="--keep-ticket"):
        revoke(ENDPOINT, home.path, keep_ticket=False, as_json=False)
    assert home.revocations() is None


def test_a_home_does_not_put_itself_out(home: Home) -> None:
    mesh = home.mesh()
    assert mesh is not None
    own = Membership.parse_untrusted(mesh.credentials.membership.part)
    for target in (own.endpoint_id.hex(), own.serial.hex()):
        with pytest.raises(ConfigError, match="put out this node itself"):
            revoke(target, home.path, keep_ticket=True, as_json=False)
    assert home.revocations() is None


def test_only_the_home_with_the_issuer_key(home: Home) -> None:
    (home.path / "issuer.key").unlink()
    with pytest.raises(ConfigError, match="does not hold the mesh's issuer key"):
        revoke(SERIAL, home.path, keep_ticket=False, as_json=False)


def test_a_home_in_no_mesh(tmp_path: Path) -> None:
    place = Home(tmp_path / "fresh")
    with place.lock():
        pass
    with pytest.raises(ConfigError, match="in no mesh"):
        show_mesh(place.path, as_json=False)
    with pytest.raises(ConfigError, match="in no mesh"):
        revoke(SERIAL, place.path, keep_ticket=False, as_json=False)
    with pytest.raises(ConfigError, match="no node runs"):
        list_members(place.path, as_json=False)


def test_nobody_is_revoked_behind_a_running_nodes_back(home: Home) -> None:
    with home.lock(), pytest.raises(ConfigError, match="a node already runs"):
        revoke(SERIAL, home.path, keep_ticket=False, as_json=True)

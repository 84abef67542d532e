"""`sealmesh mesh export-key` and `import-key`: a second home that can invite, and everything that is refused."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path

import pytest

from kit.swtpm import SoftwareTpm
from sealmesh.cli.issuer_keys import export_key, import_key
from sealmesh.config import Mode, Secret, Settings
from sealmesh.errors import ConfigError
from sealmesh.identity.keys import IssuerKey
from sealmesh.node.home import Home, RunState
from sealmesh.node.join import enter_mesh, new_ticket
from sealmesh.node.keyexport import IssuerExport
from sealmesh.transport.base import EndpointAddress


def entered(path: Path, ticket: str | None = None) -> Home:
    place = Home(path)
    with place.lock():
        key = place.endpoint_key()
        settings = Settings(
            mode=Mode.SERVE, home=path, mesh_name="home", ticket=Secret(ticket) if ticket is not None else None
        )
        enter_mesh(settings, place, key, now=time.time(), random=secrets.token_bytes)
    return place


def issuer_of(place: Home) -> IssuerKey:
    issuer = place.issuer_key()
    assert issuer is not None
    return issuer


class Places:
    """The home that made a mesh, one that joined it, and a passphrase in a file."""

    def __init__(self, root: Path) -> None:
        self.first = entered(root / "first")
        inviter = EndpointAddress(endpoint_id=bytes(32), addresses=("192.0.2.1:1",))
        issuer = issuer_of(self.first)
        ticket = new_ticket(issuer, inviter, mesh_name="home", now=time.time(), random=secrets.token_bytes)
        self.second = entered(root / "second", ticket)
        self.file = root / "key.export"
        self.phrase = root / "passphrase"
        self.phrase.touch(mode=0o600)
        self.phrase.write_text("four words are enough\n")

    def export(self) -> int:
        return export_key(self.file, self.first.path, passphrase_file=self.phrase, as_json=True)

    def take(self, place: Home) -> int:
        return import_key(self.file, place.path, passphrase_file=self.phrase, as_json=True)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_a_second_home_can_invite_with_it(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert places.export() == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["issuer_key"] == issuer_of(places.first).public.hex()
    assert issuer_of(places.first).seed.reveal().hex() not in said.out + said.err + places.file.read_text()
    assert places.file.stat().st_mode & 0o777 == 0o600
    assert places.take(places.second) == 0
    assert issuer_of(places.second).seed == issuer_of(places.first).seed
    assert (places.second.path / "issuer.key").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_over(places: Places) -> None:
    places.file.write_text("something else")
    with pytest.raises(ConfigError, match="is there already"):
        places.export()
    assert places.file.read_text() == "something else"


def test_a_home_that_has_a_key_keeps_it(places: Places) -> None:
    places.export()
    before = (places.first.path / "issuer.key").read_bytes()
    with pytest.raises(ConfigError, match="holds an issuer key already"):
        places.take(places.first)
    assert (places.first.path / "issuer.key").read_bytes() == before


def test_only_into_a_home_of_that_mesh_without_a_node(places: Places, tmp_path: Path) -> None:
    places.export()
    with pytest.raises(ConfigError, match="in no mesh"):
        places.take(Home(tmp_path / "fresh"))
    other = entered(tmp_path / "other")
    (other.path / "issuer.key").unlink()
    with pytest.raises(ConfigError, match="of another mesh"):
        places.take(other)
    with places.second.lock(), pytest.raises(ConfigError, match="a node already runs"):
        places.take(places.second)
    assert places.second.issuer_key() is None


def test_passphrases_that_are_none(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.phrase.write_text("short\n")
    with pytest.raises(ConfigError, match="12 characters"):
        places.export()
    places.phrase.write_text("")
    with pytest.raises(ConfigError, match="no passphrase"):
        places.export()
    places.phrase.unlink()
    with pytest.raises(ConfigError, match="not there"):
        places.export()
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="--passphrase-file"):
        export_key(places.file, places.first.path, passphrase_file=None, as_json=True)
    assert not places.file.exists()


def test_files_that_are_none(places: Places, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        places.take(places.second)
    shutil.copy(places.first.path / "issuer.key", places.file)
    with pytest.raises(ConfigError, match="no exported issuer key"):
        places.take(places.second)
    with pytest.raises(ConfigError, match="holds no issuer key"):
        export_key(tmp_path / "x", places.second.path, passphrase_file=places.phrase, as_json=True)


@pytest.mark.swtpm
def test_a_key_that_a_chip_keeps_comes_out_while_its_node_runs(
    places: Places, tmp_path: Path, tpm: SoftwareTpm
) -> None:
    place = Home(tmp_path / "sealed", sealer=tpm.chip)
    with place.lock():
        place.endpoint_key()
        issuer = place.make_issuer_key()
        place.write_run(
            RunState(
                pid=1,
                api_url="http://127.0.0.1:1",
                console_url=None,
                token=Secret("t"),
                endpoint_id=bytes(32),
                tpm=str(tpm.path),
            )
        )
        assert export_key(places.file, place.path, passphrase_file=places.phrase, as_json=True) == 0
    exported = IssuerExport.decode_untrusted(places.file.read_bytes())
    assert exported.open(Secret("four words are enough")).seed == issuer.seed
    places.file.unlink()
    with pytest.raises(ConfigError, match="no node runs"):
        export_key(places.file, place.path, passphrase_file=places.phrase, as_json=True)

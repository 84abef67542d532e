"""`sealmesh bless`: a whole ceremony, and what its makers are told when something is wrong."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit.builds import build, measurement
from sealmesh.attestation.blessing import read_draft_untrusted
from sealmesh.cli.app import app
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.node.builds import OFFERED

PLATFORM = "linux-x86_64-cp311"


class Ceremony:
    """A folder with holders' keys, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.list = folder / "builds.json"
        self.policy = folder / "policy.toml"
        (folder / "passphrase").write_text("correct horse battery\n")
        (folder / "passphrase").chmod(0o600)

    def run(self, *arguments: object) -> str:
        done = CliRunner().invoke(app, ["bless", *map(str, arguments)], catch_exceptions=True)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def key(self, holder: str) -> str:
        protection = ["--passphrase-file", self.folder / "passphrase"] if holder == "ada" else ["--no-passphrase"]
        return self.run("keygen", self.folder / f"{holder}.key", *protection).strip()

    def sign(self, holder: str) -> None:
        self.run(
            "sign", self.list, "--key", self.folder / f"{holder}.key", "--passphrase-file", self.folder / "passphrase"
        )

    def measured(self, name: str = "sealmesh-0.1.0", platform: str = PLATFORM, **changes: object) -> Path:
        path = self.folder / f"{name}.measured.json"
        said = {
            "measurement": measurement(name, platform).hex(),
            "platform": platform,
            "version": "0.1.0",
            "manifest_length": 1000,
            "unblessed": [],
        }
        path.write_text(json.dumps(said | changes))
        return path

    def trust(self, *keys: str, name: str = "example") -> None:
        named = ", ".join(f'"{key}"' for key in keys)
        self.policy.write_text(f'[measurement]\nlist = "{name}"\nkeys = [{named}]\nthreshold = 2\n')


@pytest.fixture
def ceremony(tmp_path: Path) -> Ceremony:
    return Ceremony(tmp_path)


def test_a_whole_ceremony(ceremony: Ceremony) -> None:
    keys = [ceremony.key(holder) for holder in ("ada", "ben", "cleo")]
    ceremony.trust(*keys)
    ceremony.run("add", ceremony.list, ceremony.measured(), "--name", "example", "--label", "first")
    with pytest.raises(VerificationError, match="0 of the 2"):
        ceremony.run("verify", ceremony.list, "--policy", ceremony.policy)
    ceremony.sign("ada")
    with pytest.raises(VerificationError, match="1 of the 2"):
        ceremony.run("publish", ceremony.list, "--policy", ceremony.policy, "--home", ceremony.folder)
    ceremony.sign("cleo")
    said = json.loads(ceremony.run("verify", ceremony.list, "--policy", ceremony.policy, "--json"))
    assert said["verified"] is True
    assert [one["label"] for one in said["builds"]] == [f"{PLATFORM}/first"]
    assert "verified" in ceremony.run("verify", ceremony.list, "--home", ceremony.folder)
    ceremony.run("publish", ceremony.list, "--home", ceremony.folder)
    assert (ceremony.folder / OFFERED).read_bytes() == ceremony.list.read_bytes()
    shown = json.loads(ceremony.run("show", ceremony.list, "--json"))
    assert (shown["version"], shown["signatures"]) == (1, 2)
    # What follows is a higher version, and unsigned again.
    ceremony.run("add", ceremony.list, ceremony.measured("second"))
    ceremony.run("remove", ceremony.list, f"{PLATFORM}/first")
    found, signatures = read_draft_untrusted(ceremony.list.read_bytes())
    assert (found.version, signatures, len(found.builds)) == (2, 0, 1)
    ceremony.sign("ben")
    ceremony.run("renew", ceremony.list, "--days", 7)
    assert read_draft_untrusted(ceremony.list.read_bytes())[0].version == 3
    assert "not verified here" in ceremony.run("show", ceremony.list)


def test_a_build_with_what_hardware_measures(ceremony: Ceremony) -> None:
    mac = ceremony.measured("app", "darwin-arm64-cp312")
    ceremony.run("add", ceremony.list, mac, "--name", "example", "--cdhash", "AB" * 20)
    ceremony.run("add", ceremony.list, ceremony.measured(), "--launch-digest", "cd" * 48)
    found, _ = read_draft_untrusted(ceremony.list.read_bytes())
    assert {(one.platform, *one.cdhashes, *one.launch_digests) for one in found.builds.values()} == {
        ("darwin-arm64-cp312", "ab" * 20),
        (PLATFORM, "cd" * 48),
    }
    shown = ceremony.run("show", ceremony.list)
    assert f"code directory hash {'ab' * 20}" in shown
    assert f"launch digest {'cd' * 48}" in shown


def test_a_key_is_private_or_encrypted_and_never_overwritten(ceremony: Ceremony) -> None:
    ceremony.key("ada")
    ceremony.key("ben")
    assert b"ENCRYPTED" in (ceremony.folder / "ada.key").read_bytes()
    for holder in ("ada", "ben"):
        assert stat.S_IMODE((ceremony.folder / f"{holder}.key").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists already"):
        ceremony.key("ada")


def test_what_is_said_of_keys_that_cannot_be_used(ceremony: Ceremony) -> None:
    ceremony.key("ada")
    ceremony.key("ben")
    ceremony.run("add", ceremony.list, ceremony.measured(), "--name", "example")
    with pytest.raises(ConfigError, match="there is no"):
        ceremony.sign("nobody")
    (ceremony.folder / "passphrase").write_text("another")
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        ceremony.sign("ada")
    with pytest.raises(ConfigError, match="fewer than 8"):
        ceremony.run("keygen", ceremony.folder / "x", "--passphrase-file", ceremony.folder / "passphrase")
    with pytest.raises(ConfigError, match="no terminal to ask"):
        ceremony.run("keygen", ceremony.folder / "x")
    with pytest.raises(ConfigError, match="no terminal to ask"):
        ceremony.run("sign", ceremony.list, "--key", ceremony.folder / "ada.key")
    (ceremony.folder / "ben.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        ceremony.sign("ben")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unblessed": ["sealmesh is installed editable"]}, "cannot be blessed: sealmesh is installed editable"),
        ({"measurement": "ab"}, "is not what"),
        ({"measurement": "zz"}, "is not what"),
        ({"platform": "no platform"}, "names no build"),
    ],
)
def test_what_cannot_be_blessed(ceremony: Ceremony, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ceremony.run("add", ceremony.list, ceremony.measured(**changes), "--name", "example")
    assert not ceremony.list.exists()


def test_usage(ceremony: Ceremony) -> None:
    both = [ceremony.measured(), ceremony.measured("second")]
    with pytest.raises(ConfigError, match="say something of one build"):
        ceremony.run("add", ceremony.list, *both, "--name", "example", "--label", "x")
    with pytest.raises(ConfigError, match="40 hex digits"):
        ceremony.run("add", ceremony.list, both[0], "--name", "example", "--cdhash", "ab")
    with pytest.raises(ConfigError, match="needs a name"):
        ceremony.run("add", ceremony.list, both[0])
    with pytest.raises(ConfigError, match="cannot be read"):
        ceremony.run("show", ceremony.list)
    ceremony.run("add", ceremony.list, *both, "--name", "example")
    with pytest.raises(ConfigError, match="not on the list"):
        ceremony.run("remove", ceremony.list, build().label)
    ceremony.policy.write_text("")
    with pytest.raises(ConfigError, match="names no list"):
        ceremony.run("verify", ceremony.list, "--policy", ceremony.policy)


def test_what_a_list_says_cannot_move_a_terminal(ceremony: Ceremony) -> None:
    ceremony.run("add", ceremony.list, ceremony.measured(), "--name", "a\x1b[2Jb")
    assert "\x1b" not in ceremony.run("show", ceremony.list)

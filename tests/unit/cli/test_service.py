"""`sealmesh service`: what the units say, what is run, and what systemd's own checks make of it."""

from __future__ import annotations

import dataclasses
import getpass
import json
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sealmesh.cli.nodes import for_a_log
from sealmesh.cli.service import Machine, Wish, install, make_plan, remove, status, unit_path
from sealmesh.cli.units import Plan, launchd_plist, systemd_unit
from sealmesh.errors import ConfigError

#: What `systemd-analyze security` may say of the unit at most; 0 is no exposure, 10 is all.
EXPOSURE_MAX = 2.0


class World:
    """A machine in a folder, and the commands that were run on it."""

    def __init__(self, root: Path, *, darwin: bool = False, tpm: bool = False, managed: bool = True) -> None:
        self.ran: list[list[str]] = []
        self.answers: dict[str, tuple[int, str]] = {}
        if tpm:
            (root / "dev").mkdir()
            (root / "dev" / "tpmrm0").touch()
        self.machine = Machine(
            darwin=darwin,
            root=root,
            user=root / "person",
            uid=0,
            run=self.run,
            managed=managed,
            group_exists=lambda name: name == "tss",
        )

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        self.ran.append(list(words))
        return self.answers.get(words[1], (0, ""))


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    path = tmp_path / "the ticket"
    path.write_text("sealmesh1secret")
    path.chmod(0o600)
    return path


def unit(world: World, **wish: object) -> str:
    return systemd_unit(make_plan(Wish(**wish), world.machine))  # type: ignore[arg-type]


def test_the_unit_holds_what_is_promised(tmp_path: Path, ticket: Path) -> None:
    lines = unit(World(tmp_path, tpm=True), ticket=ticket).splitlines()
    for line in (
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectProc=invisible",
        "ProtectSystem=strict",
        "LimitCORE=0",
        "StateDirectory=sealmesh",
        "SupplementaryGroups=tss",
        "DevicePolicy=closed",
        "DeviceAllow=/dev/tpmrm0 rw",
        "CapabilityBoundingSet=",
        f"LoadCredential=ticket:{ticket}",
        "WantedBy=multi-user.target",
    ):
        assert line in lines, line
    assert not any(line.startswith("MemoryDenyWriteExecute") for line in lines)
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert start == f"ExecStart={sys.executable} -I -m sealmesh serve --home %S/sealmesh --join-file %d/ticket"


def test_a_ticket_is_named_and_never_written(tmp_path: Path, ticket: Path) -> None:
    for darwin in (False, True):
        world = World(tmp_path, darwin=darwin)
        for user in (False, True):
            plan = make_plan(Wish(ticket=ticket, user=user, run_as=ordinary_user()), world.machine)
            assert "sealmesh1secret" not in systemd_unit(plan) + launchd_plist(plan).decode()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_ticket_that_others_can_read_is_refused(tmp_path: Path, ticket: Path, mode: int) -> None:
    ticket.chmod(mode)
    with pytest.raises(ConfigError, match="others can read"):
        make_plan(Wish(ticket=ticket), World(tmp_path).machine)


def test_without_a_tpm_no_group_is_asked_for(tmp_path: Path) -> None:
    """A group that is not there would keep the service from starting."""
    for text in (
        unit(World(tmp_path)),
        systemd_unit(
            make_plan(Wish(), dataclasses.replace(World(tmp_path, tpm=True).machine, group_exists=lambda _: False))
        ),
    ):
        assert "SupplementaryGroups" not in text
        assert "PrivateUsers=yes" in text


def test_a_users_own_service_asks_only_for_what_a_user_can_have(tmp_path: Path, ticket: Path) -> None:
    text = unit(World(tmp_path), user=True, ticket=ticket, command="client")
    assert "WantedBy=default.target" in text
    assert "NoNewPrivileges=yes" in text
    assert f'"{ticket}"' in text
    assert not {"DynamicUser=yes", "ProtectHome=yes", "CapabilityBoundingSet="} & set(text.splitlines())


def test_a_percent_sign_in_a_path_is_no_specifier(tmp_path: Path) -> None:
    config = tmp_path / "50%h.toml"
    config.touch()
    plan = make_plan(Wish(user=True, config=config), World(tmp_path).machine)
    assert "50%%h.toml" in systemd_unit(plan)


def systemd_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program is not None, "scripts/test installs systemd where it runs as root, and leaves these out elsewhere"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.mark.systemd
@pytest.mark.parametrize("tpm", [False, True])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, ticket: Path, tpm: bool) -> None:
    path = tmp_path / "sealmesh.service"
    path.write_text(unit(World(tmp_path, tpm=tpm), ticket=ticket))
    done = systemd_analyze("verify", str(path))
    assert (done.returncode, "sealmesh.service" in done.stderr) == (0, False), done.stderr


@pytest.mark.systemd
@pytest.mark.parametrize("tpm", [False, True])
def test_the_units_security_score(tmp_path: Path, tpm: bool) -> None:
    path = tmp_path / "sealmesh.service"
    path.write_text(unit(World(tmp_path, tpm=tpm)))
    limit = f"--threshold={EXPOSURE_MAX * 10:.0f}"
    done = systemd_analyze("security", "--offline=true", limit, str(path))
    assert done.returncode == 0, done.stdout[-300:]
    path.write_text("[Service]\nExecStart=/bin/true\n")
    assert systemd_analyze("security", "--offline=true", limit, str(path)).returncode != 0


def ordinary_user() -> str:
    return "nobody" if getpass.getuser() == "root" else getpass.getuser()


def test_the_property_list_is_one(tmp_path: Path, ticket: Path) -> None:
    world = World(tmp_path, darwin=True)
    plan = make_plan(Wish(ticket=ticket, run_as=ordinary_user()), world.machine)
    found = plistlib.loads(launchd_plist(plan))
    assert found["Label"] == "org.sealmesh.node"
    assert found["UserName"] == ordinary_user()
    assert found["HardResourceLimits"] == found["SoftResourceLimits"] == {"Core": 0}
    assert found["ProgramArguments"][:5] == [sys.executable, "-I", "-m", "sealmesh", "serve"]
    assert found["ProgramArguments"][-2:] == ["--join-file", str(ticket)]
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["Umask"] == 0o077
    own = plistlib.loads(launchd_plist(make_plan(Wish(user=True), world.machine)))
    assert "UserName" not in own


@pytest.mark.parametrize(("name", "words"), [("", "--run-as"), ("root", "needs no root"), ("nobody-at-all", "no user")])
def test_launchd_is_told_an_ordinary_user(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_plan(Wish(run_as=name), World(tmp_path, darwin=True).machine)


def test_installing_and_removing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    path = unit_path(False, world.machine)
    assert status(user=False, machine=world.machine) == 1
    assert install(Wish(), dry_run=False, machine=world.machine) == 0
    assert path.read_text().startswith("# Written by")
    assert world.ran == [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "sealmesh"]]
    world.answers["is-active"] = (0, "active\n")
    assert status(user=False, machine=world.machine) == 0
    assert "active:" in capsys.readouterr().out
    world.ran.clear()
    assert remove(user=False, machine=world.machine) == 0
    assert not path.exists()
    assert world.ran == [["systemctl", "disable", "--now", "sealmesh"], ["systemctl", "daemon-reload"]]
    with pytest.raises(ConfigError, match="no service is installed"):
        remove(user=False, machine=world.machine)


def test_installing_on_a_mac(tmp_path: Path) -> None:
    world = World(tmp_path, darwin=True)
    path = unit_path(True, world.machine)
    assert install(Wish(user=True), dry_run=False, machine=world.machine) == 0
    assert world.ran == [["launchctl", "bootstrap", "gui/0", str(path)]]
    world.answers["print"] = (0, "x = {\n\tstate = running\n}\n")
    assert status(user=True, machine=world.machine) == 0
    assert remove(user=True, machine=world.machine) == 0
    assert world.ran[-1] == ["launchctl", "bootout", "gui/0", str(path)]


def test_a_dry_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, managed=False)
    assert install(Wish(), dry_run=True, machine=world.machine) == 0
    assert "DynamicUser=yes" in capsys.readouterr().out
    assert world.ran == []
    assert not unit_path(False, world.machine).exists()


def test_what_keeps_a_service_from_being_installed(tmp_path: Path) -> None:
    world = World(tmp_path)
    for machine, words in (
        (dataclasses.replace(world.machine, managed=False), "systemd does not run here"),
        (dataclasses.replace(world.machine, uid=1000), "use sudo"),
    ):
        with pytest.raises(ConfigError, match=words):
            install(Wish(), dry_run=False, machine=machine)
    world.answers["enable"] = (1, "Failed to enable unit")
    with pytest.raises(ConfigError, match="Failed to enable unit"):
        install(Wish(), dry_run=False, machine=world.machine)
    with pytest.raises(ConfigError, match="is no file"):
        make_plan(Wish(config=tmp_path / "none.toml"), world.machine)
    with pytest.raises(ConfigError, match="a service runs"):
        make_plan(Wish(command="rm"), world.machine)


def test_a_service_keeps_its_ticket_out_of_the_log() -> None:
    said: list[dict[str, object]] = []
    ready: dict[str, object] = {"event": "ready", "ticket": "sealmesh1secret"}
    for_a_log(said.append, {})(ready)
    for_a_log(said.append, {"SEALMESH_SERVICE": "1"})(ready)
    assert said == [ready, {"event": "ready"}]
    assert "sealmesh1secret" not in json.dumps(said[1])


def test_what_lies_in_a_home_folder_can_be_read(tmp_path: Path) -> None:
    plan = make_plan(Wish(), World(tmp_path).machine)
    away = dataclasses.replace(plan, interpreter=Path("/opt/sealmesh/bin/python"), reads_home=False)
    assert "ProtectHome=yes" in systemd_unit(away)
    assert "ProtectHome=read-only" in systemd_unit(dataclasses.replace(away, reads_home=True))
    assert isinstance(away, Plan)


def test_the_container_runs_as_an_ordinary_user_and_from_a_wheel() -> None:
    text = (Path(__file__).parents[3] / "packaging" / "Containerfile").read_text()
    assert "\nUSER 65532:65532\n" in text
    assert " -e " not in text
    assert text.count("--require-hashes") == 2
    assert "Unrun" in text


def test_a_ticket_is_found_whatever_its_path_holds(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" $c 5%\\d'
    path.write_text("ticket")
    path.chmod(0o600)
    lines = unit(World(tmp_path), ticket=path).splitlines()
    assert f"LoadCredential=ticket:{path}".replace("%", "%%") in lines


@pytest.mark.parametrize("name", ["a\nExecStartPre=b", "a\udcff"])
def test_a_path_that_would_be_a_line_of_the_unit_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch(mode=0o600)
    for wish in (Wish(ticket=path), Wish(config=path)):
        with pytest.raises(ConfigError, match="rename it"):
            make_plan(wish, World(tmp_path).machine)

"""The home's keys, mesh, lock and run state."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sealmesh.config import Secret
from sealmesh.errors import ConfigError
from sealmesh.identity.grants import ALL_ROLES, make_grant, make_membership
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey
from sealmesh.node.home import Home, MeshState, RunState
from sealmesh.transport.base import EndpointAddress

RUN = RunState(
    pid=os.getpid(),
    api_url="http://127.0.0.1:9337",
    console_url=None,
    token=Secret("local-token"),
    endpoint_id=b"\x07" * 32,
    addresses=("192.0.2.1:4433", "[2001:db8::1]:4433"),
    started_at=1_764_000_000.5,
)


def seeded(word: str) -> Callable[[int], bytes]:
    return lambda count: hashlib.shake_256(word.encode()).digest(count)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    place = Home(tmp_path / "home")
    place.prepare()
    return place


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- keys ----------------------------------------------------------------------------------------------------------


def test_the_endpoint_key_is_made_once_and_is_private(home: Home) -> None:
    made = home.endpoint_key(seeded("endpoint"))
    assert made.public == EndpointKey.generate(seeded("endpoint")).public
    assert home.endpoint_key(seeded("another")).public == made.public
    assert mode(home.path / "endpoint.key") == 0o600
    assert mode(home.path) == 0o700
    assert mode(home.path / "run") == 0o700


def test_new_keys_come_from_the_systems_randomness_by_default(tmp_path: Path) -> None:
    keys = {Home(tmp_path / name).endpoint_key().public for name in ("one", "two")}
    assert len(keys) == 2


def test_the_issuer_key_is_made_only_when_asked_and_never_over_another(home: Home) -> None:
    assert home.issuer_key() is None
    made = home.make_issuer_key(seeded("issuer"))
    found = home.issuer_key()
    assert isinstance(found, IssuerKey)
    assert found.public == made.public
    with pytest.raises(ConfigError, match="holds the issuer key of a mesh already"):
        home.make_issuer_key()


def test_a_key_of_one_kind_is_not_taken_for_another(home: Home) -> None:
    home.endpoint_key()
    (home.path / "endpoint.key").rename(home.path / "issuer.key")
    with pytest.raises(ConfigError, match=r"issuer\.key is damaged"):
        home.issuer_key()


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_what_to_do(home: Home, wrong: int) -> None:
    home.endpoint_key()
    path = home.path / "endpoint.key"
    path.chmod(wrong)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        home.endpoint_key()


@pytest.mark.parametrize(
    "content", [b"", b"sealmesh-endpoint-key-1", b"sealmesh-endpoint-key-1 00ff", b"\xff" * 40, b"x" * 2000]
)
def test_a_damaged_key_is_refused_and_left_alone(home: Home, content: bytes) -> None:
    path = home.path / "endpoint.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"damaged|larger than"):
        home.endpoint_key()
    assert path.read_bytes() == content


def test_a_link_in_place_of_a_key_is_refused(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("sealmesh-endpoint-key-1 " + "00" * 32)
    target.chmod(0o600)
    (home.path / "endpoint.key").symlink_to(target)
    with pytest.raises(ConfigError, match="cannot be read"):
        home.endpoint_key()


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"chmod 700 {folder}"):
        Home(folder).prepare()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        Home(tmp_path / "home").prepare()


# --- the mesh ------------------------------------------------------------------------------------------------------


def mesh_state() -> MeshState:
    issuer, bearer = IssuerKey.generate(seeded("issuer")), BearerKey.generate(seeded("bearer"))
    grant = make_grant(
        issuer, serial=bytes(16), bearer_public=bearer.public, roles=ALL_ROLES, not_before=1, not_after=10**9
    )
    return MeshState(
        issuer_key=issuer.public,
        credentials=make_membership(bearer, grant, endpoint_id=b"\x07" * 32),
        name="the \x1b[31m mesh",
        bootstrap=(
            EndpointAddress(endpoint_id=b"\x01" * 32, addresses=("192.0.2.1:1",)),
            EndpointAddress(endpoint_id=b"\x02" * 32, relay_url="https://relay.example"),
        ),
    )


def test_the_mesh_comes_back_as_it_was(home: Home) -> None:
    assert home.mesh() is None
    state = mesh_state()
    home.save_mesh(state)
    assert home.mesh() == state
    assert mode(home.path / "mesh.json") == 0o600


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"issuer_key": "00", "credentials": "", "name": "", "bootstrap": []}', "[" * 100_000, "nan"],
)
def test_a_damaged_mesh_file_says_what_deleting_it_loses(home: Home, content: str) -> None:
    path = home.path / "mesh.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"mesh\.json is damaged; .*must join again"):
        home.mesh()


def test_revocations_and_successors_are_kept_byte_for_byte(home: Home) -> None:
    assert home.revocations() is None
    assert home.successors() == ()
    home.save_revocations(b"\x00signed\xff")
    home.save_successors((b"\x01", b"\x02\xff"))
    assert home.revocations() == b"\x00signed\xff"
    assert home.successors() == (b"\x01", b"\x02\xff")


# --- one node at a time --------------------------------------------------------------------------------------------


def test_a_second_node_is_told_which_process_holds_the_home(home: Home) -> None:
    with home.lock():
        with pytest.raises(ConfigError, match=rf"a node already runs on .* \(process {os.getpid()}\)"):
            home.lock()
        assert home.is_locked()
    assert not home.is_locked()
    home.lock().release()


def test_a_lock_ends_with_its_process(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from sealmesh.node.home import Home\n"
        "lock = Home(Path(sys.argv[1])).lock(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(home.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"process {other.pid}"):
            home.lock()
        other.kill()
    home.lock().release()


def test_looking_at_a_home_makes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "nowhere")
    assert not home.is_locked()
    assert home.run_state() is None
    assert home.issuer_key() is None
    assert home.mesh() is None
    assert not home.path.exists()


# --- the running node ----------------------------------------------------------------------------------------------


def test_the_run_state_is_found_while_the_node_runs(home: Home) -> None:
    with home.lock():
        assert home.run_state() is None
        home.write_run(RUN)
        assert home.run_state() == RUN
        assert mode(home.path / "run" / "node.json") == 0o600
        home.remove_run()
        home.remove_run()
        assert home.run_state() is None


def test_a_run_state_left_by_a_crash_counts_for_nothing(home: Home) -> None:
    with home.lock():
        home.write_run(RUN)
    assert home.run_state() is None
    with pytest.raises(ConfigError, match=r"no node runs on .*sealmesh serve"):
        home.require_run_state()


def test_the_local_token_is_not_shown(home: Home) -> None:
    home.write_run(RUN)
    assert "local-token" not in repr(RUN)
    assert "local-token" in (home.path / "run" / "node.json").read_text()


def test_a_damaged_run_state_is_refused(home: Home) -> None:
    with home.lock():
        home.write_run(RUN)
        path = home.path / "run" / "node.json"
        path.write_text(path.read_text().replace(f'"pid": {RUN.pid}', '"pid": "1"'))
        with pytest.raises(ConfigError, match=r"node\.json is damaged"):
            home.run_state()


def test_a_full_disk_does_not_stop_the_lock(tmp_path: Path) -> None:
    """Only the holder's number is lost; what must be written says itself that it cannot be."""
    code = (
        "import resource, sys; from pathlib import Path; from sealmesh.node.home import Home\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "home = Home(Path(sys.argv[1]))\n"
        "with home.lock(): print(home.is_locked())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home")], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout.strip() == "True", ended.stderr

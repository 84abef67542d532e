"""Private files: one step, mode 0600, nothing left behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sealmesh.errors import ConfigError
from sealmesh.node.files import read_json, read_private, write_json, write_private


def test_content_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_private(path, b"old")
    held = path.open("rb")
    write_private(path, b"new")
    with held:
        assert held.read() == b"old"  # whoever was reading still sees the whole old content
    assert read_private(path) == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "state", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_content_and_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()  # a rename over a folder fails after the temporary file was written
    with pytest.raises(ConfigError, match="cannot be written"):
        write_private(path, b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_folder_that_is_gone_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_private(tmp_path / "gone" / "state", b"x")


def test_a_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state", 0o600)
    with pytest.raises(ConfigError, match="no plain file"):
        read_private(tmp_path / "state")


def test_a_folder_in_the_place_of_a_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o700)
    with pytest.raises(ConfigError, match="no plain file"):
        read_private(tmp_path / "state")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    write_private(tmp_path / "state", b"12345")
    assert read_private(tmp_path / "state", most=5) == b"12345"
    with pytest.raises(ConfigError, match="larger than 4 bytes"):
        read_private(tmp_path / "state", most=4)


def test_json_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_json(path, loss="nothing") is None
    write_json(path, {"a": [1, "é"]})
    assert read_json(path, loss="nothing") == {"a": [1, "é"]}
    write_private(path, b'{"a": ')
    with pytest.raises(ConfigError, match=r"damaged; restore it, or delete it \(nothing\)"):
        read_json(path, loss="nothing")

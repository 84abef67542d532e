"""All checks of one home, with a node and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sealmesh.doctor.checks import Verdict
from sealmesh.doctor.setup_checks import check_home_private, run_checks
from sealmesh.errors import ConfigError
from sealmesh.node.home import Home


def no_node() -> Mapping[str, Any]:
    raise ConfigError("none runs")


def test_a_home_of_ones_own_is_ok(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert check_home_private(home.path).verdict is Verdict.OK
    home.prepare()
    home.endpoint_key()
    assert check_home_private(home.path).verdict is Verdict.OK


def test_a_home_that_others_can_write_to_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert "chmod 700" in check_home_private(tmp_path).advice


def test_a_key_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.endpoint_key()
    (home.path / "endpoint.key").chmod(0o644)
    found = check_home_private(home.path)
    assert found.verdict is Verdict.PROBLEM
    assert "endpoint.key" in found.found


def test_a_home_that_others_can_look_into_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert check_home_private(tmp_path).verdict is Verdict.WARNING


def test_every_check_is_made_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMESH_BACKEND", "echo:")
    home = tmp_path / "home"
    checks = run_checks(home, no_node)
    names = ["settings", "home", "api_port", "console_port", "quic_port", "model", "disk", "ipv6", "firewall", "clock"]
    assert [check.id for check in checks] == [*names, "tpm", "peers"]
    assert not home.exists()


def test_a_configuration_that_cannot_be_used_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMESH_PORT", "many")
    checks = {check.id: check for check in run_checks(tmp_path, no_node)}
    assert checks["settings"].verdict is Verdict.PROBLEM
    assert "SEALMESH_PORT" in checks["settings"].found
    assert "api_port" not in checks

"""Before a node starts: which chip it uses, and what is said of one that it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealmesh.config import Mode, Settings
from sealmesh.node.run import find_chip


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_chip_that_is_here_and_not_used_is_said_on_every_node(tmp_path: Path, mode: Mode) -> None:
    """A client's keys, too, then lie in plain files, and its operator believes that they do not."""
    device = tmp_path / "tpmrm0"
    device.mkdir()
    said: list[dict[str, object]] = []
    models = ("smollm2-135m",) if mode is Mode.SERVE else ()
    found = await find_chip(Settings(mode=mode, home=tmp_path, models=models), said.append, device=device)
    assert found.chip is None
    assert [(one["event"], one["level"]) for one in said] == [("tpm_unused", "warning")]
    assert "a TPM is here and is not used" in str(said[0]["message"])


async def test_nothing_is_said_where_there_is_no_chip(tmp_path: Path) -> None:
    said: list[dict[str, object]] = []
    await find_chip(Settings(mode=Mode.CLIENT, home=tmp_path), said.append, device=tmp_path / "tpmrm0")
    assert said == []

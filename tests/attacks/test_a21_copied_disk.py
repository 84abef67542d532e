"""A21: a disk copied to another machine. The keys on it are useless there: they are sealed to one TPM.

Two real emulated TPMs of one maker: the thief's machine has a chip of the same kind, even with the same CA.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from kit.swtpm import SoftwareTpm
from sealmesh.errors import ConfigError
from sealmesh.node.home import Home

pytestmark = pytest.mark.swtpm


def home_on(tpm: SoftwareTpm, path: Path) -> Home:
    """A home with both keys, made on a machine with this chip."""
    home = Home(path, sealer=tpm.chip)
    home.endpoint_key()
    home.make_issuer_key()
    return home


def stolen(home: Home, to: Path) -> Path:
    shutil.copytree(home.path, to)
    return to


def test_a_copied_home_is_useless_on_another_machine(two_tpms: list[SoftwareTpm], tmp_path: Path) -> None:
    mine, thiefs = two_tpms
    home = home_on(mine, tmp_path / "mine")
    copy = stolen(home, tmp_path / "copy")
    for machine in (Home(copy, sealer=thiefs.chip), Home(copy)):
        for read in (machine.endpoint_key, machine.issuer_key):
            with pytest.raises(ConfigError, match="sealed to a TPM"):
                read()
        with pytest.raises(ConfigError, match="sealed to a TPM"):
            machine.make_issuer_key()
    again = Home(home.path, sealer=mine.chip)
    assert again.endpoint_key().public == home.endpoint_key().public
    assert again.issuer_key() is not None
    assert mine.loaded() == thiefs.loaded() == ()


def test_nothing_in_the_files_is_the_key(tpm: SoftwareTpm, tmp_path: Path) -> None:
    home = home_on(tpm, tmp_path / "home")
    on_disk = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    issuer = home.issuer_key()
    assert issuer is not None
    for seed in (home.endpoint_key().seed.reveal(), issuer.seed.reveal()):
        for form in (seed, seed.hex().encode()):
            assert form not in on_disk


def test_a_home_from_before_is_sealed_at_the_next_start(
    two_tpms: list[SoftwareTpm], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, thiefs = two_tpms
    plain = Home(tmp_path / "home")
    before = plain.endpoint_key().public
    plain.make_issuer_key()
    home = Home(plain.path, sealer=mine.chip)
    with caplog.at_level(logging.WARNING):
        home.seal_keys()
    assert caplog.text.count("is now sealed to this machine's TPM") == 2
    assert home.keys_are_sealed()
    assert home.endpoint_key().public == before
    with pytest.raises(ConfigError, match="which does not open it"):
        Home(stolen(home, tmp_path / "copy"), sealer=thiefs.chip).endpoint_key()
    caplog.clear()
    home.seal_keys()
    assert not caplog.records


def test_a_cleared_chip_opens_nothing_and_makes_no_new_node_by_itself(
    two_tpms: list[SoftwareTpm], tmp_path: Path
) -> None:
    mine, _ = two_tpms
    home = home_on(mine, tmp_path / "home")
    mine.stop()
    shutil.rmtree(mine.folder)
    mine.manufacture()  # new seeds: what clearing leaves of what was sealed
    mine.start()
    before = (home.path / "endpoint.key").read_bytes()
    with pytest.raises(ConfigError, match="move it away, then this node gets a new endpoint key"):
        Home(home.path, sealer=mine.chip).endpoint_key()
    assert (home.path / "endpoint.key").read_bytes() == before
    (home.path / "endpoint.key").unlink()
    assert Home(home.path, sealer=mine.chip).endpoint_key().public.hex().encode() not in before


def test_a_key_of_one_kind_is_not_taken_for_another(tpm: SoftwareTpm, tmp_path: Path) -> None:
    """The issuer's file in the place of the endpoint's, with its first word rewritten."""
    home = home_on(tpm, tmp_path / "home")
    issuer = (home.path / "issuer.key").read_bytes()
    (home.path / "endpoint.key").write_bytes(issuer.replace(b"sealmesh-issuer-key-2", b"sealmesh-endpoint-key-2"))
    with pytest.raises(ConfigError, match="damaged"):
        home.endpoint_key()

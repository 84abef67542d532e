"""The list of builds on a node: kept, given, ended, and never older than before."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.builds import DAY, build, signed, trust
from sealmesh.attestation.policy import Policy
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.node.builds import KEPT, OFFERED, BuildsKeeper, offer_list
from sealmesh.node.files import write_private
from sealmesh.node.home import Home

NOW = 1_800_000_000.0
POLICY = Policy(blessed_trust=trust(), blessed_required=True)


class Watch:
    """A keeper on a home, a clock, and what it told."""

    def __init__(self, path: Path, policy: Policy = POLICY) -> None:
        self.now = NOW
        self.home = Home(path)
        self.home.prepare()
        self.policies: list[Policy] = []
        self.spread = 0
        self.keeper = BuildsKeeper(self.home, policy, now=lambda: self.now)

    def tick(self) -> None:
        def spread() -> None:
            self.spread += 1
            self.keeper.changed(self.policies.append)  # as the gossip core says back

        self.keeper.advance(self.policies.append, spread)

    def version(self) -> int:
        found = self.policies[-1].blessed if self.policies else self.keeper.policy.blessed
        return 0 if found is None else found.version


def test_a_list_from_the_operator_is_taken_spread_and_kept(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.tick()
    assert (watch.version(), watch.spread) == (0, 0)
    assert offer_list(tmp_path, POLICY, signed(now=NOW), NOW).version == 1
    watch.tick()
    assert (watch.version(), watch.spread) == (1, 1)
    assert not (tmp_path / OFFERED).exists()
    watch.tick()
    assert watch.spread == 1
    again = Watch(tmp_path)
    assert again.version() == 1
    assert again.keeper.lists.data == watch.keeper.lists.data


def test_a_restart_brings_no_older_list_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    offer_list(tmp_path, POLICY, signed(now=NOW, version=2), NOW)
    watch.tick()
    again = Watch(tmp_path)
    with pytest.raises(VerificationError, match="version 1 is older"):
        again.keeper.lists.offer_untrusted(signed(now=NOW), NOW)
    with pytest.raises(VerificationError, match="version 1 is older"):
        offer_list(tmp_path, POLICY, signed(now=NOW), NOW)
    later = Watch(tmp_path)
    later.now += 40 * DAY
    with pytest.raises(VerificationError, match="version 1 is older"):
        later.keeper.lists.offer_untrusted(signed(now=later.now), later.now)


def test_what_the_operator_gave_is_refused_once_and_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path)
    write_private(tmp_path / OFFERED, signed(now=NOW, by=["ada"]))
    watch.tick()
    watch.tick()
    assert watch.spread == 0
    assert [record.getMessage() for record in caplog.records] == [
        "the list that was published here is refused: blessed_list: signed by 1 of the 2 keys that are needed"
    ]
    (tmp_path / OFFERED).write_bytes(signed(now=NOW))
    (tmp_path / OFFERED).chmod(0o644)
    watch.tick()
    assert watch.version() == 0


def test_a_list_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path)
    offer_list(tmp_path, POLICY, signed(now=NOW), NOW)
    watch.tick()
    watch.now += 30 * DAY - 1
    watch.tick()
    assert watch.version() == 1
    watch.now += 1
    watch.tick()
    assert watch.version() == 0
    assert not watch.keeper.status().in_force
    assert watch.keeper.status().version == 1
    assert "has expired" in caplog.text
    offer_list(tmp_path, POLICY, signed(now=watch.now, version=2), watch.now)
    watch.tick()
    assert watch.version() == 2


def test_other_keys_begin_anew(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    offer_list(tmp_path, POLICY, signed(now=NOW, version=9), NOW)
    watch.tick()
    other = Watch(tmp_path, Policy(blessed_trust=trust("ada", "ben")))
    assert other.version() == 0
    assert other.keeper.lists.offer_untrusted(signed(now=NOW), NOW)


@pytest.mark.parametrize("content", ['{"trust": "%s", "list": "{}"}', '{"trust": "%s", "list": "\\udcff"}', "none"])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    write_private(tmp_path / KEPT, content.replace("%s", trust().id.hex()).encode())
    with pytest.raises(ConfigError, match=r"blessed\.json is damaged"):
        Watch(tmp_path)


def test_a_disk_that_is_full_stops_no_revocation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path)
    watch.keeper.lists.offer_untrusted(signed(build("good"), now=NOW), NOW)
    (tmp_path / KEPT).mkdir()  # nothing can be written there
    watch.keeper.changed(watch.policies.append)
    watch.tick()
    assert watch.version() == 1
    assert len([record for record in caplog.records if "cannot be kept" in record.getMessage()]) == 1
    (tmp_path / KEPT).rmdir()
    watch.tick()
    assert Watch(tmp_path).version() == 1


def test_a_policy_without_a_list_has_nothing_to_keep(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no list"):
        offer_list(tmp_path, Policy(), signed(now=NOW), NOW)

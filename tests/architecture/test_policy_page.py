"""The page of policy keys is in step with what the policy's reader takes, and every policy in the docs can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sealmesh.attestation import policy as source
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import BackendRule, FirstUse, PinRule, Policy, parse_policy_untrusted
from sealmesh.attestation.vendors import apple_mda, sevsnp, tdx
from sealmesh.attestation.vendors.tpm.certificates import VENDORS
from sealmesh.config import TIERS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "policy.md"


def rows() -> dict[str, tuple[str, str]]:
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and (match := re.fullmatch(r"`([\w.]+)`", cells[0])):
            found[match[1]] = (cells[1].strip("`"), cells[2])
    return found


def test_every_key_is_on_the_page_and_no_other() -> None:
    known = source._TOP_KEYS - {"exception"}
    known |= {f"{table}.{key}" for table, keys in source._TABLES.items() for key in keys}
    known |= {f"exception.{key}" for key in source._EXCEPTION_KEYS}
    assert set(rows()) == known


def test_the_defaults_are_the_real_ones() -> None:
    usual = Policy()
    shown = {key: default for key, (default, _) in rows().items()}
    assert shown["minimum"] == usual.minimum.label
    assert float(shown["max_age"]) == usual.max_age
    assert shown["pins"] == usual.pins.value
    assert shown["on_first_use"] == usual.on_first_use.value
    assert shown["backend"] == usual.backend.value
    assert parse_policy_untrusted(b"") == usual
    assert int(shown["apple.mda_max_age"]) == apple_mda.AGE_MAX_S
    assert int(shown["snp.max_vmpl"]) == sevsnp.MAX_VMPL_DEFAULT
    assert (shown["tdx.statuses"],) == tdx.STATUSES_DEFAULT


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("minimum", {tier.label for tier in Tier}),
        ("suites", set(source.SUITES)),
        ("pins", {one.value for one in PinRule}),
        ("on_first_use", {one.value for one in FirstUse}),
        ("backend", {one.value for one in BackendRule}),
        ("tpm.vendors", set(VENDORS)),
    ],
)
def test_the_words_of_a_choice_are_all_there(key: str, words: set[str]) -> None:
    assert words <= set(re.findall(r"`([\w-]+)`", rows()[key][1]))


def test_the_tiers_of_the_flag_are_those_of_the_page() -> None:
    assert set(TIERS) == {tier.label for tier in Tier}


def policies() -> list[tuple[str, str]]:
    found = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            keys = set(tomllib.loads(block))
            if keys <= source._TOP_KEYS | set(source._TABLES):
                found.append((page.name, block))
    return found


def test_every_policy_in_the_docs_can_be_read() -> None:
    seen = policies()
    assert {"policy.md", "attestation.md", "check-a-proof.md", "first-mesh.md"} <= {name for name, _ in seen}
    for _, block in seen:
        parse_policy_untrusted(block.encode())

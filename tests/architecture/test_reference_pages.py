"""The reference pages are in step with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from sealmesh.attestation.vendors.tpm.credential import Activation, Credential
from sealmesh.config import OPTIONS, Mode, Secret, Settings
from sealmesh.identity.grants import ALL_ROLES, make_grant, make_membership
from sealmesh.identity.keys import BearerKey
from sealmesh.node import builds as blessed
from sealmesh.node import known
from sealmesh.node.home import Home, MeshState, RunState
from sealmesh.node.stores import PinEntry

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts" / "cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_page_is_what_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # the generator sets it too; this puts it back
    assert (REFERENCE / "cli.md").read_text() == generator().page(), "run: python scripts/cli_reference.py"


def rows(page: str) -> list[list[str]]:
    lines = (REFERENCE / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_every_setting_is_on_the_page_with_its_variable() -> None:
    found = {}
    for row in rows("config.md"):
        if match := re.fullmatch(r"(?:\*or\* )?`(\w+)`", row[0]):
            found[match[1]] = row[1].strip("`")
    assert found == {key: option.environment for key, option in OPTIONS.items()}


def test_the_defaults_on_the_page_are_the_real_ones() -> None:
    settings = Settings(mode=Mode.SERVE, home=Path())
    for row in rows("config.md"):
        name = row[0].removeprefix("*or* ").strip("`")
        match = re.fullmatch(r"`([^`]+)`", row[2])
        if name in OPTIONS and match and name != "model":
            value = getattr(settings, OPTIONS[name].attribute)
            shown = getattr(value, "value", value)
            shown = (
                str(shown).lower() if isinstance(shown, bool) else f"{shown:g}" if isinstance(shown, float) else shown
            )
            assert str(shown) == match[1], name


def test_every_flag_of_a_node_is_a_setting() -> None:
    page = (REFERENCE / "cli.md").read_text()
    serve = page.partition("## `sealmesh serve`")[2].partition("\n## ")[0]
    flags = set(re.findall(r"^  --([a-z-]+)", serve, re.MULTILINE))
    without = {"api_key", "backend_key", "response_head_timeout_s", "response_body_timeout_s"}
    wanted = {key.replace("_", "-") for key, option in OPTIONS.items() if key not in without and not option.missing}
    assert flags == wanted | {"home", "config"}


def test_every_file_of_the_home_is_on_the_page(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.lock():
        key, issuer, bearer = home.endpoint_key(), home.make_issuer_key(), BearerKey.generate(lambda n: b"\x01" * n)
        grant = make_grant(
            issuer, serial=bytes(16), bearer_public=bearer.public, roles=ALL_ROLES, not_before=1, not_after=2
        )
        credentials = make_membership(bearer, grant, endpoint_id=key.public)
        home.save_mesh(MeshState(issuer_key=issuer.public, credentials=credentials))
        home.save_port(4433)
        home.save_revocations(b"x")
        home.save_successors((b"x",))
        home.sequences().next("summary", 1.0)
        home.seen_suites().note_suite(key.public, 2)
        home.key_memory().note(key.public)
        home.pins().add(PinEntry(endpoint_id=key.public, fingerprint=bytes(32), by="hand", at=1.0))
        home.activations().settle_untrusted(
            Activation(
                credential=Credential(id_object=b"", encrypted_secret=b""), name=b"n", endorsement=b"e", secret=b"s"
            ),
            b"s",
            1.0,
        )
        (home.path / blessed.KEPT).touch()
        (home.path / blessed.OFFERED).touch()
        (home.path / known.FILE).touch()
        home.write_run(RunState(pid=1, api_url="http://x", console_url=None, token=Secret("t"), endpoint_id=key.public))
        written = {str(path.relative_to(home.path)) for path in home.path.rglob("*") if path.is_file()}
    listed = {match[1] for row in rows("files.md") if (match := re.fullmatch(r"`([^`]+)`", row[0]))}
    assert listed == written | {"config.toml", "policy.toml"}

"""The release workflow: pinned actions, one permission where it is needed, no secret, and what the pages say of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
TEXT = WORKFLOW.read_text()


def jobs() -> dict[str, str]:
    """Job -> its text."""
    _, _, rest = TEXT.partition("\njobs:\n")
    parts = re.split(r"(?m)^  ([a-z]+):\n", rest)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_action_is_pinned_by_its_full_commit() -> None:
    used = re.findall(r"uses: (\S+)", TEXT)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action


def test_one_action_has_one_pin() -> None:
    pins = dict.fromkeys(re.findall(r"uses: (\S+)", TEXT))
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


def test_only_what_publishes_has_a_permission_and_it_runs_none_of_our_code() -> None:
    assert "\npermissions: {}\n" in TEXT
    found = jobs()
    assert set(found) == {"build", "test", "measure", "publish"}
    for name, text in found.items():
        granted = re.findall(r"(?m)^      ([a-z-]+): (read|write)", text)
        assert granted == ([("id-token", "write")] if name == "publish" else [("contents", "read")]), name
    assert "run:" not in found["publish"]
    assert "checkout" not in found["publish"]
    assert "environment: pypi" in found["publish"]
    assert "needs: [build, test, measure]" in found["publish"]


def test_the_wheels_carry_attestations_and_no_secret_is_used() -> None:
    assert "attestations: true" in jobs()["publish"]
    assert "secrets." not in TEXT
    assert "password" not in TEXT
    assert "pull_request" not in TEXT
    for text in jobs().values():
        assert text.count("checkout@") == text.count("persist-credentials: false")


def test_nothing_of_the_event_is_put_into_a_script() -> None:
    """A tag's name is an environment variable, never text of a script."""
    for script in re.findall(r"run: (?:\|\n((?:          .*\n)+)|(.*)\n)", TEXT):
        assert "${{" not in "".join(script)


def test_the_build_uses_hashed_requirements_and_a_version_that_is_there() -> None:
    assert "--require-hashes" in (ROOT / "scripts" / "setup").read_text()
    assert "scripts/setup run" in jobs()["build"]
    assert jobs()["measure"].count("--require-hashes") == 2
    line = next(one for one in (ROOT / "src/sealmesh/__init__.py").read_text().splitlines() if "__version__" in one)
    assert re.fullmatch(r'__version__ = "\d+\.\d+\.\d+\w*"', line)

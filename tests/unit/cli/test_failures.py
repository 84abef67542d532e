"""Every error class has words and an exit code, and no traceback reaches a user."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import sealmesh
from sealmesh import errors
from sealmesh.cli.failures import TABLE, describe, report
from sealmesh.errors import RoutingError, RoutingFault, SealmeshError


def tree(kind: type[SealmeshError]) -> set[type[SealmeshError]]:
    return {kind}.union(*(tree(child) for child in kind.__subclasses__()))


def test_every_class_of_the_tree_has_a_row_of_its_own_or_a_more_than_general_parent() -> None:
    for module in pkgutil.walk_packages(sealmesh.__path__, "sealmesh."):
        if module.name.split(".")[1] not in {"backend", "__main__"}:  # the model's library is optional
            importlib.import_module(module.name)
    ours = {kind for kind in tree(SealmeshError) if kind.__module__ == errors.__name__}
    assert ours == set(TABLE)
    rest = tree(SealmeshError) - ours
    others = {kind for kind in rest if kind.__module__.startswith("sealmesh.") and not kind.__name__.startswith("_")}
    assert {kind for kind in others if not set(kind.__mro__) & (ours - {SealmeshError})} == set()


def make(kind: type[SealmeshError]) -> SealmeshError:
    match kind:
        case errors.VerificationError:
            return kind("factor_id", "the words")
        case errors.RoutingError:
            return kind(RoutingFault.NO_HOST)
        case errors.BackendError | errors.RequestError:
            return kind(503, "some_code", "the words")
        case _:
            return kind("the words")


@pytest.mark.parametrize("kind", sorted(TABLE, key=lambda kind: kind.__name__))
def test_each_row_gives_words_and_an_exit_code(kind: type[SealmeshError], capsys: pytest.CaptureFixture[str]) -> None:
    code = report(make(kind))
    assert code == (2 if kind is errors.ConfigError else 1)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "the words" in said.err or kind is errors.RoutingError
    assert "Traceback" not in said.err


def test_a_refused_route_names_each_host_and_its_reason() -> None:
    refused = {f"{number:064x}": f"reason {number}" for number in range(12)}
    words = describe(RoutingError(RoutingFault.NO_ATTESTED_HOST, refused=refused))[1].split("\n")
    assert words[0] == "no host meets your policy"
    assert words[1] == "  000000000000…: reason 0"
    assert words[-1] == "  and 2 more"


def test_a_new_class_gets_its_parents_words() -> None:
    class StrangeConfigError(errors.ConfigError):
        pass

    try:
        assert describe(StrangeConfigError("no")) == (2, "no")
    finally:
        del StrangeConfigError


def test_a_bug_is_told_without_its_values(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALMESH_DEBUG", raising=False)
    prompt = "a prompt that must not be seen"
    with pytest.raises(KeyError) as caught:
        raise KeyError(prompt)
    assert report(caught.value) == 1
    said = capsys.readouterr().err
    assert said.startswith("internal error ")
    assert "KeyError" in said
    assert prompt not in said
    assert "Traceback" not in said


def test_the_traceback_is_shown_to_who_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALMESH_DEBUG", "1")
    with pytest.raises(KeyError) as caught:
        raise KeyError("x")
    report(caught.value)
    assert "Traceback" in capsys.readouterr().err

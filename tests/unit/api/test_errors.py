"""The table of errors is whole, says what the page says, and lets no content through."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from sealmesh.api.errors import CLASSES, CODES, HOST_CODES, kind_of, public_error, reference, refusal, where_from
from sealmesh.errors import (
    BackendError,
    HostTooSlowError,
    RoutingError,
    RoutingFault,
    SealmeshError,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"


def tree(root: type[SealmeshError]) -> set[type[SealmeshError]]:
    return {root}.union(*(tree(child) for child in root.__subclasses__()))


def test_every_error_class_has_its_line() -> None:
    ours = {kind for kind in tree(SealmeshError) if kind.__module__.startswith("sealmesh.")}
    assert {kind for kind in ours if kind.__module__ == "sealmesh.errors"} == set(CLASSES)
    # A room's own class has a parent that says more than "on purpose".
    assert [kind for kind in ours - set(CLASSES) if kind.__bases__ == (SealmeshError,)] == []


def test_a_rooms_own_class_means_what_its_parent_means() -> None:
    class Local(HostTooSlowError):
        pass

    assert public_error(Local("x")).code == "host_too_slow"


def test_every_line_leads_to_a_row() -> None:
    assert {rule for rule in CLASSES.values() if isinstance(rule, str)} <= set(CODES)
    assert {fault.value for fault in RoutingFault} <= set(CODES)


def test_rows_say_what_design_section_9_says() -> None:
    expected = {
        "invalid_json": 400,
        "invalid_request": 400,
        "model_not_found": 404,
        "request_too_large": 413,
        "head_too_large": 431,
        "request_timeout": 408,
        "no_attested_host": 403,
        "no_host": 503,
        "context_length_exceeded": 400,
        "host_lost": 502,
        "host_too_slow": 504,
    }
    assert {code: CODES[code].status for code in expected} == expected
    assert all(row.retry_after_s is not None for row in CODES.values() if row.status == 503)
    assert not CODES["host_lost"].may_retry


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_an_error_object_has_openais_four_members() -> None:
    for row in CODES.values():
        error = json.loads(row.body())["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert error["type"] == kind_of(row.status)


def test_an_unknown_class_is_an_internal_error_without_its_words() -> None:
    class Odd(SealmeshError):
        pass

    for error in (Odd("the secret prompt"), ValueError("the secret prompt")):
        public = public_error(error)
        assert (public.status, public.code) == (500, "internal_error")
        assert b"secret" not in public.body()


def test_a_backends_status_is_an_errors_status() -> None:
    assert public_error(BackendError(200, "odd", "x")).status == 502
    assert public_error(BackendError(503, "busy_engine", "x")).retry_after_s == 1
    assert public_error(BackendError(429, "busy_engine", "x", retry_after_s=9)).headers() == (("retry-after", "9"),)


def test_many_refused_hosts_are_bounded() -> None:
    refused = {f"{n:064x}": "no evidence" for n in range(10_000)}
    public = public_error(RoutingError(RoutingFault.NO_ATTESTED_HOST, refused=refused))
    assert len(public.details["refused"]) == 100
    assert len(public.message) < 500
    assert "9995 more" in public.message


def test_a_refusal_takes_status_and_words_from_the_table() -> None:
    error = refusal("invalid_request", param="model")
    assert (error.status, error.message, error.param) == (400, CODES["invalid_request"].message, "model")
    with pytest.raises(KeyError):
        refusal("no_such_code")


def test_where_from_names_the_place_and_not_the_words() -> None:
    try:
        raise ValueError("the secret prompt")
    except ValueError as error:
        said = where_from(error)
    assert said.startswith("ValueError at test_errors.py:")
    assert "secret" not in said


def said_by_hosts() -> set[str]:
    """Every code that is written in the code of hosts and engines."""
    root = Path(__file__).parents[3] / "src" / "sealmesh"
    found: set[str] = set()
    for room in ("backend", "host", "sealed"):
        for path in {*(root / room).rglob("*.py")} - {root / "backend" / "echo.py"}:  # it says what tests tell it
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id not in {"BackendError", "RequestError", "SealedError", "error_answer"}:
                    continue
                given = [*node.args[1:2], *(one.value for one in node.keywords if one.arg == "code")]
                found |= {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def test_every_code_of_a_host_is_in_the_table_and_on_the_page() -> None:
    listed = {row.code for row in HOST_CODES}
    assert len(listed) == len(HOST_CODES)
    assert said_by_hosts() <= listed
    assert listed - said_by_hosts() <= {"context_length_exceeded", "internal_error", "backend_error"}
    page = PAGE.read_text()
    for row in HOST_CODES:
        assert f"| {row.status} | `{row.code}` | {row.meaning} | {'yes' if row.elsewhere else ''} |" in page


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502, 503, 504])
def test_waiting_is_advised_where_it_helps_and_nowhere_else(status: int) -> None:
    helps = status in (429, 503)
    assert (public_error(BackendError(status, "x", "y", retry_after_s=9)).retry_after_s == 9) is helps
    assert (public_error(BackendError(status, "x", "y")).retry_after_s is not None) is (status == 503)
    assert all((row.retry_after_s is None) is (row.status != 503) for row in CODES.values())

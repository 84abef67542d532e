"""What is changed in the argument list before any library reads it."""

from __future__ import annotations

import pytest

from sealmesh.cli.arguments import fill_optional_values
from sealmesh.cli.handover import take_ticket


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ([], []),
        (["serve"], ["serve"]),
        (["serve", "--require-attested-hosts"], ["serve", "--require-attested-hosts=hardware-rooted"]),
        (
            ["serve", "--require-attested-hosts", "--port", "0"],
            ["serve", "--require-attested-hosts=hardware-rooted", "--port", "0"],
        ),
        (["client", "--require-attested-hosts", "pinned"], ["client", "--require-attested-hosts=pinned"]),
        (["client", "--require-attested-hosts=nonsense"], ["client", "--require-attested-hosts=nonsense"]),
        (
            ["client", "--require-attested-hosts", "nonsense"],
            ["client", "--require-attested-hosts=hardware-rooted", "nonsense"],
        ),
        (["chat", "--", "--require-attested-hosts"], ["chat", "--", "--require-attested-hosts"]),
    ],
)
def test_options_with_an_optional_value(given: list[str], filled: list[str]) -> None:
    assert fill_optional_values(given) == filled


@pytest.mark.parametrize(
    ("given", "kept", "ticket"),
    [
        (["serve", "--join", "T", "--port", "0"], ["serve", "--port", "0"], "T"),
        (["client", "--port", "0", "--join=T"], ["client", "--port", "0"], "T"),
        (["client", "--join", "A", "--join", "B"], ["client"], "B"),
        (["client", "--join-file", "F"], ["client", "--join-file", "F"], None),
        (["client", "--join"], ["client", "--join"], None),
        (["client", "--", "--join", "T"], ["client", "--", "--join", "T"], None),
        (["chat", "--join", "T"], ["chat", "--join", "T"], None),
        (["--help"], ["--help"], None),
    ],
)
def test_taking_the_ticket(given: list[str], kept: list[str], ticket: str | None) -> None:
    assert take_ticket(given) == (kept, ticket)

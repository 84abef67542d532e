"""Changes to the argument list before any library reads it. Pure functions.

The library knows no option whose value is optional, and a ticket must not stay in the process list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sealmesh.config.settings import REQUIRED_TIER, TIERS

#: Options that also work bare: what bare means, and which next words are their value.
OPTIONAL_VALUES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "--require-attested-hosts": (REQUIRED_TIER, TIERS),
}
#: Commands that take a ticket.
JOINING: Final = frozenset({"serve", "client"})
TICKET_OPTION: Final = "--join"


def fill_optional_values(arguments: Sequence[str]) -> list[str]:
    """Write `--option` as `--option=DEFAULT`, and `--option VALUE` as `--option=VALUE` if it can have that value."""
    filled: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*filled, word, *rest]
        if word in OPTIONAL_VALUES:
            usual, values = OPTIONAL_VALUES[word]
            value = rest.pop(0) if rest and rest[0] in values else usual
            word = f"{word}={value}"
        filled.append(word)
    return filled


def take_ticket(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Part the ticket from the arguments of a command that joins.

    Returns:
        The arguments without `--join TICKET`, and the last such ticket; the arguments as they are and None where there
        is none.
    """
    kept: list[str] = []
    ticket: str | None = None
    rest = list(arguments)
    if not JOINING.intersection(rest[:1]):
        return rest, None
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, word, *rest], ticket
        if word == TICKET_OPTION and rest:
            ticket = rest.pop(0)
        elif word.startswith(f"{TICKET_OPTION}="):
            ticket = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, ticket

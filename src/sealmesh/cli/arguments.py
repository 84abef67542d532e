"""Changes to the argument list before any library reads it. Pure functions.

The library knows no option whose value is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sealmesh.config.settings import REQUIRED_TIER, TIERS

#: Options that also work bare: what bare means, and which next words are their value.
OPTIONAL_VALUES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "--require-attested-hosts": (REQUIRED_TIER, TIERS),
}


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

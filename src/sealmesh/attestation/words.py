"""What a tier is worth, in words that promise no more than the evidence does (ATTESTATION.md, Two questions).

They are the same wherever a tier is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Makers as verdicts name them; `extra` is a root that the asker's own policy adds.
_CHIPS: Final[Mapping[str, str]] = {
    "google": "a genuine Google chip",
    "infineon": "a genuine Infineon chip",
    "intel": "a genuine Intel chip",
    "stm": "a genuine STM chip",
    "extra": "a chip that a root of your own policy vouches for",
}
_ANY_CHIP: Final = "a genuine vendor's chip"
TIER_WORDS: Final[Mapping[str, str]] = {
    "none": "nothing was proven; its owner can read prompts",
    "self-asserted": "a software key answered; its owner can read prompts",
    "pinned": "the key that you pinned answered; its owner can read prompts",
    "hardware-rooted": f"{_ANY_CHIP} answered for this host; its owner can read prompts",
    "confidential": "listed code in a confidential machine answered",
    "local": "this node's own model; the prompt did not leave this machine's process",
}


def tier_words(tier: str, operator_blind: str | None = None, *, vendor: str = "") -> str:
    """What a tier is worth, in words.

    Args:
        tier: Its label.
        operator_blind: `no` or `software`; None where it is not known here.
        vendor: Whose chip it is, as the policy names vendors; "" where it is not known here.
    """
    words = TIER_WORDS.get(tier, "a tier that this version does not know; treat it as none")
    words = words.replace(_ANY_CHIP, _CHIPS.get(vendor, _ANY_CHIP))
    if tier != "confidential":
        return words
    match operator_blind:
        case "software":
            return f"{words}; its owner cannot read prompts by software alone, whoever opens the machine can"
        case None:
            return f"{words}; `sealmesh hosts` says whether its owner can read prompts"
        case _:
            return f"{words}; its owner can read prompts"

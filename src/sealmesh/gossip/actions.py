"""What the gossip core asks its driver to do, and tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this message (without the length prefix) to that peer."""

    peer: bytes
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What the table holds of that endpoint is new, or has ended."""

    endpoint_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaved:
    """That peer sent what no honest node sends; the rest of its message was dropped. Cut it off for a while."""

    peer: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """The issuer said something new: check every connection again, and keep what the policy holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """Others hold a record of this node with that higher sequence, from an earlier run: publish above it."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlessedChanged:
    """A newer list of blessed builds is held: judge hosts by it, and keep it."""


Action: TypeAlias = Send | Changed | Misbehaved | PolicyChanged | Overtaken | BlessedChanged

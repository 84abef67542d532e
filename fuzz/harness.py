"""What a harness is: functions that take bytes of strangers, good inputs to start from, and what they may raise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTVECTORS = Path(__file__).parent.parent / "testvectors"


def holds(condition: bool) -> None:
    """An invariant: a finding where it does not hold, also under `python -O`."""
    if not condition:
        raise AssertionError("an invariant does not hold")


@dataclass(frozen=True)
class Target:
    """One function, or one way through several.

    Attributes:
        take: Takes the bytes. Whatever else it raises than `refuses` is a finding; so is an assertion of its own.
        refuses: The documented exceptions.
        seeds: Inputs to start from: good ones, and those of the vectors.
    """

    take: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    seeds: Sequence[bytes]


class Harness:
    """A family of targets behind one function of bytes: the first byte chooses the target, the rest is its input."""

    def __init__(self, **targets: Target) -> None:
        holds(0 < len(targets) <= 256)
        self.targets = targets
        self._order = list(targets.values())

    def __call__(self, data: bytes) -> None:
        """Run one input."""
        if not data:
            return
        target = self._order[data[0] % len(self._order)]
        try:
            target.take(data[1:])
        except target.refuses:
            return

    @property
    def seeds(self) -> list[bytes]:
        """Every target's seeds, with the byte that chooses it."""
        return [bytes([index]) + seed for index, target in enumerate(self._order) for seed in target.seeds]


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut bytes as they might arrive: the first byte says into how large pieces."""
    if not data:
        return
    size = (len(data), 1, 7, 64)[data[0] % 4]
    for start in range(1, len(data), max(1, size)):
        yield data[start : start + max(1, size)]


def cut_ways(data: bytes) -> list[bytes]:
    """Seeds for `pieces`: the same bytes at once and in pieces of seven."""
    return [b"\x00" + data, b"\x02" + data]


def vectors(folder: str, *, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """The scenarios of a folder of vectors."""
    for path in sorted((TESTVECTORS / folder).glob("*.json")):
        content = json.loads(path.read_text())
        if "expected" in content and (kind is None or content.get("kind") == kind):
            yield content


def mutations(seeds: Sequence[bytes], count: int, *, seed: int = 0) -> Iterator[bytes]:
    """Seeds with simple changes, the same ones in every run: what the plain driver runs where there is no atheris."""
    source = random.Random(seed)  # noqa: S311 - nothing secret
    interesting = (0, 1, 0x7F, 0x80, 0xFF)
    for _ in range(count):
        data = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 4)):
            at = source.randint(min(1, len(data)), len(data))
            match source.randrange(6):
                case 0:
                    data[at : at + 1] = bytes([source.randrange(256)])
                case 1:
                    data[at : at + 1] = bytes([source.choice(interesting)])
                case 2:
                    if at < len(data):
                        data[at] ^= 1 << source.randrange(8)
                case 3:
                    del data[at : at + source.randint(1, 40)]
                case 4:
                    data[at:at] = source.randbytes(source.randint(1, 12))
                case _:
                    other = source.choice(seeds)
                    data[at:] = other[source.randint(0, len(other)) :]
        yield bytes(data)

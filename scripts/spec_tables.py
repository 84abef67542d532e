"""Writes the state table and its diagram in docs/spec/exchange.md out of the table that the code runs by.

Run it after a change of `sealmesh.sealed.frames.MOVES`; with `--check` it compares, and a test does the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sealmesh.sealed.frames import ENDED, FINAL_PHASES, MOVES, NEEDS_WHOLE_REQUEST, Direction, Kind, Phase, next_phase

PAGE = Path(__file__).parent.parent / "docs" / "spec" / "exchange.md"
BEGIN = "<!-- from the code's table, by scripts/spec_tables.py -->\n"
END = "<!-- end of what scripts/spec_tables.py writes -->\n"


def _cell(phase: Phase, kind: Kind) -> str:
    target = MOVES.get((phase, kind))
    if target is None:
        return "✗"
    later = " ¹" if phase is Phase.START and kind in NEEDS_WHOLE_REQUEST else ""
    final = " *" if target in FINAL_PHASES else ""
    return f"{target.name}{final}{later}"


def _table() -> str:
    open_phases = [phase for phase in Phase if phase not in ENDED]
    lines = ["| phase | " + " | ".join(kind.name for kind in Kind) + " |", "|" + "---|" * (len(Kind) + 1)]
    lines += [f"| {phase.name} | " + " | ".join(_cell(phase, kind) for kind in Kind) + " |" for phase in open_phases]
    ended = ", ".join(phase.name for phase in Phase if phase in ENDED)
    lines.append(f"| {ended} | " + " | ".join("✗" for _ in Kind) + " |")
    early = ", ".join(kind.name for kind in Kind if kind in NEEDS_WHOLE_REQUEST)
    assert next_phase(Direction.RESPONSE, Phase.START, Kind.HEAD, request=Phase.BODY) is None  # noqa: S101
    return (
        "\n".join(lines)
        + "\n\n✗: not allowed, FAILED. \\*: with FINAL. "
        + f"¹: a response has {early} only once the request is COMPLETE (EX-31).\n"
    )


def _diagram() -> str:
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, kind), target in MOVES.items():
        word = Kind(kind).name + (" + FINAL" if target in FINAL_PHASES else "")
        arrows.setdefault((phase, target), []).append(word)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.START.name}"]
    lines += [f"    {a.name} --> {b.name}: {', '.join(words)}" for (a, b), words in arrows.items()]
    lines += [f"    {phase.name} --> {Phase.FAILED.name}: anything else" for phase in Phase if phase not in ENDED]
    lines += [f"    {phase.name} --> {Phase.FAILED.name}: any byte" for phase in Phase if phase in FINAL_PHASES]
    return "\n".join([*lines, "```", ""])


def generated() -> str:
    """What stands between the two marks."""
    return f"{BEGIN}\n{_table()}\n{_diagram()}\n{END}"


def page(text: str) -> str:
    """The page with its generated part made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the marks around the generated part are missing")
    return before + generated() + after


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    text = PAGE.read_text()
    new = page(text)
    if parser.parse_args().check:
        return int(new != text)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())

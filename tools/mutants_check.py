"""What a security check is that `tools.mutants` takes out."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check, what becomes of it, and the tests that must notice.

    Attributes:
        module: Below src/sealmesh.
        function: Dotted name within the module.
        change: See above.
        tests: Files below tests/.
    """

    module: str
    function: str
    change: str
    tests: tuple[str, ...]


def checks_of(module: str, *tests: str, **changes: str | tuple[str, ...]) -> list[Check]:
    """Checks of one module. `Class__function` is a method; a private one has an underscore more, a special one two."""
    return [
        Check(module, re.sub(r"(?<=[A-Za-z])__(?=_{0,2}[a-z])", ".", name, count=1), one, tests)
        for name, change in changes.items()
        for one in ((change,) if isinstance(change, str) else change)
    ]

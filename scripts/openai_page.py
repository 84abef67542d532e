"""Writes docs/reference/openai.md from the table of parameters and the rows that tests execute.

tests/architecture/test_openai_page.py compares; tests/acceptance/test_openai_rows.py executes each row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.acceptance.openai_rows import ERRORS, EVENTS  # noqa: E402

from sealmesh.wire.operations import Operation  # noqa: E402
from sealmesh.wire.parameters import PARAMETERS, Handling, Parameter  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "openai.md"

HEAD = """# What of the OpenAI API there is

Generated from `sealmesh.wire.parameters` and the rows of `tests/acceptance/openai_rows.py`. Every row is executed by a
test, on a mesh with a model in the host's process and with engines by their URL, through the client's API.

- *works*: does what OpenAI documents.
- *passed on*: reaches the engine as it was sent, and works where the engine knows it.
- *no effect*: taken, and nothing of an answer depends on it.
- *works, at the asking node*: which answers for it and sends it to no host.
- *refused*: 400 `unsupported_parameter` with the name in `param`, unless the value asks for nothing: null, and what
  stands in brackets.

What is checked before anything is sent, headers and bounds: [api.md](api.md). For machines:
[openapi.json](openapi.json).
"""
TITLES = {
    Operation.CHAT_COMPLETIONS: "Chat completions",
    Operation.COMPLETIONS: "Completions",
    Operation.EMBEDDINGS: "Embeddings",
    Operation.RESPONSES: "Responses",
}


def handling(one: Parameter) -> str:
    """What becomes of it in process, with the values that are taken all the same."""
    if one.in_process is Handling.REFUSED and one.neutral:
        return "refused (" + ", ".join(f"`{json.dumps(value)}`" for value in one.neutral) + ")"
    return one.in_process.value


def parameters(operation: Operation) -> list[str]:
    """One endpoint's table."""
    in_process, by_url = "model in the host's process", "engine by its URL"
    if operation is Operation.RESPONSES:
        in_process, by_url = "translated to chat", "engine that has them (`--backend-api responses`)"
    lines = ["", f"## {TITLES[operation]}", "", f"`{operation.method} {operation.path}`", ""]
    lines += [f"| parameter | {in_process} | {by_url} | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {handling(one)} | {one.by_url.value} | {one.note} |"
        for name, one in PARAMETERS[operation].items()
    ]
    return lines


def page() -> str:
    """The whole page."""
    lines = HEAD.splitlines()
    for operation in Operation:
        lines += parameters(operation)
    lines += ["", "## Events of streams", "", "| endpoint | in an event | when |", "| --- | --- | --- |"]
    lines += [f"| `{row.operation.path}` | `{row.event}` | {row.when} |" for row in EVENTS]
    lines += ["", "## Errors", "", "All codes: [errors.md](errors.md).", ""]
    lines += ["| when | status | code | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.when} | {row.status} | {'its own' if row.where == 'passed on' else f'`{row.code}`'} | {row.where} |"
        for row in ERRORS
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

"""The entry: what must happen before any library is loaded, and the one place that errors leave by.

It is loaded twice by commands that start anew, so it loads nothing itself.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `sealmesh`; ends the process with 0, 1 or 2.

    Args:
        arguments: The words after the program's name; those of the process where None.
    """
    code = 1
    try:
        code = _run(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:
        pass  # whoever read our output has left (`sealmesh hosts | head`)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
    except BaseException as error:
        from sealmesh.cli.failures import report

        code = report(error)
    _drop_what_nobody_reads()
    sys.exit(code)


def _drop_what_nobody_reads() -> None:
    """Write out what is left, or let it go: the interpreter's own flush at the end would change the exit code."""
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments: Sequence[str] | None) -> int:
    if arguments is None:
        from sealmesh.cli.handover import start_anew

        start_anew()  # before anything slow: until then a ticket can be seen, and others chose what code runs
        arguments = sys.argv[1:]
    from sealmesh.cli.app import app
    from sealmesh.cli.arguments import fill_optional_values

    app(args=fill_optional_values(arguments), prog_name="sealmesh")
    return 0

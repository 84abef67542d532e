"""macOS, by the answers of its tools: unrun on a Mac. What is not understood is never `on`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sealmesh.hardening.macos import Run, apply_deny_attach, report_macos
from sealmesh.hardening.posture import Control, Posture, State


def answers(**said: tuple[int, str]) -> Run:
    def run(command: Sequence[str]) -> tuple[int, str] | None:
        return said.get(command[0].rpartition("/")[2])

    return run


def profile(level: str) -> str:
    return f'{{"SPiBridgeDataType": [{{"_name": "x", "ibridge_secure_boot": "{level}"}}]}}'


@pytest.mark.parametrize(
    ("control", "tool", "answer", "state"),
    [
        (Control.SIP, "csrutil", (0, "System Integrity Protection status: enabled.\n"), State.ON),
        (Control.SIP, "csrutil", (0, "System Integrity Protection status: disabled.\n"), State.OFF),
        (
            Control.SIP,
            "csrutil",
            (0, "System Integrity Protection status: unknown (Custom Configuration).\n\nConfiguration:\n"),
            State.OFF,
        ),
        (Control.SIP, "csrutil", (1, "System Integrity Protection status: enabled.\n"), State.OFF),
        (Control.SIP, "csrutil", (0, ""), State.OFF),
        (Control.SIP, "csrutil", None, State.UNAVAILABLE),
        (Control.RDMA_DISABLED, "rdma_ctl", (0, "disabled\n"), State.ON),
        (Control.RDMA_DISABLED, "rdma_ctl", (0, "enabled\n"), State.OFF),
        (Control.RDMA_DISABLED, "rdma_ctl", (1, "disabled\n"), State.OFF),
        (Control.RDMA_DISABLED, "rdma_ctl", (0, "not disabled\n"), State.OFF),
        (Control.RDMA_DISABLED, "rdma_ctl", None, State.UNAVAILABLE),
        (Control.FULL_SECURITY, "system_profiler", (0, profile("Full Security")), State.ON),
        (Control.FULL_SECURITY, "system_profiler", (0, profile("Reduced Security")), State.OFF),
        (Control.FULL_SECURITY, "system_profiler", (0, '{"SPiBridgeDataType": [{}]}'), State.UNAVAILABLE),
        (Control.FULL_SECURITY, "system_profiler", (0, "no JSON"), State.UNAVAILABLE),
        (Control.FULL_SECURITY, "system_profiler", (0, "[1]"), State.UNAVAILABLE),
        (Control.FULL_SECURITY, "system_profiler", (1, profile("Full Security")), State.UNAVAILABLE),
        (Control.FULL_SECURITY, "system_profiler", None, State.UNAVAILABLE),
    ],
)
def test_what_the_tools_say(control: Control, tool: str, answer: tuple[int, str] | None, state: State) -> None:
    run = answers(**({} if answer is None else {tool: answer}))
    found = Posture(report_macos(run)).get(control)
    assert found.state is state
    assert found.reason or state is State.ON


def test_debuggers_are_denied_by_the_systems_own_answer() -> None:
    asked = []

    def ptrace(request: int) -> int:
        asked.append(request)
        return 0

    assert apply_deny_attach(ptrace).state is State.ON
    assert asked == [31]
    assert apply_deny_attach(lambda _: -1).state is State.OFF


def test_a_system_without_it_says_so() -> None:
    def missing(_: int) -> int:
        raise AttributeError("ptrace")

    assert apply_deny_attach(missing).state is State.UNAVAILABLE

"""A22: a host was stopped, and its memory is searched before the system has it back. A real node, read from outside."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from nacl.bindings import crypto_scalarmult_base

from kit.process_memory import occurrences, pages_for_keys
from sealmesh.cli.processes import NodeProcess

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="reads another process's memory through /proc"),
]

# The program as it is, but that its process waits once it is over: that is when its memory is searched.
WAITING = """
import signal
from sealmesh.cli.main import main
try:
    main()
finally:
    print('{"event": "over"}', flush=True)
    signal.pause()
"""


class WaitingNode(NodeProcess):
    """A node whose process outlives its program until it is killed."""

    def command_line(self, command: str) -> list[str]:
        return [sys.executable, "-c", WAITING, command]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a22_a_host_that_is_stopped_leaves_no_key(tmp_path: Path, number: signal.Signals) -> None:
    with WaitingNode("serve", home=tmp_path / "host", arguments=["--backend", "echo:", "--no-hardening"]) as node:
        node.wait_for("ready")
        try:
            candidates = [page[:32] for page in pages_for_keys(node.pid) if any(page[:32]) and not any(page[32:])]
            # The page of a private key is known by its public key, which the node must have told everybody.
            keys = [key for key in candidates if occurrences(node.pid, crypto_scalarmult_base(key))]
            before = [occurrences(node.pid, key) for key in keys]
        except PermissionError:
            node.kill()
            pytest.skip("this system does not let a parent read its child's memory")
        assert before == [1] * len(keys)  # the control: there it is, in its own page and nowhere else
        assert keys
        node._process.send_signal(number)
        node.wait_for("over")
        after = [occurrences(node.pid, key) for key in keys]
        still = [page for page in pages_for_keys(node.pid) if any(page[:32])]
        node.kill()
    assert after == [0] * len(keys)
    assert not [page for page in still if page[:32] in keys]

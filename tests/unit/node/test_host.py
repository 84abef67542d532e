"""What a host says of itself is what was tried."""

from __future__ import annotations

import pytest

from sealmesh.attestation.statement import STATEMENT_TEXT_MAX
from sealmesh.backend.echo import EchoBackend
from sealmesh.node.host import posture_of


@pytest.mark.parametrize(("locks", "state"), [(True, "on"), (False, "off")])
def test_locked_key_memory_is_tried_and_not_assumed(locks: bool, state: str) -> None:
    said = posture_of(EchoBackend(), try_locking=lambda: locks)["key_memory"]
    assert said.partition(":")[0] == state
    assert len(said.encode()) <= STATEMENT_TEXT_MAX


def test_the_posture_names_the_backend_and_its_cache() -> None:
    said = posture_of(EchoBackend(), try_locking=lambda: True)
    assert said == {"backend": "in-process", "shared_prefix_cache": "off", "key_memory": "on"}

"""What a host says of itself is what was tried."""

from __future__ import annotations

import pytest

from sealmesh.attestation.statement import STATEMENT_TEXT_MAX
from sealmesh.backend.echo import EchoBackend
from sealmesh.hardening.measure import Measurement
from sealmesh.node.host import facts_of, measurement_state, posture_of


@pytest.mark.parametrize(("locks", "state"), [(True, "on"), (False, "off")])
def test_locked_key_memory_is_tried_and_not_assumed(locks: bool, state: str) -> None:
    said = posture_of(EchoBackend(), try_locking=lambda: locks)["key_memory"]
    assert said.partition(":")[0] == state
    assert len(said.encode()) <= STATEMENT_TEXT_MAX


def test_the_posture_names_the_backend_and_its_cache() -> None:
    said = posture_of(EchoBackend(), try_locking=lambda: True)
    assert said == {"backend": "in-process", "shared_prefix_cache": "off", "key_memory": "on"}


def measured(*unblessed: str) -> Measurement:
    return Measurement(
        digest=b"\x07" * 32,
        manifest=b"",
        platform="linux-x86_64-cp311",
        version="1",
        distributions=1,
        files=1,
        size=1,
        unblessed=unblessed,
    )


def test_a_host_states_its_build() -> None:
    facts = facts_of(EchoBackend(), posture={}, measured=measured())
    assert (facts.measurement, facts.platform) == (b"\x07" * 32, "linux-x86_64-cp311")
    assert measurement_state(measured()) == "on: self-asserted"


def test_a_build_that_nobody_can_vouch_for_claims_nothing() -> None:
    assert facts_of(EchoBackend(), posture={}, measured=measured("installed editable")).measurement == b""
    assert measurement_state(measured("installed editable")) == "off: installed editable"
    assert len(measurement_state(measured("\u00e9" * 200)).encode()) <= STATEMENT_TEXT_MAX
    assert facts_of(EchoBackend(), posture={}, measured=None).measurement == b""

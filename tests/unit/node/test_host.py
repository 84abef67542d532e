"""What a node says of itself is what was tried."""

from __future__ import annotations

from sealmesh.attestation.statement import STATEMENT_TEXT_MAX
from sealmesh.backend.echo import EchoBackend
from sealmesh.hardening.measure import Measurement
from sealmesh.hardening.posture import Control, Posture, off, on
from sealmesh.node.host import facts_of, measurement_state, posture_of

POSTURE = Posture((on(Control.NOT_DUMPABLE), off(Control.KEY_MEMORY, "the system's limit on locked memory is spent")))


def test_a_host_names_its_controls_its_backend_and_the_cache() -> None:
    assert posture_of(POSTURE, EchoBackend()) == {
        "not_dumpable": "on",
        "key_memory": "off: the system's limit on locked memory is spent",
        "backend": "in-process",
        "shared_prefix_cache": "off",
    }


def test_a_client_has_no_backend_to_name() -> None:
    assert set(posture_of(POSTURE, None)) == {"not_dumpable", "key_memory"}


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

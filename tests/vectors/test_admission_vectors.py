"""The vectors of admission: each scenario ends as its file says, and the files are what the generator writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealmesh.errors import VerificationError
from sealmesh.identity.admission import AdmissionPolicy, Ticket

TESTVECTORS = Path(__file__).parents[2] / "testvectors"
SCENARIOS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((TESTVECTORS / "admission").glob("*.json"))
}


def _of(kind: str) -> list[str]:
    return [name for name, scenario in SCENARIOS.items() if scenario["kind"] == kind]


def _policy(scenario: dict[str, Any]) -> AdmissionPolicy:
    policy = AdmissionPolicy(bytes.fromhex(scenario["issuer"]))
    for successor in scenario["successors"]:
        assert policy.offer_successor_untrusted(bytes.fromhex(successor))
    for revocations in scenario.get("revocations", []):
        policy.offer_revocations_untrusted(bytes.fromhex(revocations), scenario["now"])
    return policy


def test_there_are_scenarios_of_every_kind():
    assert {scenario["kind"] for scenario in SCENARIOS.values()} == {"admission", "ticket", "revocations"}


@pytest.mark.parametrize("name", _of("admission"))
def test_admission(name):
    scenario = SCENARIOS[name]
    expected = scenario["expected"]
    policy = _policy(scenario)
    data, proven = bytes.fromhex(scenario["credentials"]), bytes.fromhex(scenario["proven_id"])
    if expected["failure"] is not None:
        with pytest.raises(VerificationError) as caught:
            policy.admit_untrusted(data, proven, scenario["now"])
        assert caught.value.factor == expected["failure"]
        return
    admitted = policy.admit_untrusted(data, proven, scenario["now"])
    assert admitted.endpoint_id.hex() == expected["endpoint_id"]
    assert list(admitted.roles.names) == expected["roles"]
    assert admitted.serial.hex() == expected["serial"]
    assert admitted.not_after == expected["not_after"]


@pytest.mark.parametrize("name", _of("ticket"))
def test_ticket(name):
    scenario = SCENARIOS[name]
    expected = scenario["expected"]
    if expected["failure"] is not None:
        with pytest.raises(VerificationError) as caught:
            Ticket.decode_untrusted(scenario["ticket"])
        assert caught.value.factor == expected["failure"]
        return
    ticket = Ticket.decode_untrusted(scenario["ticket"])
    assert ticket.encode() == scenario["ticket"].strip()
    assert ticket.mesh_id.hex() == expected["mesh_id"]
    assert ticket.granted.mesh_name == expected["mesh_name"]
    assert ticket.bearer.public.hex() == expected["bearer_key"]
    assert ticket.inviter.endpoint_id.hex() == expected["inviter"]
    assert list(ticket.inviter.addresses) == expected["addresses"]


@pytest.mark.parametrize("name", _of("revocations"))
def test_revocations(name):
    scenario = SCENARIOS[name]
    policy = _policy(scenario)
    failures: list[str | None] = []
    for offered in scenario["offered"]:
        try:
            policy.offer_revocations_untrusted(bytes.fromhex(offered), scenario["now"])
            failures.append(None)
        except VerificationError as error:
            failures.append(error.factor)
    assert failures == scenario["expected"]["failures"]
    index = scenario["expected"]["in_force"]
    assert policy.revocations_data.hex() == ("" if index is None else scenario["offered"][index])


def test_the_files_are_what_the_generator_writes():
    command = [sys.executable, str(TESTVECTORS / "generate_admission.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

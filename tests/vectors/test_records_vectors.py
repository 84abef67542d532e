"""The vectors of records: each scenario ends as its file says, and the files are what the generator writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealmesh.errors import RemoteProtocolError, VerificationError
from sealmesh.gossip.messages import decode_untrusted
from sealmesh.gossip.record import parse_keys_untrusted, parse_summary_untrusted
from sealmesh.gossip.table import RecordTable
from sealmesh.identity.admission import AdmissionPolicy

TESTVECTORS = Path(__file__).parents[2] / "testvectors"
SCENARIOS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((TESTVECTORS / "records").glob("*.json"))
}
PARSERS = {"summary": parse_summary_untrusted, "keys": parse_keys_untrusted}


def _of(*kinds: str) -> list[str]:
    return [name for name, scenario in SCENARIOS.items() if scenario["kind"] in kinds]


def test_there_are_scenarios_of_every_kind():
    assert {scenario["kind"] for scenario in SCENARIOS.values()} == {"summary", "keys", "table", "tree", "message"}


@pytest.mark.parametrize("name", _of("summary", "keys"))
def test_part(name):
    scenario = SCENARIOS[name]
    parse, data = PARSERS[scenario["kind"]], bytes.fromhex(scenario["data"])
    if scenario["expected"]["failure"] is not None:
        with pytest.raises(VerificationError) as caught:
            parse(data, scenario["now"])
        assert caught.value.factor == scenario["expected"]["failure"]
        return
    parsed = parse(data, scenario["now"])
    for field, value in scenario["expected"]["fields"].items():
        found = getattr(parsed, field)
        assert (list(found) if isinstance(found, tuple) else found) == value


def _offer(table: RecordTable, policy: AdmissionPolicy, endpoint_id: bytes, step: dict[str, Any]) -> str:
    """Offer as a reader does, and return the outcome or the factor of the refusal."""
    data, now = bytes.fromhex(step["data"]), step["at"]
    try:
        if step["offer"] == "keys":
            return table.add_keys_untrusted(data, now).value
        credentials = bytes.fromhex(step["credentials"])
        admitted = policy.admit_untrusted(credentials, endpoint_id, now)
        return table.add_untrusted(data, credentials, admitted, now).value
    except VerificationError as error:
        return error.factor


@pytest.mark.parametrize("name", _of("table"))
def test_table(name):
    scenario = SCENARIOS[name]
    table, policy = RecordTable(), AdmissionPolicy(bytes.fromhex(scenario["issuer"]))
    endpoint_id, expected = bytes.fromhex(scenario["endpoint_id"]), scenario["expected"]
    now = 0
    for step in scenario["steps"]:
        now = step["at"]
        if step["offer"] is None:
            table.expire(now)
        else:
            assert _offer(table, policy, endpoint_id, step) == step["outcome"]
    entry, keys = table.get(endpoint_id), table.keys(endpoint_id, now)
    assert (entry.data.hex() if entry else None) == expected["held"]
    assert (keys.data.hex() if keys else None) == expected["held_keys"]
    assert table.equivocating(endpoint_id) is expected["equivocating"]


@pytest.mark.parametrize("name", _of("tree"))
def test_tree(name):
    scenario = SCENARIOS[name]
    table, policy = RecordTable(), AdmissionPolicy(bytes.fromhex(scenario["issuer"]))
    for data, shown in zip(scenario["records"], scenario["credentials"], strict=True):
        record, credentials = bytes.fromhex(data), bytes.fromhex(shown)
        owner = parse_summary_untrusted(record, scenario["now"]).endpoint_id
        admitted = policy.admit_untrusted(credentials, owner, scenario["now"])
        assert table.add_untrusted(record, credentials, admitted, scenario["now"]).value == "new"
    assert b"".join(table.bucket_digests()).hex() == scenario["expected"]["buckets"]
    assert table.root().hex() == scenario["expected"]["root"]


@pytest.mark.parametrize("name", _of("message"))
def test_message(name):
    scenario = SCENARIOS[name]
    data = bytes.fromhex(scenario["data"])
    if scenario["expected"]["failure"] is not None:
        with pytest.raises(RemoteProtocolError):
            decode_untrusted(data)
        return
    assert type(decode_untrusted(data)).__name__ == scenario["expected"]["message"]


def test_the_files_are_what_the_generator_writes():
    command = [sys.executable, str(TESTVECTORS / "generate_records.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

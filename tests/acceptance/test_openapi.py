"""schemathesis against our own description of the API, on a mesh of two nodes: it finds nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.conftest import Mesh, wait_until_usable

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.process, pytest.mark.clients]
EXAMPLES = "25"


def test_schemathesis_finds_nothing(mesh: Mesh, tmp_path: Path) -> None:
    program = ROOT / ".venv-clients/schemathesis/bin/st"
    assert program.exists(), "the environments of the clients are missing: run scripts/clients"
    host = mesh.host("--backend", "echo:")
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")
    description = json.loads((ROOT / "docs/reference/openapi.json").read_text())
    for path, methods in description["paths"].items():
        for operation in methods.values():
            if "requestBody" in operation:  # with any other name, nothing would go beyond the look-up of the model
                asked = operation["requestBody"]["content"]["application/json"]
                asked["schema"]["properties"]["model"] = {"enum": ["echo"]}
                asked["example"]["model"] = "echo"
                if path == "/v1/responses":  # a host that translates takes no field and no item that it cannot
                    asked["schema"]["additionalProperties"] = False
                    asked["schema"]["properties"]["previous_response_id"] = {"type": "null"}  # no drawn id is kept
            for parameter in operation.get("parameters", ()):
                parameter["example"] = "echo"
                assert f"{{{parameter['name']}}}" in path
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(description))
    asked = ["--phases", "examples,coverage,fuzzing", "-n", EXAMPLES, "--seed", "1", "--request-timeout", "20"]
    done = subprocess.run(
        [str(program), "run", str(file), "--url", client.api_url, "--continue-on-failure", *asked],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status = client.status()["exchanges"]
    assert status["done"] > 100, "most requests must have reached a host"
    assert status["open"] == 0

"""The wire code that is committed is what its .proto files give."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_generated_code_is_what_the_protos_give() -> None:
    pytest.importorskip("grpc_tools")
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("scripts/protos works with .venv")
    done = subprocess.run(
        ["sh", "scripts/protos", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_generated_file_is_without_its_proto() -> None:
    for made in (ROOT / "src/sealmesh").rglob("*_pb2.py*"):
        if made.suffix in (".py", ".pyi"):
            assert made.with_name(made.name.partition("_pb2")[0] + ".proto").exists(), made.name

"""A14 on a real `sealmesh serve` with a real prompt: 13 planted lines want to copy it."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
import pytest

from sealmesh.doctor.payloads import COPY_PROMPTS

from .conftest import HARDENED, serving

pytestmark = pytest.mark.process


def ask(api_url: str, prompt: str) -> str:
    body = {"model": "echo", "messages": [{"role": "user", "content": prompt}]}
    answer = httpx.post(f"{api_url}/v1/chat/completions", json=body, timeout=30).raise_for_status().json()
    return str(answer["choices"][0]["message"]["content"])


def test_it_is_thirteen_lines() -> None:
    assert len(COPY_PROMPTS.splitlines()) == 13


@HARDENED
def test_a_sitecustomize_that_wraps_the_json_parser_gets_no_prompt(tmp_path: Path, hardened: bool) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(COPY_PROMPTS)
    prompt = f"prompt-{secrets.token_hex(8)}"
    with serving(tmp_path / "home", {"PYTHONPATH": str(planted)}, hardened=hardened) as (node, api_url):
        assert ask(api_url, prompt) == prompt
        said = node.log_path.read_text()
    assert (prompt in said) is not hardened

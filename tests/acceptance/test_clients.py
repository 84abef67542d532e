"""The packages that apps are written with, each in an environment of its own, against one mesh with the real model.

Each program in `clients/` does what it can and prints what it was answered; here that is compared with what the host
itself says. Tools are called by an engine of our own: the small model's template knows none.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node, mesh_in_temporary_folder, wait_until_usable

from kit.engine import ARGUMENTS, engine
from sealmesh.backend.models import ModelFile

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "clients"
MODEL, EMBEDDER, ENGINE = "smollm2-135m", "embedder", "engine"
PROMPT = "Say hello to a friend."
PYTHON = ("openai", "langchain", "litellm", "llm")
ALL = [*PYTHON, pytest.param("node", marks=pytest.mark.node)]
pytestmark = [pytest.mark.model, pytest.mark.process, pytest.mark.clients, pytest.mark.xdist_group("clients")]
every = pytest.mark.parametrize("name", ALL)


@dataclass
class Pair:
    """The mesh, and what each program has said of it, asked once."""

    mesh: Mesh
    host: Node
    client: Node
    said: dict[str, dict[str, Any]] = field(default_factory=dict)

    def seen(self, name: str) -> dict[str, Any]:
        """What a program was answered."""
        if name not in self.said:
            made = ROOT / ".venv-clients" / name
            assert made.exists(), "the environments of the clients are missing: run scripts/clients"
            if name == "node":
                # Node looks for packages beside the program, so the program goes to them.
                program = made / "openai_app.mjs"
                program.write_bytes((PROGRAMS / "node/openai_app.mjs").read_bytes())
                command = ["node", str(program)]
            else:
                command = [str(made / "bin/python"), str(PROGRAMS / f"{name}_app.py")]
            arguments = [f"{self.client.api_url}/v1", MODEL, EMBEDDER, ENGINE, PROMPT]
            environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "default"}
            done = subprocess.run(
                [*command, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
            )
            assert done.returncode == 0, done.stderr
            self.said[name] = json.loads(done.stdout.splitlines()[-1])
        return self.said[name]


@pytest.fixture(scope="module")
def pair(model_file: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    file = tmp_path_factory.mktemp("model") / f"{EMBEDDER}.gguf"
    file.symlink_to(model_file.path)
    with engine(ENGINE) as running, mesh_in_temporary_folder() as mesh:
        # One thread: with as many as cores, the engine stands still while its neighbours compute.
        host = mesh.host("--model", MODEL, "--threads", "1")
        mesh.host("--model", str(file), "--embeddings", "--threads", "1", ticket=host.ticket)
        mesh.host("--backend", running.url, ticket=host.ticket)
        client = mesh.client(host.ticket, record=True)
        for model in (MODEL, EMBEDDER, ENGINE):
            wait_until_usable(client, model)
        yield Pair(mesh, host, client)


@pytest.fixture(scope="module")
def own(pair: Pair) -> str:
    """What the host says when it is asked by itself."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 16}
    answer = httpx.post(f"{pair.host.api_url}/v1/chat/completions", json=asked, timeout=60).raise_for_status().json()
    text = answer["choices"][0]["message"]["content"]
    assert len(text.split()) > 4
    return text


@every
@pytest.mark.parametrize("step", ["chat", "stream", "responses", "responses_streamed"])
def test_the_answer_is_the_hosts_own(pair: Pair, own: str, name: str, step: str) -> None:
    seen = pair.seen(name)[step]
    assert seen["text"] == own
    assert seen.get("tokens", 16) == 16
    assert seen.get("pieces", 99) > 5
    assert (seen.get("first"), seen.get("last")) in ((None, None), ("response.created", "response.incomplete"))


@every
def test_tools_are_called_and_answered(pair: Pair, name: str) -> None:
    seen = pair.seen(name)
    for step in {"tools", "tools_streamed", "responses_tools"} & set(seen):
        if name == "llm":
            assert seen[step] == {"called": True, "after": "sunny"}
            continue
        assert seen[step]["name"] == "get_weather"
        assert json.loads(seen[step]["arguments"]) == json.loads(ARGUMENTS)
    assert seen["tools"]["after"] == "sunny"
    assert "tools_streamed" in seen


@pytest.mark.parametrize("name", [each for each in ALL if each != "llm"])
def test_embeddings_are_the_models(pair: Pair, name: str) -> None:
    one, two, again = pair.seen(name)["embeddings"]
    assert len(one) == len(two) == 576
    assert one == again
    assert sum(a * b for a, b in zip(one, two, strict=True)) < 0.99  # unit vectors of different words


def test_llm_lists_the_models(pair: Pair) -> None:
    assert pair.seen("llm")["models"] == [EMBEDDER, ENGINE, MODEL]


@every
def test_errors_are_the_packages_own_kind_with_our_code(pair: Pair, name: str) -> None:
    errors = pair.seen(name)["errors"]
    if name == "llm":
        assert errors["unknown model"]["exit"] == 1
        assert "404 - No host in this mesh offers this model" in errors["unknown model"]["words"]
        assert "Traceback" not in errors["unknown model"]["words"]
        return
    code = {} if name == "litellm" else {"code": "model_not_found"}  # litellm keeps the words, not the code
    assert errors["unknown model"] == {"class": "NotFoundError", "status": 404, **code}
    code = {} if name == "litellm" else {"code": "engine_says_no"}
    assert errors["engine"] == {"class": "RateLimitError", "status": 429, **code}
    if "wrong type" in errors:
        assert errors["wrong type"] == {"class": "BadRequestError", "status": 400, "code": "invalid_request"}


def test_all_of_it_went_sealed(pair: Pair) -> None:
    for name in PYTHON:
        pair.seen(name)
    assert pair.mesh.sealed_streams(pair.client) >= 30
    recorded = pair.mesh.recorded(pair.client)
    for word in (PROMPT, "hello", "get_weather", "/v1/chat", "/v1/responses"):
        assert word.encode() not in recorded
    status = pair.client.status()["exchanges"]
    assert status["open"] == 0
    assert set(status["failed_by_reason"]) <= {"model_not_found"}  # asked for on purpose

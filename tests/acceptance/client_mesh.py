"""The mesh that all tests of clients share: the real model, answering and embedding, and an engine of our own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.acceptance.conftest import Mesh, Node, mesh_in_temporary_folder, wait_until_usable

from kit.engine import Engine, engine
from kit.marker import MARKER
from sealmesh.backend.models import ModelFile

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "clients"
MODEL, EMBEDDER, ENGINE, NATIVE = "smollm2-135m", "embedder", "engine", "native"
PROMPT = f"Say hello to a friend. {MARKER}"


@dataclass
class ClientMesh:
    """The mesh, and what each program has said of it, asked once.

    Attributes:
        mesh: Its nodes.
        host: The one with the real model.
        client: The one that everything asks.
        engines: Those of our own, by the model that they serve.
        http: For requests of the tests' own.
    """

    mesh: Mesh
    host: Node
    client: Node
    engines: dict[str, Engine]
    http: httpx.Client
    said: dict[str, dict[str, Any]] = field(default_factory=dict)

    def asked(self, model: str) -> tuple[str, dict[str, Any]]:
        """Path and body of the last request that an engine of our own got."""
        return self.engines[model].asked[-1]

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


@contextlib.contextmanager
def start_client_mesh(model_file: ModelFile, folder: Path) -> Iterator[ClientMesh]:
    """Start its nodes, and end them."""
    file = folder / f"{EMBEDDER}.gguf"
    file.symlink_to(model_file.path)
    with (
        engine(ENGINE) as chatting,
        engine(NATIVE) as native,
        mesh_in_temporary_folder() as mesh,
        httpx.Client(timeout=60) as http,
    ):
        # One thread: with as many as cores, the engine stands still while its neighbours compute.
        host = mesh.host("--model", MODEL, "--threads", "1")
        mesh.host("--model", str(file), "--embeddings", "--threads", "1", ticket=host.ticket)
        mesh.host("--backend", chatting.url, ticket=host.ticket)
        mesh.host("--backend", native.url, "--backend-api", "responses", ticket=host.ticket)
        client = mesh.client(host.ticket, record=True)
        for model in (MODEL, EMBEDDER, ENGINE, NATIVE):
            wait_until_usable(client, model)
        yield ClientMesh(mesh, host, client, {ENGINE: chatting, NATIVE: native}, http)
